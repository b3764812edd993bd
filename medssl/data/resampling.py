"""Bring volumes to one voxel size and one orientation, for methods that need both.

MONAI turns and interpolates. It keeps the shear of a tilted gantry and takes every k-th voxel where
voxels grow; here the shear is undone, and values are smoothed before they are thinned out.
"""

from collections.abc import Iterator, Sequence

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation, SpatialResample
from numpy.typing import NDArray
from scipy import ndimage

Matrix = NDArray[np.float64]

SHEAR = 5e-3  # cosine between two axes from which on they are made orthogonal
_SLAB = 2**22  # voxels interpolated at a time: each takes 60 bytes meanwhile
_AXIS_OF = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


def resample(
    volume: NDArray[np.float32],
    affine: Matrix,
    *,
    spacing: Sequence[float] | None = None,
    orientation: str | None = "RAS",
) -> tuple[NDArray[np.float32], Matrix]:
    """Return a volume on another grid, and the affine of that.

    The first voxel stays where it is unless shear is undone; beyond the edge values are those of
    the edge. Turning alone moves voxels and changes no value.

    Args:
        volume: Shape (C, columns, rows, slices), any unit.
        affine: Voxel (column, row, slice) to RAS+ mm, shape (4, 4).
        spacing: Of the voxels along the three axes of the result, mm; None keeps that of the volume
            and its shear.
        orientation: Where the axes of the result point, such as ``RAS``; None keeps their order.

    Raises:
        ValueError: The orientation is not one each of R/L, A/P and S/I.
    """
    if orientation is not None and sorted(_AXIS_OF.get(to, -1) for to in orientation) != [0, 1, 2]:
        raise ValueError(f"{orientation!r} is no orientation such as 'RAS'")
    image = MetaTensor(torch.from_numpy(np.ascontiguousarray(volume)), affine=affine)
    if spacing is not None:
        image = _on_grid(image, affine, spacing, orientation)
    if orientation is not None:
        image = Orientation(axcodes=orientation, labels=None)(image)
    return image.numpy().astype(np.float32, copy=False), np.asarray(image.affine, dtype=np.float64)


def _on_grid(
    image: MetaTensor, affine: Matrix, spacing: Sequence[float], orientation: str | None
) -> MetaTensor:
    """Interpolate, with the axes still in the order of the volume."""
    directions, lengths = _axes(affine)
    wanted = np.array(spacing, dtype=np.float64)[_results_of(directions, orientation)]
    grid, size = _covering(affine, directions * wanted, image.shape[1:])
    if np.allclose(grid, affine) and size == tuple(image.shape[1:]):
        return image
    sigma = np.maximum(0, (wanted / lengths - 1) / 2)  # voxels
    values = ndimage.gaussian_filter(image.numpy(), (0, *sigma), mode="nearest")
    resampling = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float64)
    smooth = MetaTensor(torch.from_numpy(values).double(), affine=affine)
    slabs = [
        resampling(smooth, dst_affine=torch.from_numpy(place), spatial_size=part).float()
        for place, part in _slabs(grid, size)
    ]
    return MetaTensor(torch.cat([slab.as_tensor() for slab in slabs], dim=-1), affine=grid)


def _axes(affine: Matrix) -> tuple[Matrix, Matrix]:
    """Return unit vectors along columns, rows and slices, orthogonal, and the spacing in mm."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    units = affine[:3, :3] / lengths
    if np.abs(units.T @ units - np.eye(3)).max() < SHEAR:
        return units, lengths
    column = units[:, 0]
    row = units[:, 1] - (units[:, 1] @ column) * column
    row /= np.linalg.norm(row)
    across = np.cross(column, row)
    return np.stack([column, row, across * np.sign(across @ units[:, 2])], axis=1), lengths


def _results_of(directions: Matrix, orientation: str | None) -> list[int]:
    """Return which axis of the result each axis of the volume will be."""
    if orientation is None:
        return [0, 1, 2]
    frame = np.eye(4)
    frame[:3, :3] = directions
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(frame), nib.orientations.axcodes2ornt(orientation)
    )
    return [int(axis) for axis in turn[:, 0]]


def _covering(
    affine: Matrix, steps: Matrix, shape: Sequence[int]
) -> tuple[Matrix, tuple[int, ...]]:
    """Return the affine and size of the grid of these steps that covers a volume.

    A voxel at the edge is as near to one of the grid as any other is.
    """
    ends = np.array([[0, n - 1] for n in shape])
    corners = np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    places = np.linalg.solve(steps, affine[:3, :3] @ corners)  # of the new grid, from voxel 0
    first, last = np.round(places.min(axis=1), 6), places.max(axis=1)
    grid = np.eye(4)
    grid[:3, :3] = steps
    grid[:3, 3] = affine[:3, 3] + steps @ first
    return grid, tuple(int(n) for n in np.round(last - first) + 1)


def _slabs(grid: Matrix, size: tuple[int, ...]) -> Iterator[tuple[Matrix, tuple[int, ...]]]:
    """Yield the affine and size of runs of slices that make up a grid."""
    at_a_time = max(1, _SLAB // (size[0] * size[1]))
    for first in range(0, size[2], at_a_time):
        place = grid.copy()
        place[:3, 3] += first * grid[:3, 2]
        yield place, (*size[:2], min(at_a_time, size[2] - first))
