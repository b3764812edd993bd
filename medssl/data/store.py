"""From archive rows to arrays: a batch is a memory-mapped gather, nothing is decoded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from medssl.artifacts import pixels

# `image` (B, C, *spatial) as stored, `extent` (B, D) of the valid area, `spacing` (B, D) of volumes
# in mm, and (B,) each: `slope`, `intercept` and whether the unit is `hu`.
Batch = dict[str, Tensor]


class Stored:
    """Where the rows of a table lie, and what their pixels mean.

    Args:
        archive: Archive folder.
        table: Rows of `images.parquet`, in the order they are to be numbered.

    Raises:
        ArtifactError: A pixel shard is missing or damaged.
    """

    def __init__(self, archive: Path, table: pa.Table) -> None:
        self._shards = {s: pixels.read(archive, s) for s in np.unique(table["shard"]).tolist()}
        self._shard = table["shard"].to_numpy()
        self._row = table["row"].to_numpy()
        self._slope = table["slope"].to_numpy().astype(np.float32)
        self._intercept = table["intercept"].to_numpy().astype(np.float32)
        self._hu = np.array([unit == "HU" for unit in table["unit"].to_pylist()])

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self._row)

    @property
    def channels(self) -> int:
        """Channels of the first row."""
        return int(next(iter(self._shards.values())).shape[1])

    def _meaning(self, numbers: NDArray[np.int64]) -> Batch:
        """Return what takes the pixels of rows to real units, (B,) each."""
        return {
            "slope": torch.from_numpy(self._slope[numbers]),
            "intercept": torch.from_numpy(self._intercept[numbers]),
            "hu": torch.from_numpy(self._hu[numbers]),
        }


class ImageStore(Stored):
    """Random access to the images of an archive, or of some rows of it.

    Args:
        archive: Archive folder.
        table: Rows of `images.parquet`, in the order they are to be numbered.

    Raises:
        ArtifactError: A pixel shard is missing or damaged.
    """

    def __init__(self, archive: Path, table: pa.Table) -> None:
        super().__init__(archive, table)
        self._extent = np.stack([table["rows"], table["columns"]], axis=1).astype(np.float32)

    @property
    def side(self) -> int:
        """Longest stored side, px."""
        return max(int(side) for shard in self._shards.values() for side in shard.shape[2:])

    def gather(
        self,
        numbers: NDArray[np.int64],
        *,
        shape: tuple[int, ...] | None = None,
        smallest_crop: float = 1.0,
    ) -> Batch:
        """Return the images called ``numbers`` with what is needed to read their values.

        Images of different shapes are padded at the bottom and the right to the largest of them;
        ``extent`` (rows, columns) says which part of each is image.

        Args:
            numbers: Which images, shape (B,).
            shape: Rows and columns of the views to come. Each image is averaged over whole blocks
                of pixels as far as that leaves enough of them, so that resampling does not alias.
                The block depends on the image alone. None: pixels as stored.
            smallest_crop: Smallest share of an image that a view may show.
        """
        shards, extent = self._shard[numbers], self._extent[numbers]
        factors = np.ones(len(numbers), dtype=np.int64)
        if shape is not None:
            pixels_per_pixel = np.sqrt(extent.prod(axis=1) * smallest_crop / np.prod(shape))
            factors = np.maximum(1, pixels_per_pixel.astype(np.int64))
        blocks = []
        for shard, factor in sorted(set(zip(shards.tolist(), factors.tolist(), strict=True))):
            here = np.flatnonzero((shards == shard) & (factors == factor))
            stored = self._shards[shard][self._row[numbers[here]]]
            blocks.append((here, averaged(stored, (factor, factor))))
        stack = blocks[0][1]
        if len(blocks) > 1:
            height, width = (max(block.shape[axis] for _, block in blocks) for axis in (2, 3))
            stack = np.zeros((len(numbers), self.channels, height, width), dtype=np.float32)
            for here, block in blocks:
                stack[here, :, : block.shape[2], : block.shape[3]] = block
        whole_cells = np.maximum(1, np.floor(extent / factors[:, None])).astype(np.float32)
        return {
            "image": torch.from_numpy(stack),
            "extent": torch.from_numpy(whole_cells),
            **self._meaning(numbers),
        }


def averaged(images: NDArray[np.generic], factors: Sequence[int]) -> NDArray[np.float32]:
    """Return means over blocks of pixels; what does not fill a block is cut.

    A few sums of strided parts take a tenth of the time of a mean over a reshaped array.

    Args:
        images: Shape (N, C, *spatial).
        factors: Pixels of a block along each axis; where an image has fewer, all of them.
    """
    sums, count = images, 1
    for axis, factor in enumerate(factors, start=2):
        step = min(factor, sums.shape[axis])
        end = sums.shape[axis] // step * step
        along = (slice(None),) * axis
        parts = [sums[(*along, slice(first, end, step))] for first in range(step)]
        if step > 1:
            total = parts[0].astype(np.float32)
            for part in parts[1:]:
                np.add(total, part, out=total)
            sums, count = total, count * step
    means = sums.astype(np.float32, copy=False)
    return means if count == 1 else means / np.float32(count)
