"""Decoded series as the archive holds them: shrunk, encoded, padded, each image with its place."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.ingestion import geometry, intensity, resize
from medssl.ingestion.codes import Code
from medssl.ingestion.geometry import Plane
from medssl.ingestion.header import Header

NOTHING = np.empty((0, 1, 0, 0), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Voxels that volumes are brought to."""

    spacing: geometry.Triple | None = None  # along columns, rows and slices, mm; None: as it is
    orientation: str | None = None  # where these point, such as RAS; None: where they do


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is known of a decoded image besides its pixels."""

    source: int  # which of the job's sources
    file: int  # which of the job's paths: the first of its copies that could be decoded
    rows: int
    columns: int
    position_mm: float | None
    spacing: tuple[float | None, float | None, float | None] | None
    affine: list[float] | None
    slope: float
    intercept: float
    sha256: str
    flags: tuple[str, ...]
    nearest: tuple[tuple[int, int], ...] | None = None  # resampled from sources, of which these
    # lie nearest to it, each with its file; None: not resampled
    is_alone: bool = False  # a series by itself, as its own lacks slices

    @property
    def origins(self) -> tuple[tuple[int, int], ...]:
        """Sources that count as this image, each with its file."""
        return ((self.source, self.file),) if self.nearest is None else self.nearest


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Outcome:
    """What became of a job, besides pixels."""

    images: tuple[Image, ...]  # N
    stacks: tuple[geometry.Stack | None, ...]  # one per series; None where there is no volume
    rejected: tuple[tuple[int, Code], ...]  # which of the job's paths
    grid: Grid | None = None  # of the images that are resampled


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Decoded:
    """Decoded series."""

    pixels: NDArray[Any]  # (N, C, H, W)
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ready:
    """An image that is decoded but not yet stored."""

    source: int
    file: int
    values: NDArray[Any]  # (rows, columns) or (rows, columns, 3)
    plane: Plane | None
    spacing: tuple[float, float] | None
    flags: tuple[str, ...]
    nearest: tuple[tuple[int, int], ...] | None = None  # see `Image`
    is_alone: bool = False  # see `Image`


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Volume:
    """A series that is decoded but not yet stored."""

    header: Header  # of its first file
    how: intensity.Policy
    images: Sequence[Ready]
    is_even: bool  # by its headers, whichever of its images can be read
    splits_gaps: bool = False  # its slices stand alone where some are missing

    @property
    def stack(self) -> geometry.Stack | None:
        """How its slices follow each other; None where not all of them have a place."""
        planes = [image.plane for image in self.images if image.plane is not None]
        is_placed = bool(planes) and len(planes) == len(self.images)
        return geometry.stack(planes, self.header.thickness) if is_placed else None

    @property
    def can_be_resampled(self) -> bool:
        """Whether its slices are evenly spaced."""
        return self.is_even and is_even(self.stack)

    @property
    def slices(self) -> Sequence["Volume"]:
        """Its slices one by one, as they stand alone where some are missing."""
        alone = [replace(one, is_alone=True, flags=(*one.flags, "gap")) for one in self.images]
        return [replace(self, images=[one]) for one in alone]


def is_even(stack: geometry.Stack | None) -> bool:
    """Return whether slices follow one another on a line, all equally far apart."""
    return stack is not None and stack.step is not None and not {"gap", "shifted"} & {*stack.flags}


def unturned(volume: Volume, side: int | None) -> Volume:
    """Return a series that is not resampled where others are.

    Args:
        volume: With native shapes.
        side: Longest side of a stored image, px; None: never shrunk.
    """
    images = [shrunk(image, side) for image in volume.images]
    flagged = [replace(image, flags=(*image.flags, "not_resampled")) for image in images]
    return replace(volume, images=flagged)


def stored(
    volumes: Iterable[Volume],
    rejected: Mapping[int, Code],
    shape: tuple[int, int, int],
    grid: Grid | None,
) -> Decoded:
    """Return series as the archive holds them.

    Args:
        volumes: Their images, shrunk; taken one after another.
        rejected: Which of the job's paths are left out; looked at when all volumes are taken.
        shape: Channels, rows and columns of a stored image, padding included.
        grid: Of those that are resampled.
    """
    parts: list[NDArray[Any]] = []
    images: list[Image] = []
    stacks: list[geometry.Stack | None] = []
    for volume in volumes:
        stack = volume.stack
        if volume.splits_gaps and stack is not None and stack.has_gap:
            stacks.append(None)
            for one in volume.slices:
                images += _store(one, one.stack, shape, parts)
            continue
        stacks.append(stack)
        images += _store(volume, stack, shape, parts)
    outcome = Outcome(
        images=tuple(images),
        stacks=tuple(stacks),
        rejected=tuple(sorted(rejected.items())),
        grid=grid,
    )
    return Decoded(pixels=np.stack(parts) if parts else NOTHING, outcome=outcome)


def shrunk(image: Ready, side: int | None) -> Ready:
    """Return an image no longer than ``side`` px; None: as it is."""
    height, width = image.values.shape[:2]
    rows, columns = resize.fit(height, width, side)
    row_scale, column_scale = height / rows, width / columns
    plane, spacing = image.plane, image.spacing
    return replace(
        image,
        values=_compact(resize.shrink(image.values, rows, columns)),
        plane=None if plane is None else geometry.resized(plane, row_scale, column_scale),
        spacing=None if spacing is None else (spacing[0] * row_scale, spacing[1] * column_scale),
    )


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    """Return doubles as single precision, which holds 24 bits: a series waits in memory."""
    return values.astype(np.float32) if values.dtype == np.float64 else values


def _store(
    volume: Volume,
    stack: geometry.Stack | None,
    shape: tuple[int, int, int],
    parts: list[NDArray[Any]],
) -> list[Image]:
    """Add the pixels of one series to ``parts``; return its images."""
    if not volume.images:
        return []
    how, thickness = volume.how, volume.header.thickness
    encoded = intensity.encode([image.values for image in volume.images], volume.header, how)
    channels, rows, columns = shape
    around = intensity.fill(how.dtype)
    images = []
    for one, pixels in zip(volume.images, encoded.images, strict=True):
        images.append(_image(one, pixels, stack, thickness, encoded))
        padded = resize.pad(pixels, rows, columns, around)
        layers = padded[None] if padded.ndim == 2 else padded.transpose(2, 0, 1)
        parts.append(np.broadcast_to(layers, (channels, *layers.shape[1:])))
    return images


def _image(
    one: Ready,
    pixels: NDArray[Any],
    stack: geometry.Stack | None,
    thickness: float | None,
    stored: intensity.Stored,
) -> Image:
    flags = (*one.flags, *stored.flags, *(stack.flags if stack else ()))
    spacing: tuple[float | None, float | None, float | None] | None = None
    affine = position = None
    if one.spacing is not None:
        spacing = (*one.spacing, thickness)
    if one.plane is not None and stack is not None:
        step = stack.step
        if step is None:
            step = geometry.triple(geometry.normal(one.plane) * (thickness or 1.0))
            flags = flags if thickness else (*flags, "slice_distance_unknown")
        affine = geometry.affine(one.plane, step)
        position = float(geometry.positions([one.plane])[0])
        spacing = (*geometry.spacing(one.plane), float(np.linalg.norm(step)))
    return Image(
        source=one.source,
        file=one.file,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        position_mm=position,
        spacing=spacing,
        affine=affine,
        slope=stored.slope,
        intercept=stored.intercept,
        sha256=_digest(pixels),
        flags=flags,
        nearest=one.nearest,
        is_alone=one.is_alone,
    )


def _digest(pixels: NDArray[Any]) -> str:
    """Return the SHA-256 of an image without its padding, so that equal images have equal ones."""
    head = f"{pixels.dtype.str} {' '.join(map(str, pixels.shape))}\0".encode()
    return hashlib.sha256(head + np.ascontiguousarray(pixels).tobytes()).hexdigest()
