"""From archive rows to arrays: a batch is a memory-mapped gather, nothing is decoded."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from medssl.artifacts import pixels

Batch = dict[
    str, Tensor
]  # image (B, C, H, W) as stored; extent (B, 2), slope, intercept (B,), hu (B,)


class ImageStore:
    """Random access to the images of an archive, or of some rows of it.

    Args:
        archive: Archive folder.
        table: Rows of `images.parquet`, in the order they are to be numbered.
    """

    def __init__(self, archive: Path, table: pa.Table) -> None:
        self._shards = {s: pixels.read(archive, s) for s in np.unique(table["shard"]).tolist()}
        self._shard = table["shard"].to_numpy()
        self._row = table["row"].to_numpy()
        self._extent = np.stack([table["rows"], table["columns"]], axis=1).astype(np.float32)
        self._slope = table["slope"].to_numpy().astype(np.float32)
        self._intercept = table["intercept"].to_numpy().astype(np.float32)
        self._hu = np.array([unit == "HU" for unit in table["unit"].to_pylist()])

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._row)

    @property
    def channels(self) -> int:
        """Channels of the first image."""
        return int(next(iter(self._shards.values())).shape[1])

    @property
    def side(self) -> int:
        """Longest stored side, px."""
        return max(int(side) for shard in self._shards.values() for side in shard.shape[2:])

    def gather(self, numbers: NDArray[np.int64]) -> Batch:
        """Return the images called ``numbers`` with what is needed to read their values.

        Images of different shapes are padded at the bottom and the right to the largest of them;
        ``extent`` (rows, columns) says which part of each is image.
        """
        shards = self._shard[numbers]
        height, width = (
            max(self._shards[s].shape[axis] for s in np.unique(shards)) for axis in (2, 3)
        )
        stack = np.zeros((len(numbers), self.channels, height, width), dtype=np.float32)
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            source = self._shards[shard]
            rows = self._row[numbers[here]]
            stack[here, :, : source.shape[2], : source.shape[3]] = source[rows]
        return {
            "image": torch.from_numpy(stack),
            "extent": torch.from_numpy(self._extent[numbers]),
            "slope": torch.from_numpy(self._slope[numbers]),
            "intercept": torch.from_numpy(self._intercept[numbers]),
            "hu": torch.from_numpy(self._hu[numbers]),
        }

    def eight_bit(self, window_hu: tuple[float, float]) -> Iterator[NDArray[np.uint8]]:
        """Yield the valid area of every image as 8 bits, shape (rows, columns).

        CT is windowed, 8-bit sources stay as they are, and everything else is stretched between
        its 0.5 and 99.5 percentiles: a plain 16-to-8-bit conversion would saturate.
        """
        for number in range(len(self)):
            shard = self._shards[int(self._shard[number])]
            rows, columns = self._extent[number].astype(int)
            image = np.asarray(shard[self._row[number], 0, :rows, :columns])
            if image.dtype == np.uint8:
                yield np.ascontiguousarray(image)
                continue
            values = image.astype(np.float32)
            if self._hu[number]:
                values = values * self._slope[number] + self._intercept[number]
                low, high = window_hu
            else:
                low, high = np.percentile(values, (0.5, 99.5))
            scaled = (values - low) / max(high - low, 1e-6)
            yield np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
