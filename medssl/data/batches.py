"""Which images make up which step: a pure function of seed and step, so a run can be resumed."""

from collections.abc import Iterator

import numpy as np
import torch
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import Tensor

from medssl.config.training import Intensity, Views
from medssl.data import views as recipes
from medssl.data.store import Batch, ImageStore
from medssl.foundation import seeding


class TrainingBatches:
    """Random views of all images of a store, epoch after epoch, on the training device.

    Args:
        store: The images.
        device: Where the model lives; views are made there.
        intensity: How stored values become the encoder's input.
        views: What the random views vary.
        image_size: Side of a view, px.
        batch_size: Images per step; an incomplete last batch of an epoch is left out.
        n_views: Views of each image.
        seed: With the step it decides the images and the views.
        target: Shape (N,), int64; None for pretraining.
        balanced: Draw with replacement, every class equally often; an epoch is as long.
    """

    def __init__(  # noqa: PLR0913 - one value per thing it depends on
        self,
        store: ImageStore,
        *,
        device: torch.device,
        intensity: Intensity,
        views: Views,
        image_size: int,
        batch_size: int,
        n_views: int,
        seed: int,
        target: NDArray[np.int64] | None = None,
        balanced: bool = False,
    ) -> None:
        self.store = store
        self.device = device
        self.batch_size = min(batch_size, len(store))
        self.n_views = n_views
        self.seed = seed
        self.target = None if target is None else torch.from_numpy(target)
        self._weight = _class_weights(target) if target is not None and balanced else None
        self._image_size, self._smallest_crop = image_size, views.scale[0]
        self._intensity = recipes.ToIntensity(intensity)
        self._view = recipes.random_view(views, image_size)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch."""
        return len(self.store) // self.batch_size

    def epoch(self, epoch: int) -> Iterator[tuple[list[Tensor], Tensor | None]]:
        """Yield the views and targets of each step of an epoch.

        Yields:
            ``n_views`` tensors (B, C, image_size, image_size), and targets (B,) or None.
        """
        rng, n = seeding.rng(self.seed, "order", epoch), len(self.store)
        order = rng.permutation(n) if self._weight is None else rng.choice(n, n, p=self._weight)
        for step in range(self.steps_per_epoch):
            numbers = np.sort(order[step * self.batch_size : (step + 1) * self.batch_size])
            yield self._step(epoch, step, numbers)

    def _step(
        self, epoch: int, step: int, numbers: NDArray[np.int64]
    ) -> tuple[list[Tensor], Tensor | None]:
        batch = self.store.gather(
            numbers, image_size=self._image_size, smallest_crop=self._smallest_crop
        )
        prepared = self._intensity(to_device(batch, self.device))
        shown = []
        for view in range(self.n_views):
            self._view.set_random_state(seeding.derive(self.seed, "view", epoch, step, view))
            shown.append(self._view(dict(prepared))["image"])
        target = None
        if self.target is not None:
            target = self.target[torch.from_numpy(numbers)].to(self.device, non_blocking=True)
        return shown, target


def _class_weights(target: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the chance of each image to be drawn, such that all classes are as likely."""
    classes, counts = np.unique(target, return_counts=True)
    weight = (1 / counts / len(classes))[np.searchsorted(classes, target)]
    return np.asarray(weight / weight.sum())


def plain_batches(
    store: ImageStore,
    *,
    device: torch.device,
    intensity: Intensity,
    image_size: int,
    batch_size: int,
) -> Iterator[Tensor]:
    """Yield every image of a store once, in order and without randomness.

    Yields:
        Shape (B, C, image_size, image_size).
    """
    pipeline = Compose([recipes.ToIntensity(intensity), recipes.WholeImage(image_size)])
    for start in range(0, len(store), batch_size):
        numbers = np.arange(start, min(start + batch_size, len(store)))
        batch = store.gather(numbers, image_size=image_size)
        yield pipeline(to_device(batch, device))["image"]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on ``device``."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
