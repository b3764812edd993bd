"""Boxes in a batch of images or volumes, and what is seen in them: one resampling each.

Lengths are mm, or px where an image has no `spacing`; axes go as those of the image, (rows,
columns) or (slices, rows, columns). Everything is computed where the images lie.
"""

from dataclasses import dataclass
from itertools import combinations
from math import prod

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor

from medssl.data.store import Batch

Shape = tuple[int, ...]  # of a view: (rows, columns) or (slices, rows, columns)
MOST_UNEVEN = 3.0  # voxels may be this much longer one way than another where both are turned
_PARTS = 1024  # of a voxel that coverage is told in, so that rounding changes nothing


@dataclass(frozen=True, kw_only=True)
class Box:
    """One box per image."""

    centre: Tensor  # (B, D), from the outer corner of the first voxel
    edges: Tensor  # (B, D); a negative one mirrors
    turn: Tensor  # (B, D, D), from the axes of the box to those of the image


def spacing(batch: Batch) -> Tensor:
    """Return the size of a voxel, shape (B, D)."""
    given = batch.get("spacing")
    return torch.ones_like(batch["extent"]) if given is None else given


def valid_box(batch: Batch, shape: Shape | None = None) -> Box:
    """Return the box of the valid area, or the smallest of the proportions of ``shape`` around."""
    size = batch["extent"] * spacing(batch)
    edges = size
    if shape is not None:
        sides = torch.tensor(shape, dtype=size.dtype).to(size.device, non_blocking=True)
        edges = (size / sides).amax(dim=1, keepdim=True) * sides
    straight = torch.eye(size.shape[1], dtype=size.dtype, device=size.device)
    return Box(centre=size / 2, edges=edges, turn=straight.expand(len(size), -1, -1))


def covered(batch: Batch, shape: Shape) -> Tensor:
    """Return how much of each voxel of a view of `valid_box` is valid area, (B, 1, *shape).

    It is 1 exactly in a view that shows no more than the valid area.
    """
    size = batch["extent"] * spacing(batch)
    edges = valid_box(batch, shape).edges
    share = torch.ones((len(size), *(1,) * (len(shape) + 1)), device=size.device)
    for axis, count in enumerate(shape):
        from_middle = (torch.arange(count, device=size.device) - (count - 1) / 2).abs()
        half = (count * size[:, axis] / edges[:, axis] / 2)[:, None]  # of the area, in voxels
        here = (half - from_middle + 0.5).clamp(0, 1).mul(_PARTS).round().div(_PARTS)
        share = share * here.view(-1, *(1,) * (axis + 1), count, *(1,) * (len(shape) - axis - 1))
    return share


def turns(angles: Tensor, size_of_voxels: Tensor) -> Tensor:
    """Return rotations, shape (B, D, D).

    Args:
        angles: In radians: (B, 1) in the plane of an image; (B, 3) about slices, rows and columns.
        size_of_voxels: Shape (B, D). A volume is not turned in a plane where voxels are
            `MOST_UNEVEN` times as long one way as the other: that would show the gaps.
    """
    dims = size_of_voxels.shape[1]
    planes = list(combinations(range(dims), 2))[::-1]  # of 3D: about slices, rows, columns
    turn: Tensor | None = None
    for angle, (i, j) in zip(angles.unbind(dim=1), planes, strict=True):
        one_way, other = size_of_voxels[:, i], size_of_voxels[:, j]
        is_even = torch.maximum(one_way, other) < MOST_UNEVEN * torch.minimum(one_way, other)
        one = _in_plane(angle * is_even, i, j, dims)
        turn = one if turn is None else _product(turn, one)
    assert turn is not None, "there is a plane"
    return turn


def _in_plane(angle: Tensor, i: int, j: int, dims: int) -> Tensor:
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    cells = [[one if a == b else zero for b in range(dims)] for a in range(dims)]
    cells[i][i] = cells[j][j] = angle.cos()
    cells[i][j], cells[j][i] = angle.sin(), -angle.sin()
    return torch.stack([torch.stack(row, dim=1) for row in cells], dim=1)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Return matrix products, never in the reduced precision that a GPU may use for them."""
    return (left[:, :, :, None] * right[:, None]).sum(dim=2)


def sample(batch: Batch, box: Box, shape: Shape) -> Tensor:
    """Return what is in the boxes as images (B, C, *shape), interpolated linearly.

    What lies outside the valid area takes the value at its border; the padding is never read.
    """
    scale, _ = _to_grid(batch)
    return _interpolated(batch, _grid(box, box.centre * scale - 1, scale, shape))


def points(batch: Batch, box: Box, centres: Tensor, count: int) -> Tensor:
    """Return a few values from each of several places, shape (B, K, count ** D); means of channels.

    The padding is never read.

    Args:
        batch: The images.
        box: Size and turn of the boxes.
        centres: Shape (B, K, D), instead of the box's own.
        count: Points along each edge.
    """
    n, k, dims = centres.shape
    scale, _ = _to_grid(batch)
    offsets = _grid(box, torch.zeros_like(scale), scale, (count,) * dims)
    places = (centres * scale[:, None] - 1).flip(2).transpose(1, 2)  # (B, D, K)
    grid = offsets[:, :, None] + places.view(n, dims, k, *(1,) * dims)
    return _interpolated(batch, grid.flatten(2, 3)).mean(dim=1).view(n, k, count**dims)


def _to_grid(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return (B, D) factors from lengths to -1..1 over the stored array, and its sides."""
    extent = batch["extent"]
    size = torch.tensor(batch["image"].shape[2:], dtype=extent.dtype)
    size = size.to(extent.device, non_blocking=True).expand_as(extent)
    return 2 / (size * spacing(batch)), size


def _grid(box: Box, centre: Tensor, scale: Tensor, shape: Shape) -> Tensor:
    """Return where the voxels of a view lie, one plane per axis: (B, D, *shape), last axis first.

    Planes are several times as fast to compute as one vector per voxel.

    Args:
        box: The boxes.
        centre: Theirs, shape (B, D), in -1..1 over the stored array.
        scale: From lengths to that.
        shape: Of the view.
    """
    steps = (box.turn * (box.edges / 2)[:, None] * scale[:, :, None]).flip(1)  # (B, D, axis)
    grid = _as_planes(centre)
    for axis, count in enumerate(shape):
        along = (2 * torch.arange(count, device=scale.device, dtype=scale.dtype) + 1) / count - 1
        line = along.view(-1, *(1,) * (len(shape) - 1 - axis))
        grid = grid + steps[:, :, axis].view(*steps.shape[:2], *(1,) * len(shape)) * line
    return grid


def _as_planes(values: Tensor) -> Tensor:
    """Return (B, D) as (B, D, 1, ...), last axis first as `grid_sample` wants it."""
    return values.flip(1).view(*values.shape, *(1,) * values.shape[1])


def _interpolated(batch: Batch, grid: Tensor) -> Tensor:
    """Return values at places (B, D, *shape), moved into the valid area; changes ``grid``."""
    _, size = _to_grid(batch)
    grid.clamp_(min=_as_planes(1 / size - 1)).clamp_(
        max=_as_planes((2 * batch["extent"] - 1) / size - 1)
    )
    at = grid.movedim(1, -1)
    return F.grid_sample(batch["image"], at, padding_mode="border", align_corners=False)


def proportions(shape: Shape) -> tuple[float, ...]:
    """Return the edges of a box of volume 1 with the proportions of a view."""
    mean = prod(shape) ** (1 / len(shape))
    return tuple(side / mean for side in shape)
