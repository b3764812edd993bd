"""Where images lie in the patient, in RAS+ mm: right, anterior and superior are positive.

An affine is twelve numbers, the rows of a 3 x 4 matrix A. A @ (column, row, slice, 1) is the centre
of a stored pixel in RAS+ mm. Each image carries its own: slice 0 is that image, and the third
column of A is the step to the next slice, so that any run of images of a series is a volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]
Triple = tuple[float, float, float]

SAME_DIRECTION = 1e-3  # largest difference between unit vectors that count as parallel
SAME_PLACE_MM = 1e-3  # positions closer than this are one position
SAME_PLACE = 0.1  # of the distance between slices, where these are as thin as in microscopy
GAP = 0.01  # a distance that differs from the median by this share is a gap
TILT = 5e-3  # sine of the angle between the stacking direction and the normal: about 0.3 degrees
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
    flags: tuple[str, ...] = ()  # gap, tilt


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
    return float(np.linalg.norm(plane.row_step)), float(np.linalg.norm(plane.column_step))


def is_parallel(first: Plane, second: Plane) -> bool:
    """Return whether rows and columns of two planes run in the same directions."""
    return all(
        float(np.abs(_unit(a) - _unit(b)).max()) < SAME_DIRECTION
        for a, b in (
            (first.column_step, second.column_step),
            (first.row_step, second.row_step),
        )
    )


def same_place(thickness: float | None) -> float:
    """Return how near positions are one, mm; ``thickness`` is that of the slices, None if unknown.

    >>> same_place(5.0), same_place(None), same_place(0.002)
    (0.001, 0.001, 0.0002)
    """
    return SAME_PLACE_MM if thickness is None else min(SAME_PLACE_MM, SAME_PLACE * thickness)


def stack(planes: Sequence[Plane], thickness: float | None = None) -> Stack:
    """Return the step between planes that are parallel and in ascending order.

    The step has the median distance, so that one missing slice does not stretch the volume.

    Args:
        planes: In ascending order.
        thickness: Of a slice, mm, as the header says it.
    """
    along = positions(planes)
    nearest = same_place(thickness)
    if len(planes) < 2 or along[-1] - along[0] < nearest:
        return Stack(step=None)
    origins = np.array([plane.origin for plane in planes])
    distances = np.diff(along)
    median = float(np.median(distances))
    direction = (origins[-1] - origins[0]) / (along[-1] - along[0])  # per mm along the normal
    flags = []
    if np.any(np.abs(distances - median) > max(GAP * median, nearest)):
        flags.append("gap")
    shear = direction - normal(planes[0])
    if np.linalg.norm(shear) / np.linalg.norm(direction) > TILT:
        flags.append("tilt")
    return Stack(step=triple(direction * median), flags=tuple(flags))


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


def _unit(vector: Triple) -> Vector:
    unit: Vector = np.array(vector) / np.linalg.norm(vector)
    return unit
