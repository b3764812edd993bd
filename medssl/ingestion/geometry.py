"""Where images lie in the patient, in RAS+ mm: right, anterior and superior are positive.

An affine is twelve numbers, the rows of a 3 x 4 matrix A. A @ (column, row, slice, 1) is the centre
of a stored pixel in RAS+ mm. Each image carries its own: slice 0 is that image, and the third
column of A is the step to the next slice, so that any run of images of a series is a volume.
"""

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]
Triple = tuple[float, float, float]

SAME_DIRECTION = 1e-3  # largest difference between unit vectors that count as parallel
SAME_SPACING = 5e-3  # share by which distances between pixels may differ and count as equal
SAME_PLACE_MM = 1e-3  # positions closer than this are one position
SAME_PLACE = 0.1  # of the distance between slices, where these are as thin as in microscopy
GAP = 0.01  # a distance that differs from the median by this share is a gap
TILT = 5e-3  # sine of the angle between the stacking direction and the normal: about 0.3 degrees
SHIFT = 0.5  # of a pixel, by which slices may lie beside the line from the first to the last
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Plane:
    """An image plane: the centre of the first pixel and the steps to its neighbours, RAS+ mm."""

    origin: Triple
    column_step: Triple  # from a pixel to the one in the next column
    row_step: Triple  # from a pixel to the one in the next row


@dataclass(frozen=True, slots=True)
class Stack:
    """How ordered planes follow each other."""

    step: Triple | None  # from a slice to the next, RAS+ mm; None where there is only one slice
    missing: int = 0  # slices that would fill the gaps
    missing_mm: float = 0.0  # by which distances exceed the usual one, all together
    tilt: float = 0.0  # angle between the stacking direction and the normal, degrees
    flags: tuple[str, ...] = ()  # gap, tilt, shifted

    @property
    def has_gap(self) -> bool:
        """Whether distances between slices vary."""
        return "gap" in self.flags


def lps_to_ras(vectors: ArrayLike) -> Vector:
    """Return DICOM coordinates (left, posterior, superior) as RAS+; its own inverse.

    Args:
        vectors: Shape (..., 3), mm.
    """
    turned: Vector = np.asarray(vectors, dtype=np.float64) * _LPS_TO_RAS
    return turned


def triple(vector: ArrayLike) -> Triple:
    """Return a vector of shape (3,) as plain floats, without negative zeros."""
    x, y, z = (np.asarray(vector, dtype=np.float64) + 0.0).tolist()
    return (x, y, z)


def normal(plane: Plane) -> Vector:
    """Return the unit normal of a plane, pointing to the positive end of its nearest RAS+ axis."""
    raw = np.cross(plane.column_step, plane.row_step)
    unit = raw / np.linalg.norm(raw)
    nearest = int(np.argmax(np.round(np.abs(unit), 6)))
    return unit if unit[nearest] > 0 else -unit


def positions(planes: Sequence[Plane]) -> Vector:
    """Return how far each plane lies along the normal of the first, mm, shape (N,)."""
    return np.array([plane.origin for plane in planes]) @ normal(planes[0])


def spacing(plane: Plane) -> tuple[float, float]:
    """Return the distance between rows and between columns, mm."""
    return math.hypot(*plane.row_step), math.hypot(*plane.column_step)


def alike(planes: Sequence[Plane]) -> list[int]:
    """Return a number per plane, equal where rows and columns run alike and are as far apart.

    What is nearly alike goes with the most frequent of its neighbours, in whatever order the planes
    come. The time grows with the number of planes, not with that of directions.
    """
    steps = [(plane.column_step, plane.row_step) for plane in planes]
    counts = Counter(steps)
    kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
    leaders = _leaders(_tolerances_apart(np.array(kinds))) if len(kinds) > 1 else [0]
    number = dict(zip(kinds, leaders, strict=True))
    return [number[kind] for kind in steps]


def offsets(planes: Sequence[Plane]) -> Vector:
    """Return how far each plane lies from the first along its rows and columns, px, (N, 2)."""
    axes = np.array([planes[0].column_step, planes[0].row_step])
    origins = np.array([plane.origin for plane in planes])
    moved: Vector = (origins - origins[0]) @ (axes / (axes**2).sum(axis=1, keepdims=True)).T
    return moved


