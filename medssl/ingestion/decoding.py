"""Decode one series: from files to an array in the archive's dtype and shape. Runs in workers."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.ingestion import geometry, intensity, resize, seam, sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.geometry import Plane
from medssl.ingestion.header import Header

_NOTHING = np.empty((0, 1, 0, 0), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Source:
    """One image to decode."""

    path: Path
    header: Header
    number: int  # frame inside the file
    copies: tuple[tuple[Path, Header], ...] = ()  # files that claim to be the same instance


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Job:
    """One series to decode; everything a worker needs to know."""

    sources: tuple[Source, ...]
    dtype: str
    side: int | None  # of the stored square, px; None: native shapes
    largest: int | None  # longest side of a stored image, px; None: never shrunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is known of a decoded image besides its pixels."""

    source: int  # which of the job's sources
    path: Path  # the file it came from: the first of its copies that could be decoded
    rows: int
    columns: int
    position_mm: float | None
    spacing: tuple[float | None, float | None, float | None] | None
    affine: list[float] | None
    sha256: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Decoded:
    """A decoded series."""

    pixels: NDArray[Any]  # (N, 1, H, W)
    images: tuple[Image, ...]  # N
    slope: float
    intercept: float
    rejected: tuple[tuple[Path, Code], ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Ready:
    """An image that is decoded and shrunk but not yet stored."""

    source: int
    path: Path
    values: NDArray[Any]
    plane: Plane | None
    spacing: tuple[float, float] | None
    flags: tuple[str, ...]


def decode(job: Job) -> Decoded:
    """Return the images of a series; files that cannot be decoded are listed with a code."""
    how = intensity.policy([source.header for source in job.sources])
    ready: list[_Ready] = []
    rejected: dict[Path, Code] = {}
    opened: tuple[Path, NDArray[Any] | Code] | None = None
    for number, source in enumerate(job.sources):
        kept: NDArray[Any] | None = None
        for path, header in ((source.path, source.header), *source.copies):
            if opened is None or opened[0] != path:
                opened = (path, _read(path, header))
            pixels = opened[1]
            if isinstance(pixels, Code):
                rejected[path] = pixels
            elif not source.header.looks_like(header):
                rejected[path] = Code.CONFLICTING_COPY
            elif kept is None:
                kept = pixels[source.number]
                ready.append(_prepare(job, number, path, kept, how))
            else:
                same = np.array_equal(kept, pixels[source.number])
                rejected[path] = Code.SKIPPED_DUPLICATE if same else Code.CONFLICTING_COPY
    return _stored(job, ready, how, rejected)


def _read(path: Path, header: Header) -> NDArray[Any] | Code:
    shape = (len(header.frames), header.rows, header.columns)

    def pixels() -> NDArray[Any]:
        found = sniff.reader(header.reader).read_pixels(path, header)
        if found.shape != shape:  # the file has changed since its header was read
            raise RejectedFile(Code.DECODE_FAILED)
        return found

    return seam.attempt(pixels, Code.DECODE_FAILED)


def _prepare(
    job: Job, number: int, path: Path, pixels: NDArray[Any], how: intensity.Policy
) -> _Ready:
    source = job.sources[number]
    header, frame = source.header, source.header.frames[source.number]
    values, flags = intensity.prepare(pixels, header, frame, how)
    rows, columns = resize.fit(header.rows, header.columns, job.largest)
    row_scale, column_scale = header.rows / rows, header.columns / columns
    spacing, plane = header.spacing, frame.plane
    return _Ready(
        source=number,
        path=path,
        values=_compact(resize.shrink(values, rows, columns)),
        plane=None if plane is None else geometry.resized(plane, row_scale, column_scale),
        spacing=None if spacing is None else (spacing[0] * row_scale, spacing[1] * column_scale),
        flags=flags,
    )


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    """Return doubles as single precision, which holds 24 bits: a series waits in memory."""
    return values.astype(np.float32) if values.dtype == np.float64 else values


def _stored(
    job: Job, ready: list[_Ready], how: intensity.Policy, rejected: dict[Path, Code]
) -> Decoded:
    failed = tuple(rejected.items())
    if not ready:
        return Decoded(pixels=_NOTHING, images=(), slope=1.0, intercept=0.0, rejected=failed)
    header = job.sources[0].header
    stored = intensity.encode([image.values for image in ready], header, how)
    planes = [image.plane for image in ready if image.plane is not None]
    stack = geometry.stack(planes, header.thickness) if len(planes) == len(ready) else None
    flags = (*stored.flags, *(stack.flags if stack else ()))
    images = tuple(
        _image(one, pixels, stack, header.thickness, flags)
        for one, pixels in zip(ready, stored.images, strict=True)
    )
    rows, columns = (job.side, job.side) if job.side else stored.images[0].shape
    around = intensity.fill(how.dtype)
    padded = [resize.pad(image, rows, columns, around)[None] for image in stored.images]
    return Decoded(
        pixels=np.stack(padded),
        images=images,
        slope=stored.slope,
        intercept=stored.intercept,
        rejected=failed,
    )


def _image(
    one: _Ready,
    pixels: NDArray[Any],
    stack: geometry.Stack | None,
    thickness: float | None,
    flags: tuple[str, ...],
) -> Image:
    flags = (*one.flags, *flags)
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
        path=one.path,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        position_mm=position,
        spacing=spacing,
        affine=affine,
        sha256=_digest(pixels),
        flags=flags,
    )


def _digest(pixels: NDArray[Any]) -> str:
    """Return the SHA-256 of an image without its padding, so that equal images have equal ones."""
    head = f"{pixels.dtype.str} {pixels.shape[0]} {pixels.shape[1]}\0".encode()
    return hashlib.sha256(head + np.ascontiguousarray(pixels).tobytes()).hexdigest()
