"""What every step shows: a pure function of seed and step, so a run can be resumed anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import Tensor

from medssl.config.training import Intensity, Views
from medssl.data import bags, prefetch
from medssl.data import views as recipes
from medssl.data.bags import BagStore
from medssl.data.opening import Store
from medssl.data.sampling import Partners, Sampler
from medssl.data.store import Batch
from medssl.foundation import seeding

_LOCAL_STEP = 16  # px: sides of local views are a multiple of it, as patches and strides want


class Part(Protocol):
    """Which part of every step a process sees."""

    @property
    def rank(self) -> int:
        """Number of the process, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """How many there are."""
        ...


@dataclass(frozen=True)
class Alone:
    """The only process."""

    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What one step shows, on the training device."""

    views: list[Tensor]  # (B, C, *spatial) each, the local ones last
    patients: Tensor  # (B,) int64; equal numbers, one patient
    target: Tensor | None  # (B, ...)
    slices: dict[str, Tensor] = field(default_factory=dict)  # of series: which places count, and
    # where they lie; see `bags.BagStore.gather`


class TrainingBatches:
    """Random views of the images of a store, on the training device.

    Args:
        store: The images or volumes, or series whose slices are shown as channels.
        sampler: Which of them make up which step.
        device: Where the model lives; views are made there.
        intensity: How stored values become the encoder's input.
        views: What the random views vary.
        shape: Of a view, px: (rows, columns) or (slices, rows, columns).
        seed: With the step it decides the views.
        n_views: Views of each image.
        n_local_views: And smaller ones.
        target: One row per image, shape (N, ...); None for pretraining.
        patients: Shape (N,), int64; None: every image is of another one.
        partners: What the views after the first show; None: the same image.
        part: Which rows of a step are made here.
        plain: Show the images as they are.
    """

    def __init__(  # noqa: PLR0913 - one value per thing it depends on
        self,
        store: Store,
        sampler: Sampler,
        *,
        device: torch.device,
        intensity: Intensity,
        views: Views,
        shape: tuple[int, ...],
        seed: int,
        n_views: int = 1,
        n_local_views: int = 0,
        target: NDArray[np.generic] | None = None,
        patients: NDArray[np.int64] | None = None,
        partners: Partners | None = None,
        part: Part | None = None,
        plain: bool = False,
    ) -> None:
        self.store, self.sampler, self.device, self.seed = store, sampler, device, seed
        self._target = None if target is None else torch.from_numpy(target)
        whose = np.arange(len(store)) if patients is None else patients
        self._patients = torch.from_numpy(whose)
        self.partners, self._part = partners, part or Alone()
        self._shape, self._smallest_crop = shape, _smallest_crop(views, n_local_views)
        self._window = intensity
        reading = bags.BagIntensity if isinstance(store, BagStore) else recipes.ToIntensity
        self._intensity = reading(intensity, headroom=views.contrast)
        self._plain = plain
        full = Compose([recipes.WholeImage(shape)]) if plain else recipes.random_view(views, shape)
        self._views: list[Compose] = [full] * n_views
        if n_local_views:
            small = local_shape(shape, views.local_size)
            self._views += [recipes.random_view(views, small, local=True)] * n_local_views

    @property
    def batch_size(self) -> int:
        """Images of a step, over all processes."""
        return self.sampler.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the images."""
        return self.sampler.steps_per_epoch

    def whole(self, numbers: NDArray[np.int64]) -> Tensor:
        """Return images as they are, without random views, shape (B, C, *shape)."""
        recipe = Compose([recipes.ToIntensity(self._window), recipes.WholeImage(self._shape)])
        batch = self.store.gather(numbers, shape=self._shape)
        whole: Tensor = recipe(to_device(batch, self.device))["image"]
        return whole

    def epoch(self, epoch: int) -> Iterator[Shown]:
        """Yield the steps of one pass over the images."""
        first = epoch * self.steps_per_epoch
        return self.steps(range(first, first + self.steps_per_epoch))

    def steps(self, wanted: range) -> Iterator[Shown]:
        """Yield some steps of the run; one pass over the images follows the other.

        Pixels of the steps to come are read while the device works on this one.
        """
        for epoch, step, numbers, sources in prefetch.ahead(self._read(wanted)):
            yield self._show(epoch, step, numbers, sources)

    def _read(self, wanted: range) -> Iterator[tuple[int, int, NDArray[np.int64], list[Batch]]]:
        """Yield pass, step of the pass, numbers, and pixels: of the images and of partners."""
        order, known = np.empty((0, 0), dtype=np.int64), -1
        for number in wanted:
            epoch, step = divmod(number, self.steps_per_epoch)
            if epoch != known:
                order, known = self.sampler.epoch(epoch), epoch
            numbers = np.array_split(order[step], self._part.world_size)[self._part.rank]
            shown = [numbers]
            if self.partners is not None:
                rng = seeding.rng(self.seed, "partner", epoch, step, self._part.rank)
                shown.append(self.partners.of(numbers, rng))
            yield epoch, step, numbers, [self._gather(n, epoch, step) for n in shown]

    def _gather(self, numbers: NDArray[np.int64], epoch: int, step: int) -> Batch:
        shape, smallest = self._shape, self._smallest_crop
        if isinstance(self.store, BagStore) and not self._plain:
            rng = seeding.rng(self.seed, "slices", epoch, step, self._part.rank)
            batch = self.store.gather(numbers, shape=shape, smallest_crop=smallest, rng=rng)
        else:
            batch = self.store.gather(numbers, shape=shape, smallest_crop=smallest)
        return prefetch.pinned(batch) if self.device.type == "cuda" else batch

    def _show(
        self, epoch: int, step: int, numbers: NDArray[np.int64], sources: list[Batch]
    ) -> Shown:
        prepared = [self._intensity(to_device(batch, self.device)) for batch in sources]
        # one process draws as it always did; others add their rank
        own = (self._part.rank,) if self._part.rank else ()
        shown = []
        for view, recipe in enumerate(self._views):
            recipe.set_random_state(seeding.derive(self.seed, "view", epoch, step, view, *own))
            source = prepared[0] if view == 0 else prepared[-1]
            shown.append(recipe(dict(source))["image"])
        rows = torch.from_numpy(numbers)
        return Shown(
            views=shown,
            patients=self._patients[rows].to(self.device, non_blocking=True),
            target=None
            if self._target is None
            else self._target[rows].to(self.device, non_blocking=True),
            slices=bags.about_slices(prepared[0]),
        )


