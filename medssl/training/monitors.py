"""What is measured while an encoder is pretrained; nothing of it reaches the weights.

Every measurement is a function of the weights and the seed, and leaves the state of the training
and of torch's generators as they were, so that a resumed run measures the same.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from medssl.config.pretrain import PretrainSettings
from medssl.data.batches import Shown, TrainingBatches
from medssl.data.opening import Store, open_store
from medssl.data.sampling import Shuffled, numbered
from medssl.foundation import seeding
from medssl.foundation.errors import TrainingError
from medssl.foundation.wording import counted
from medssl.methods._contract import Method
from medssl.training import embed, held_out, knn, spread
from medssl.training.held_out import Parts
from medssl.training.knn import Probe
from medssl.training.runtime import Runtime
from medssl.training.showing import Views
from medssl.training.step import Step

MOST_IMAGES = 512
_MOST_IN_SMOKE = 16
_PAIR = 2  # views that alignment needs
_OTHERS = 2**40  # numbers of held-out patients lie beyond those a queue remembers


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
    part = "validation" if enough else "training"
    notes = [f"watched: {counted(len(images), f'{part} {settings.unit}')}"]
    found: tuple[Probe, ...] = ()
    if not settings.smoke:
        found, said = knn.probes(
            settings.archive, parts, settings.seed, volumes=settings.spatial_dims == 3
        )
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
        shows: Views the method wants, full and local ones.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: PretrainSettings,
        watch: Watch,
        parts: Parts,
        shows: Views,
    ) -> None:
        # what is compared with no other view is not its own target: it cannot collapse
        self.stops = watch.stops and shows.full > 1
        self._runtime, self._settings, self._watch = runtime, settings, watch
        wanted = {*watch.images}.union(*((*p.bank, *p.query) for p in watch.probes))
        images = pa.concat_tables([parts.train, parts.validation])
        self._store, self._number = self._images(images, wanted)
        self._batches = None
        if len(watch.unseen) > 1:
            self._batches = self._views_of(images, watch.unseen, shows)

    def due(self, epoch: int) -> bool:
        """Return whether to measure after ``epoch`` finished epochs."""
        every, last = int(self._settings.monitor_every), int(self._settings.epochs)
        return epoch % every == 0 or epoch == last

    def measure(self, step: Step) -> dict[str, float]:
        """Return how the features are spread, and where there are the images, the loss and kNN.

        `feature_std`, `effective_rank` and `feature_uniformity` are of images as they are,
        `feature_alignment` is of two random views of held-out images. Every process returns the
        same.

        Args:
            step: The method in training.

        Raises:
            TrainingError: A feature is not finite.
        """
        features = embed.features(
            step.encoder,
            self._store,
            device=self._runtime.device,
            intensity=self._settings.intensity,
            shape=self._settings.shape,
        )
        _require_finite(features)
        watched = features[self._numbers(self._watch.images)]
        values = {
            "feature_std": spread.feature_std(watched),
            "effective_rank": spread.effective_rank(watched),
            "feature_uniformity": spread.uniformity(watched),
        }
        for probe in self._watch.probes:
            bank, query = (features[self._numbers(ids)] for ids in (probe.bank, probe.query))
            values[probe.name] = probe.auroc(bank, query)
        if self._batches is not None:
            values |= self._of_views(step, self._batches)
        # six digits: the last bits of a sum can depend on where its terms lay in memory
        rounded = {name: float(f"{v:.6g}") for name, v in values.items() if math.isfinite(v)}
        return self._runtime.broadcast(rounded)

    def seconds(self, step: Step, shown: Shown) -> float:
        """Return about how long `measure` takes, from a few images.

        Args:
            step: The method in training, left as it is.
            shown: Some of the images it is trained on.

        Raises:
            TrainingError: A feature is not finite.
        """
        device = self._runtime.device
        gpus = [device] if device.type == "cuda" else []
        with embed.unchanged(step), torch.random.fork_rng(devices=gpus), torch.no_grad():
            step.eval()
            _require_finite(step.encoder(shown.views[0]).float().cpu().numpy())
            encoding = _seconds(lambda: step.encoder(shown.views[0]))
            step.train()
            embedding = _seconds(
                lambda: torch.cat([v.flatten() for v in step.embed(shown.views).values()])
            )
        unseen = 0 if self._batches is None else len(self._batches.store)
        whole = encoding * (len(self._store) + _PAIR * unseen) + embedding * unseen
        return whole / len(shown.patients)

    def _images(self, table: pa.Table, wanted: set[str]) -> tuple[Store, dict[str, int]]:
        """Return the wanted images, and the number of each of them."""
        ids = table["image_id"].to_pylist()
        rows = [row for row, name in enumerate(ids) if name in wanted]
        chosen = table.take(np.array(rows, dtype=np.int64))
        store = open_store(self._settings.archive, chosen, self._settings.spatial_dims)
        return store, {ids[row]: number for number, row in enumerate(rows)}

    def _views_of(self, table: pa.Table, unseen: Sequence[str], shows: Views) -> TrainingBatches:
        """Return batches of random views of held-out images, the same each time."""
        settings = self._settings
        store, number = self._images(table, set(unseen))
        seed = seeding.derive(settings.seed, "validation views")
        wanted = table.filter(pc.is_in(table["image_id"], pa.array(list(number))))
        self._n_views = shows.full
        return TrainingBatches(
            store,
            Shuffled(
                len(store), min(int(settings.batch_size) // settings.pieces, len(store)), seed
            ),
            device=self._runtime.device,
            intensity=settings.intensity,
            views=settings.views,
            shape=settings.shape,
            n_views=max(_PAIR, shows.full),
            n_local_views=shows.local,
            seed=seed,
            patients=numbered(wanted["patient_key"]) + _OTHERS
            if settings.negatives == "other_patients"
            else None,
        )

    def _numbers(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self._number[name] for name in image_ids], dtype=np.int64)

    def _of_views(self, step: Step, batches: TrainingBatches) -> dict[str, float]:
        """Return the mean loss over the same views each time, computed as in training.

        And the alignment of the first two of them. While a queue fills there is no loss that
        could be compared with a later one: it is NaN.
        """
        device = self._runtime.device
        gpus = [device] if device.type == "cuda" else []
        method, shown = cast(Method, step.method), list(batches.epoch(0))
        with embed.unchanged(step), torch.random.fork_rng(devices=gpus), torch.no_grad():
            torch.manual_seed(batches.seed)
            step.eval()  # first: training mode moves running statistics
            pairs = [
                torch.stack([step.encoder(view).float() for view in one.views[:_PAIR]])
                for one in shown
            ]
            step.train()
            losses, filled = [], []
            for one in shown:
                views = one.views[: self._n_views] + one.views[max(_PAIR, self._n_views) :]
                with self._runtime.autocast():
                    found = method.loss(method.embed(views), one.patients)
                losses.append(found["total"].float())
                filled.append(found.get("queue_filled", torch.ones(())))
        first, second = torch.cat(pairs, dim=1).cpu().numpy()
        # the first of them: held-out images fill the rest of the queue
        mean = float(torch.stack(losses).mean()) if float(filled[0]) == 1 else math.nan
        return {"feature_alignment": spread.alignment(first, second), "val_loss": mean}


def _require_finite(features: NDArray[np.floating]) -> None:
    if not np.isfinite(features).all():
        raise TrainingError(
            "the features are not finite",
            fix="lower the learning rate, or train with precision 32",
        )


def _seconds(compute: Callable[[], Tensor]) -> float:
    """Return how long ``compute`` takes the second time."""
    compute().cpu()
    started = time.perf_counter()
    compute().cpu()
    return time.perf_counter() - started


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