def same_place(thickness: float | None) -> float:
    """Return how near positions are one, mm; ``thickness`` is that of the slices, None if unknown.

    >>> same_place(5.0), same_place(None), same_place(0.002)
    (0.001, 0.001, 0.0002)
    """
    return SAME_PLACE_MM if thickness is None else min(SAME_PLACE_MM, SAME_PLACE * thickness)


def stack(planes: Sequence[Plane], thickness: float | None = None) -> Stack:
    """Return the step between planes that are parallel and in ascending order.

    The step has the median distance, so that one missing slice does not stretch the volume, and
    runs from the first to the last plane: a tilted gantry leaves its shear in the affine.

    Args:
        planes: In ascending order.
        thickness: Of a slice, mm, as the header says it.
    """
    if len(planes) < 2:
        return Stack(step=None)
    along = positions(planes)
    nearest = same_place(thickness)
    if along[-1] - along[0] < nearest:
        return Stack(step=None)
    origins = np.array([plane.origin for plane in planes])
    direction = (origins[-1] - origins[0]) / (along[-1] - along[0])  # per mm along the normal
    beside = origins - origins[0] - (along - along[0])[:, None] * direction
    sine = float(np.linalg.norm(direction - normal(planes[0])) / np.linalg.norm(direction))
    distances = np.diff(along)
    median = float(np.median(distances))
    excess = distances - median
    nearest = max(GAP * median, nearest)
    wide = excess[excess > nearest]
    told = {
        "gap": bool(np.any(np.abs(excess) > nearest)),
        "tilt": sine > TILT,
        "shifted": float(np.linalg.norm(beside, axis=1).max()) > SHIFT * min(spacing(planes[0])),
    }
    return Stack(
        step=triple(direction * median),
        missing=int(np.round(wide / median).sum()),
        missing_mm=float(wide.sum()),
        tilt=math.degrees(math.asin(min(sine, 1.0))),
        flags=tuple(flag for flag, is_so in told.items() if is_so),
    )


def resized(plane: Plane, row_scale: float, column_scale: float) -> Plane:
    """Return the plane of an image shrunk by area averaging.

    The outer corner of the first pixel stays where it is, so its centre moves.

    Args:
        plane: Plane of the image before.
        row_scale: Rows before / rows after.
        column_scale: Columns before / columns after.
    """
    column_step, row_step = np.array(plane.column_step), np.array(plane.row_step)
    moved = (column_scale - 1) / 2 * column_step + (row_scale - 1) / 2 * row_step
    return Plane(
        triple(np.array(plane.origin) + moved),
        triple(column_step * column_scale),
        triple(row_step * row_scale),
    )


def affine(plane: Plane, step: Triple) -> list[float]:
    """Return the twelve numbers of an image, see the top of this file."""
    matrix = np.column_stack([plane.column_step, plane.row_step, step, plane.origin])
    return [float(value) for value in (matrix + 0.0).ravel()]


def _tolerances_apart(steps: Vector) -> Vector:
    """Return vectors (N, 8) of which those less than 1 apart in each number are alike.

    Args:
        steps: Column and row steps, shape (N, 2, 3), mm.
    """
    lengths = np.linalg.norm(steps, axis=2)
    directions = (steps / lengths[..., None]).reshape(-1, 6)
    return np.hstack([directions / SAME_DIRECTION, np.log(lengths) / SAME_SPACING])


def _leaders(vectors: Vector) -> list[int]:
    """Return for each vector the first that is less than 1 from it in each number, or itself.

    Vectors so near to each other are near in the sum of their numbers too, and only those are
    compared.
    """
    reach = vectors.shape[1]
    leading: list[tuple[float, int]] = []  # sum and number, ascending
    found = []
    for number, total in enumerate(vectors.sum(axis=1).tolist()):
        start = bisect_left(leading, (total - reach, -1))
        near = leading[start : bisect_left(leading, (total + reach, -1), start)]
        others = np.array(sorted(other for _, other in near), dtype=np.int64)
        is_alike = np.abs(vectors[others] - vectors[number]).max(axis=1, initial=0) < 1
        found.append(int(others[is_alike.argmax()]) if is_alike.any() else number)
        if found[-1] == number:
            insort(leading, (total, number))
    return found