def local_shape(shape: tuple[int, ...], share: float) -> tuple[int, ...]:
    """Return the shape of a local view, px, its sides about ``share`` of those of a view."""
    return tuple(
        min(side, max(_LOCAL_STEP, round(side * share / _LOCAL_STEP) * _LOCAL_STEP))
        for side in shape
    )


def _smallest_crop(views: Views, n_local_views: int) -> float:
    """Return the smallest share of an image that must fill a full view."""
    smallest = views.scale[0]
    if n_local_views:
        smallest = min(smallest, views.local_scale[0] / views.local_size**2)
    return min(1.0, smallest)


def plain_batches(
    store: Store,
    *,
    device: torch.device,
    intensity: Intensity,
    shape: tuple[int, ...],
    batch_size: int,
) -> Iterator[Tensor]:
    """Yield every image of a store once, in order and without randomness.

    Yields:
        Shape (B, C, *shape).
    """
    pipeline = Compose([recipes.ToIntensity(intensity), recipes.WholeImage(shape)])

    def read() -> Iterator[Batch]:
        for start in range(0, len(store), batch_size):
            numbers = np.arange(start, min(start + batch_size, len(store)))
            yield store.gather(numbers, shape=shape)

    for batch in prefetch.ahead(read()):
        yield pipeline(to_device(batch, device))["image"]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on ``device``."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
