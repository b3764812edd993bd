"""Whole series as volumes: one table row and one run of stored slices each, in one orientation.

Slices go from feet to head, rows from front to back and columns from the patient's right to the
left, as far as the archive knows: so an axial slice lies as a scanner shows it. Voxels keep their
size; only the nearest axes are exchanged and reversed.
"""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from medssl.data.store import Batch, Stored, averaged
from medssl.foundation.errors import DataError

LEAST_SLICES = 2
_TOWARDS = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]])  # of (slices, rows, columns) in RAS+
_AS_STORED = (1, 2, 3)


def table(images: pa.Table, *, least: int = LEAST_SLICES) -> pa.Table:
    """Return one row per series of ``least`` slices or more, in the order of their first rows.

    That is the row of the first slice with ``n_slices`` and ``axes``: the stored axis (1 slices,
    2 rows, 3 columns) that each axis of the volume is, negative where it is reversed.

    Args:
        images: `images.parquet`, or the rows of whole series of it.
        least: Slices a series must have; 1 where slices are read one by one.

    Raises:
        DataError: A series is not complete, or none has slices enough.
    """
    codes = images["series_key"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((images["row"].to_numpy(), images["shard"].to_numpy(), codes))
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    _refuse_incomplete(images.take(order), starts, counts)
    long = counts >= least
    if not long.any():
        raise DataError(
            f"no series has {least} slices or more, so there are no volumes",
            fix="take an archive of series, or work on images: --spatial-dims 2, or an encoder "
            "pretrained so",
        )
    chosen = np.flatnonzero(long)
    first = order[starts[chosen]]
    chosen, first = chosen[np.argsort(first)], np.sort(first)
    found = images.take(first)
    axes = [_axes(affine) for affine in found["affine"].to_pylist()]
    found = found.append_column("n_slices", pa.array(counts[chosen], pa.int32()))
    return found.append_column("axes", pa.array(axes, pa.list_(pa.int8(), 3)))


def _refuse_incomplete(
    ordered: pa.Table, starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> None:
    """Stop where the rows of a series are not one run of slices from the first on."""
    numbers = np.arange(len(ordered)) - np.repeat(starts, counts)
    runs = ordered["row"].to_numpy() - numbers
    lies_apart = runs != np.repeat(runs[starts], counts)
    for name in ("shard", "rows", "columns", "slope", "intercept"):
        values = ordered[name].to_numpy()
        lies_apart |= values != np.repeat(values[starts], counts)
    wrong = lies_apart | (ordered["slice_index"].to_numpy(zero_copy_only=False) != numbers)
    if wrong.any():
        key = ordered["series_key"][int(np.flatnonzero(wrong)[0])].as_py()
        raise DataError(
            f"slices of series {key} are missing or do not belong together",
            fix="give all rows of images.parquet; a selection of slices is no volume",
        )


def _axes(affine: Sequence[float] | None) -> tuple[int, ...]:
    """Return the stored axes that are nearest to slices, rows and columns, with their signs."""
    if affine is None:
        return _AS_STORED
    steps = np.array(affine).reshape(3, 4)[:, 2::-1]  # of slice, row and column, as columns
    along = _TOWARDS @ (steps / np.linalg.norm(steps, axis=0))  # cosines, (wanted, stored)
    wanted = np.arange(3)
    best = max(permutations(range(3)), key=lambda order: np.abs(along[wanted, order]).sum())
    return tuple(
        stored + 1 if along[axis, stored] >= 0 else -(stored + 1)
        for axis, stored in enumerate(best)
    )


class VolumeStore(Stored):
    """Random access to volumes, as `ImageStore` gives it to images.

    Args:
        archive: Archive folder.
        table: Rows of `table`, in the order they are to be numbered.

    Raises:
        ArtifactError: A pixel shard is missing or damaged.
    """

    def __init__(self, archive: Path, table: pa.Table) -> None:
        super().__init__(archive, table)
        self._stored = np.stack([table[n].to_numpy() for n in ("n_slices", "rows", "columns")], 1)
        self._axes = np.array(table["axes"].to_pylist())
        stored = np.abs(self._axes) - 1
        self._extent = np.take_along_axis(self._stored, stored, axis=1)
        self._spacing = np.take_along_axis(_spacing(table), stored, axis=1)

    @property
    def side(self) -> int:
        """Most rows or columns of a volume."""
        return int(self._extent[:, 1:].max())

    @property
    def depth_share(self) -> float:
        """Median of how deep a volume is, as a share of its longer side in the plane (mm / mm)."""
        size = self._extent * self._spacing
        return float(np.median(size[:, 0] / size[:, 1:].max(axis=1)))

    def gather(
        self,
        numbers: NDArray[np.int64],
        *,
        shape: tuple[int, ...] | None = None,
        smallest_crop: float = 1.0,
    ) -> Batch:
        """Return the volumes called ``numbers`` with what is needed to read their values.

        Volumes of different shapes are padded at the end of each axis to the largest of them;
        ``extent`` (slices, rows, columns) says which part of each is volume.

        Args:
            numbers: Which volumes, shape (B,).
            shape: Of the views to come, (slices, rows, columns). Each volume is averaged over whole
                blocks of voxels, along each axis as far as that leaves enough of them: thick slices
                stay as they are. The block depends on the volume alone. None: voxels as stored.
            smallest_crop: Smallest share of a volume that a view may show.
        """
        factors = np.ones((len(numbers), 3), dtype=np.int64)
        spacing = self._spacing[numbers]
        if shape is not None:
            size = (self._extent[numbers] * spacing).prod(axis=1) * smallest_crop
            voxel = np.cbrt(size / np.prod(shape))[:, None]  # of a view of the smallest crop, mm
            factors = np.maximum(1, (voxel / spacing).astype(np.int64))
        volumes = [
            averaged(self._volume(number)[None], factor)[0]
            for number, factor in zip(numbers.tolist(), factors.tolist(), strict=True)
        ]
        largest = np.max([volume.shape for volume in volumes], axis=0)
        stack = np.zeros((len(volumes), *largest), dtype=np.float32)
        for place, volume in zip(stack, volumes, strict=True):
            place[tuple(map(slice, volume.shape))] = volume
        extent = np.array([volume.shape[1:] for volume in volumes])
        block = np.minimum(factors, self._extent[numbers])
        return {
            "image": torch.from_numpy(stack),
            "extent": torch.from_numpy(extent.astype(np.float32)),
            "spacing": torch.from_numpy((spacing * block).astype(np.float32)),
            **self._meaning(numbers),
        }

    def _volume(self, number: int) -> NDArray[np.generic]:
        """Return the valid area of a series in its orientation, (C, slices, rows, columns)."""
        slices, rows, columns = self._stored[number]
        row, axes = self._row[number], self._axes[number]
        run = self._shards[self._shard[number]][row : row + slices, :, :rows, :columns]
        turned = np.swapaxes(run, 0, 1).transpose(0, *np.abs(axes))
        steps = (slice(None, None, -1 if axis < 0 else 1) for axis in axes)
        volume: NDArray[np.generic] = turned[(slice(None), *steps)]
        return volume


def _spacing(table: pa.Table) -> NDArray[np.float64]:
    """Return mm between (slices, rows, columns), shape (N, 3).

    Where the distance of slices is not known it is taken to be that of rows, and all are 1 where
    nothing is known.
    """
    known = []
    for given in table["spacing"].to_pylist():
        row, column, step = given or (None, None, None)
        row, column = (row, column) if row and column else (1.0, 1.0)
        known.append((step or row, row, column))
    return np.array(known)
