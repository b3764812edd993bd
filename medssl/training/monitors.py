"""What is measured while an encoder is pretrained; nothing of it reaches the weights.

Every measurement is a function of the weights and the seed, and leaves the state of the training
and of torch's generators as they were, so that a resumed run measures the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from medssl.config.pretrain import PretrainSettings
from medssl.data.batches import TrainingBatches
from medssl.data.store import ImageStore
from medssl.foundation import seeding
from medssl.foundation.errors import TrainingError
from medssl.training import embed, held_out, knn, spread
from medssl.training.held_out import Parts
from medssl.training.knn import Probe
from medssl.training.runtime import Runtime

MOST_IMAGES = 512
_MOST_IN_SMOKE = 16


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Which images are looked at, by their ids."""

    images: tuple[str, ...]  # whose features should differ
    unseen: tuple[str, ...]  # held-out images for the loss
    probes: tuple[Probe, ...]
    stops: bool  # whether a collapse ends the run
    notes: tuple[str, ...]


def choose(settings: PretrainSettings, parts: Parts) -> Watch:
    """Return what to watch: held-out images, and training images where those are too few."""
    most = _MOST_IN_SMOKE if settings.smoke else MOST_IMAGES
    train, unseen = (
        tuple(held_out.draw(table["image_id"].to_pylist(), most, settings.seed))
        for table in (parts.train, parts.validation)
    )
    enough = len(unseen) >= spread.LEAST_IMAGES
    images = unseen if enough else train
    notes = [f"watched: {len(images)} {'validation' if enough else 'training'} images"]
    found: tuple[Probe, ...] = ()
    if not settings.smoke:
        found, said = knn.probes(settings.archive, parts, settings.seed)
        notes += said
        if len(images) < spread.LEAST_IMAGES:
            notes.append("a collapse would not stop the run: too few images to tell")
    return Watch(
        images=images,
        unseen=unseen,
        probes=found,
        stops=not settings.smoke and len(images) >= spread.LEAST_IMAGES,
        notes=tuple(notes),
    )


class Monitors:
    """Measures an encoder in training.

    Args:
        runtime: Where it runs.
        settings: Resolved settings.
        watch: Which images to look at.
        parts: The images of the run.
        n_views: Views the method wants.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: PretrainSettings,
        watch: Watch,
        parts: Parts,
        n_views: int,
    ) -> None:
        self.stops = watch.stops
        self._runtime, self._settings, self._watch = runtime, settings, watch
        wanted = {*watch.images}.union(*((*p.bank, *p.query) for p in watch.probes))
        images = pa.concat_tables([parts.train, parts.validation])
        self._store, self._number = self._images(images, wanted)
        self._batches = None
        if len(watch.unseen) > 1:
            self._batches = TrainingBatches(
                self._images(images, set(watch.unseen))[0],
                device=runtime.device,
                intensity=settings.intensity,
                views=settings.views,
                image_size=int(settings.image_size),
                batch_size=int(settings.batch_size),
                n_views=n_views,
                seed=seeding.derive(settings.seed, "validation views"),
            )

    def due(self, epoch: int) -> bool:
        """Return whether to measure after ``epoch`` finished epochs."""
        every, last = int(self._settings.monitor_every), int(self._settings.epochs)
        return epoch % every == 0 or epoch == last

    def measure(self, module: Any) -> dict[str, float]:  # noqa: ANN401 - a wrapped module
        """Return `feature_std`, `effective_rank`, and where there are the images, the loss and kNN.

        Args:
            module: The method, as it is called in training.

        Raises:
            TrainingError: A feature is not finite.
        """
        features = embed.features(
            module.encoder,
            self._store,
            device=self._runtime.device,
            intensity=self._settings.intensity,
            image_size=int(self._settings.image_size),
        )
        if not np.isfinite(features).all():
            raise TrainingError(
                "the features are not finite",
                fix="lower the learning rate, or train with precision 32",
            )
        watched = features[self._numbers(self._watch.images)]
        values = {
            "feature_std": spread.feature_std(watched),
            "effective_rank": spread.effective_rank(watched),
        }
        for probe in self._watch.probes:
            bank, query = (features[self._numbers(ids)] for ids in (probe.bank, probe.query))
            values[probe.name] = probe.auroc(bank, query)
        if self._batches is not None:
            values["val_loss"] = self._loss(module, self._batches)
        # six digits: the last bits of a sum can depend on where its terms lay in memory
        return {name: float(f"{v:.6g}") for name, v in values.items() if math.isfinite(v)}

    def _images(self, table: pa.Table, wanted: set[str]) -> tuple[ImageStore, dict[str, int]]:
        """Return the wanted images, and the number of each of them."""
        ids = table["image_id"].to_pylist()
        rows = [row for row, name in enumerate(ids) if name in wanted]
        store = ImageStore(self._settings.archive, table.take(np.array(rows, dtype=np.int64)))
        return store, {ids[row]: number for number, row in enumerate(rows)}

    def _numbers(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self._number[name] for name in image_ids], dtype=np.int64)

    def _loss(self, module: Any, batches: TrainingBatches) -> float:  # noqa: ANN401
        """Return the mean loss over the same views each time, computed as in training."""
        device = self._runtime.device
        gpus = [device] if device.type == "cuda" else []
        with embed.unchanged(module), torch.random.fork_rng(devices=gpus), torch.no_grad():
            torch.manual_seed(batches.seed)
            module.train()
            losses = [module(views)["total"].float() for views, _ in batches.epoch(0)]
        return float(torch.stack(losses).mean())


def refuse_collapse(course: Sequence[dict[str, float]], folder: Path, *, at_the_end: bool) -> None:
    """Stop a run whose encoder maps all images to much the same features.

    Args:
        course: What was measured so far, the latest last.
        folder: Of the run.
        at_the_end: Whether the training is over.

    Raises:
        TrainingError: The features have collapsed.
    """
    if spread.has_collapsed(course, at_the_end=at_the_end):
        found = (
            f"{name} {course[-1][name]:.3g}, floor {floor:g}"
            for name, floor in spread.FLOORS.items()
        )
        raise TrainingError(
            f"the features collapsed: all images look nearly alike to the encoder "
            f"({'; '.join(found)})",
            where=str(folder),
            fix="lower optim.lr, take a larger batch or another --method; see progress.png",
        )
