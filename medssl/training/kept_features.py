"""Features of a frozen encoder, computed once for the epochs in which the head alone trains."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medssl.data.batches import TrainingBatches
from medssl.data.cohort import Cohort
from medssl.data.sampling import Sampler, Shuffled
from medssl.foundation import seeding
from medssl.models.site_model import HEAD, SiteModel
from medssl.training import predict, smote
from medssl.training.phases import Phase
from medssl.training.recipes import Recipe
from medssl.training.runtime import Runtime

Call = tuple[tuple[Any, ...], dict[str, Any]]


class KeptFeatures:
    """Steps of rows of features instead of images, where that comes to the same.

    It does where images are shown as they are, none are mixed, and nothing below the head trains:
    a frozen encoder is in evaluation mode, so an image has the same features in every epoch.

    Args:
        runtime: Where it runs.
        recipe: What is trained.
        model: Whose encoder is frozen meanwhile.
        train: The training part of a fold.
        batches: The same part as images: which of them make up which step.
    """

    def __init__(
        self,
        runtime: Runtime,
        recipe: Recipe,
        model: SiteModel,
        train: Cohort,
        batches: TrainingBatches,
    ) -> None:
        self._runtime, self._recipe, self._model, self._train = runtime, recipe, model, train
        self._batches = batches
        self._sampler: Sampler = batches.sampler
        self._features: Tensor | None = None
        self._target = torch.empty(0)

    def serve(self, phase: Phase) -> bool:
        """Return whether a phase can be trained on kept features."""
        model = self._model
        below = model.pooling  # it trains with the head
        return (
            not self._recipe.settings.random_views
            and all(tuple(released) == (HEAD,) for released in phase.released)
            and not phase.cutmix.probability
            and not phase.mixup.probability
            and (below is None or not any(True for _ in below.parameters()))
        )

    def enter(self, phase: Phase) -> None:
        """Compute the features before the first epoch of a phase that they serve.

        The encoder must be as it is to be in that phase; those of the phase before are still right
        if they served it too.
        """
        if not self.serve(phase):
            self._features = None
        elif self._features is None:
            train = self._train
            found = predict.features(
                self._runtime, self._model, train.archive, train.table, self._recipe.input
            )
            self._features = found.clone()  # a copy that takes part in gradients
            self._target = torch.from_numpy(train.label).to(found.device)
            if self._recipe.settings.smote:
                self._add_synthetic()

    def of_images(self) -> Tensor | None:
        """Return the features of the training images, shape (N, F), where they still hold.

        That is after a last phase that they served: the encoder is as it was.
        """
        return None if self._features is None else self._features[: len(self._train)].detach()

    def epoch(self, epoch: int) -> Iterator[Call]:
        """Yield what the model is called with in each step of an epoch."""
        assert self._features is not None
        for numbers in self._sampler.epoch(epoch)[: self._batches.steps_per_epoch]:
            rows = torch.from_numpy(numbers).to(self._features.device, non_blocking=True)
            yield (self._features[rows], self._target[rows]), {"are_features": True}

    def _add_synthetic(self) -> None:
        """Make all classes equally frequent; an epoch stays as long as it was."""
        assert self._features is not None
        made = smote.synthesise(
            np.asarray(self._features.cpu().numpy(), dtype=np.float64),
            self._train.label[:, 0],
            self._train.patients,
            seeding.rng(self._batches.seed, "smote"),
        )
        like = self._features
        rows = torch.from_numpy(made.features).to(like)
        self._features = torch.cat([like, rows])
        self._target = torch.cat(
            [self._target, torch.from_numpy(made.label)[:, None].to(self._target)]
        )
        self._sampler = Shuffled(len(self._features), self._batches.batch_size, self._batches.seed)
