"""A series as a bag of slices: a few of them, evenly spaced, read as images.

All slices of a series share their random view. A view takes them as channels of one image, so that
crop, rotation and contrast are drawn once for the series, and so are the box and the partner of
CutMix and MixUp. What is standardised is each slice by itself, as an encoder of images saw it.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from medssl.artifacts import archive as archives
from medssl.config.training import Intensity
from medssl.data import prefetch, sampling
from medssl.data.store import Batch, ImageStore
from medssl.data.views import ToIntensity, WholeImage

_PER_IMAGE = ("extent", "hu", "body_above", "air")


class BagStore:
    """Random access to the slices of series, as `ImageStore` gives it to images.

    Args:
        archive: Archive folder.
        table: Rows of `volumes.table`, in the order they are to be numbered.
        slices: How many of a series are shown.

    Raises:
        ArtifactError: The table of images or a pixel shard is missing or damaged.
    """

    def __init__(self, archive: Path, table: pa.Table, slices: int) -> None:
        keys = pc.unique(table["series_key"])
        images, self._count = _slices_of(archives.read_images(archive), keys)
        self._series = pc.index_in(table["series_key"], value_set=keys).to_numpy()
        self.slices = slices
        self.image_ids: NDArray[np.object_] = np.array(images["image_id"].to_pylist(), dtype=object)
        self._images = ImageStore(archive, images)
        self._first = np.cumsum(self._count) - self._count
        self._position_mm = _from_the_middle(images, self._first)

    def __len__(self) -> int:
        """Return how many series there are."""
        return len(self._series)

    @property
    def channels(self) -> int:
        """Channels of a slice."""
        return self._images.channels

    @property
    def side(self) -> int:
        """Longest stored side, px."""
        return self._images.side

    def chosen(
        self, numbers: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return which slices of the series called ``numbers`` are shown, and which places count.

        A series is cut into as many stretches as slices are wanted, equal to within one slice, and
        each shows one: its middle, or one drawn by ``rng``. A shorter series shows all; the places
        left over repeat them, so that batch norm sees nothing foreign, and do not count.

        Args:
            numbers: Which series, shape (B,).
            rng: Draws the slices in training; None: the middle ones.

        Returns:
            Rows among all slices, and whether they count, (B, slices) each.
        """
        series = self._series[numbers]
        place, count = np.arange(self.slices), self._count[series][:, None]
        low = place * count // self.slices
        width = np.maximum((place + 1) * count // self.slices - low, 1)
        if rng is None:
            within = low + (width - 1) // 2
        else:
            within = low + (rng.random(width.shape) * width).astype(np.int64)
        is_long = count >= self.slices
        rows = self._first[series][:, None] + np.where(is_long, within, place % count)
        return rows, is_long | (place < count)

    def gather(
        self,
        numbers: NDArray[np.int64],
        *,
        shape: tuple[int, ...] | None = None,
        smallest_crop: float = 1.0,
        rng: np.random.Generator | None = None,
    ) -> Batch:
        """Return slices of the series called ``numbers``, with what is needed to read their values.

        Args:
            numbers: Which series, shape (B,).
            shape: See `ImageStore.gather`.
            smallest_crop: See `ImageStore.gather`.
            rng: See `chosen`.

        Returns:
            What `ImageStore.gather` returns of B * slices images, a series after the other, and
            ``mask`` (B, slices) of the places that count, and ``position_mm`` (B, slices) from the
            middle of the series.
        """
        rows, mask = self.chosen(numbers, rng)
        batch = self._images.gather(rows.ravel(), shape=shape, smallest_crop=smallest_crop)
        position = self._position_mm[rows].astype(np.float32)
        return {
            **batch,
            "mask": torch.from_numpy(mask),
            "position_mm": torch.from_numpy(position),
        }


class BagIntensity(ToIntensity):
    """Stored values to encoder input, slice by slice; then the slices of a series as channels."""

    def __call__(self, batch: Batch) -> Batch:
        """Return `image` (B, slices * C, rows, columns), a row of everything else per series."""
        read = super().__call__(batch)
        n, slices = batch["mask"].shape
        folded = {name: read[name][::slices] for name in _PER_IMAGE}
        image = read["image"].reshape(n, -1, *read["image"].shape[2:])
        return {**read, **folded, "image": image}


def plain_bags(
    store: BagStore,
    *,
    device: torch.device,
    intensity: Intensity,
    shape: tuple[int, ...],
    batch_size: int,
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Yield every series of a store once, in order and without randomness.

    Yields:
        Slices (B, slices * C, *shape), and ``mask`` and ``position_mm`` as `BagStore.gather` has
        them.
    """
    to_input, whole = BagIntensity(intensity), WholeImage(shape)

    def read() -> Iterator[Batch]:
        for start in range(0, len(store), batch_size):
            numbers = np.arange(start, min(start + batch_size, len(store)))
            yield store.gather(numbers, shape=shape)

    for batch in prefetch.ahead(read()):
        there = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        yield whole(to_input(there))["image"], about_slices(there)


def about_slices(batch: Batch) -> dict[str, Tensor]:
    """Return what a site model wants to know of slices besides their pixels; empty for others."""
    return {name: batch[name] for name in ("mask", "position_mm") if name in batch}


def _slices_of(images: pa.Table, keys: pa.Array) -> tuple[pa.Table, NDArray[np.int64]]:
    """Return all images of some series, a series after the other, and how many each has."""
    images = images.filter(pc.is_in(images["series_key"], value_set=keys))
    rank = pc.index_in(images["series_key"], value_set=keys).to_numpy()
    order = np.lexsort((images["slice_index"].to_numpy(), rank))
    return images.take(order), np.bincount(rank, minlength=len(keys))


def _from_the_middle(images: pa.Table, first: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return where each slice lies, mm from the middle of its series.

    Where nobody knows how far slices are apart they are taken to be 1 mm apart.
    """
    place = sampling.positions(images)
    lengths = np.diff(first, append=len(place))
    unknown = np.repeat(np.logical_or.reduceat(~np.isfinite(place), first), lengths)
    place = np.where(unknown, images["slice_index"].to_numpy(), place)
    middle = (np.minimum.reduceat(place, first) + np.maximum.reduceat(place, first)) / 2
    return np.asarray(place - np.repeat(middle, lengths))
