"""What runs in workers: read a header, and decode series into the archive's dtype and shape."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.ingestion import geometry, intensity, resize, seam, sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.geometry import Plane
from medssl.ingestion.header import PLAIN, Header, Reading
from medssl.ingestion.workers import At, Lost, nowhere

_NOTHING = np.empty((0, 1, 0, 0), dtype=np.uint8)
_BYTES_PER_PIXEL = 24  # as read, as a double, as it waits, and as it is stored


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Copy:
    """An image that claims to be another one, or to lie where that one lies."""

    path: Path
    header: Header
    number: int  # frame inside the file
    otherwise: Code  # why it is rejected if its pixels differ


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Source:
    """One image to decode."""

    path: Path
    header: Header
    number: int  # frame inside the file
    copies: tuple[Copy, ...] = ()

    @property
    def candidates(self) -> tuple[Copy, ...]:
        """The image itself, then its copies."""
        itself = Copy(
            path=self.path,
            header=self.header,
            number=self.number,
            otherwise=Code.CONFLICTING_COPY,
        )
        return (itself, *self.copies)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Job:
    """Series that are decoded together; everything a worker needs to know."""

    volumes: tuple[tuple[Source, ...], ...]  # one per series
    dtype: str
    side: int | None  # of the stored square, px; None: native shapes
    largest: int | None  # longest side of a stored image, px; None: never shrunk
    channels: int = 1  # of the archive: a gray image is repeated
    how: Reading = PLAIN
    lost: tuple[tuple[int, Code], ...] = ()  # files that ended a process: not opened again

    @property
    def sources(self) -> tuple[Source, ...]:
        """All images, in stored order."""
        return tuple(source for volume in self.volumes for source in volume)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file once, in the order they are first opened."""
        opened = (copy.path for source in self.sources for copy in source.candidates)
        return tuple(dict.fromkeys(opened))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a stored image, padding included."""
        header = self.volumes[0][0].header
        rows, columns = (self.side, self.side) if self.side else (header.rows, header.columns)
        return self.channels, rows, columns


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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Outcome:
    """What became of a job, besides pixels."""

    images: tuple[Image, ...]  # N
    stacks: tuple[geometry.Stack | None, ...]  # one per series; None where there is no volume
    rejected: tuple[tuple[int, Code], ...]  # which of the job's paths


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Decoded:
    """Decoded series."""

    pixels: NDArray[Any]  # (N, C, H, W)
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Ready:
    """An image that is decoded and shrunk but not yet stored."""

    source: int
    file: int
    values: NDArray[Any]  # (rows, columns) or (rows, columns, 3)
    plane: Plane | None
    spacing: tuple[float, float] | None
    flags: tuple[str, ...]


def header(how: Reading, path: Path, at: At = nowhere) -> Header | Code:
    """Return the header of an image file, or the code of what is none."""
    del at
    return sniff.read_header(path, how)


def claims(job: Job) -> int:
    """Return the bytes a job may need for its pixels: those it keeps and those of one file."""
    kept = sum(_n_pixels(source.header) for source in job.sources)
    in_a_file = max(_n_pixels(s.header) * len(s.header.frames) for s in job.sources)
    return _BYTES_PER_PIXEL * (kept + in_a_file)


def without(job: Job, lost: Lost) -> Job:
    """Return a job that does not open the file again that a process was lost at."""
    return replace(job, lost=(*job.lost, (lost.part, lost.code)))


def decode(job: Job, at: At = nowhere) -> Decoded:
    """Return the images of some series; files that cannot be decoded are listed with a code."""
    try:
        return _decode(job, at)
    except MemoryError:  # not while a file was read but while the series was put together
        rejected = tuple((part, Code.OUT_OF_MEMORY) for part in range(len(job.paths)))
        stacks = (None,) * len(job.volumes)
        outcome = Outcome(images=(), stacks=stacks, rejected=rejected)
        return Decoded(pixels=_NOTHING, outcome=outcome)


def _decode(job: Job, at: At) -> Decoded:
    files = _Files(job, at)
    rejected: dict[int, Code] = {}
    parts: list[NDArray[Any]] = []
    images: list[Image] = []
    stacks: list[geometry.Stack | None] = []
    policies: dict[frozenset[int], intensity.Policy] = {}  # one per file, not per image of it
    first = 0
    for volume in job.volumes:
        headers = [source.header for source in volume]
        key = frozenset(map(id, headers))
        how = policies[key] if key in policies else intensity.policy(headers)
        policies[key] = how
        ready = []
        for number, source in enumerate(volume, start=first):
            found = _first_readable(source, files, rejected)
            if found is not None:
                ready.append(_prepare(job, number, source, found, how))
        first += len(volume)
        stack, ours = _stored(job, volume[0].header, ready, how, parts)
        stacks.append(stack)
        images += ours
    outcome = Outcome(
        images=tuple(images), stacks=tuple(stacks), rejected=tuple(sorted(rejected.items()))
    )
    return Decoded(pixels=np.stack(parts) if parts else _NOTHING, outcome=outcome)


class _Files:
    """The pixels of one file at a time: frames of a file follow one another."""

    def __init__(self, job: Job, at: At) -> None:
        self._how = job.how
        self._at = at
        self._number = {path: number for number, path in enumerate(job.paths)}
        self._lost = dict(job.lost)
        self._opened: tuple[int, NDArray[Any] | Code] | None = None

    def read(self, copy: Copy) -> tuple[int, NDArray[Any] | Code]:
        """Return which file it is, and the pixels of the image or why there are none."""
        number = self._number[copy.path]
        if number in self._lost:
            return number, self._lost[number]
        if self._opened is None or self._opened[0] != number:
            self._opened = None  # two files in memory would be one too many
            self._at(number)
            self._opened = number, _read(copy.path, copy.header, self._how)
        pixels = self._opened[1]
        if isinstance(pixels, Code):
            return number, pixels
        # A copy may have fewer frames than the image it claims to be.
        return number, pixels[copy.number] if copy.number < len(pixels) else copy.otherwise


def _first_readable(
    source: Source, files: _Files, rejected: dict[int, Code]
) -> tuple[int, NDArray[Any]] | None:
    """Return the first of an image's copies that can be read: its file and pixels."""
    found: tuple[int, NDArray[Any]] | None = None
    for copy in source.candidates:
        number, pixels = files.read(copy)
        if isinstance(pixels, Code):
            rejected[number] = pixels
        elif not source.header.looks_like(
            copy.header, elsewhere=copy.otherwise is Code.SAME_POSITION
        ):
            rejected[number] = copy.otherwise
        elif found is None:
            found = number, pixels
        elif not np.array_equal(found[1], pixels):
            rejected[number] = copy.otherwise
        else:
            rejected.setdefault(number, Code.SKIPPED_DUPLICATE)
    return found


def _read(path: Path, header: Header, how: Reading) -> NDArray[Any] | Code:
    colours = () if header.channels == 1 else (header.channels,)
    shape = (len(header.frames), header.rows, header.columns, *colours)

    def pixels() -> NDArray[Any]:
        found = sniff.reader(header.reader).read_pixels(path, header, how)
        if found.shape != shape:  # the file has changed since its header was read
            raise RejectedFile(Code.DECODE_FAILED)
        return found

    return seam.attempt(pixels, Code.DECODE_FAILED)


def _prepare(
    job: Job, number: int, source: Source, found: tuple[int, NDArray[Any]], how: intensity.Policy
) -> _Ready:
    file, pixels = found
    header, frame = source.header, source.header.frames[source.number]
    values, flags = intensity.prepare(pixels, header, frame, how)
    rows, columns = resize.fit(header.rows, header.columns, job.largest)
    row_scale, column_scale = header.rows / rows, header.columns / columns
    spacing, plane = header.spacing, frame.plane
    return _Ready(
        source=number,
        file=file,
        values=_compact(resize.shrink(values, rows, columns)),
        plane=None if plane is None else geometry.resized(plane, row_scale, column_scale),
        spacing=None if spacing is None else (spacing[0] * row_scale, spacing[1] * column_scale),
        flags=flags,
    )


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    """Return doubles as single precision, which holds 24 bits: a series waits in memory."""
    return values.astype(np.float32) if values.dtype == np.float64 else values


def _stored(
    job: Job, header: Header, ready: list[_Ready], how: intensity.Policy, parts: list[NDArray[Any]]
) -> tuple[geometry.Stack | None, list[Image]]:
    """Add the pixels of one series to ``parts``; return its stack and its images."""
    if not ready:
        return None, []
    stored = intensity.encode([image.values for image in ready], header, how)
    planes = [image.plane for image in ready if image.plane is not None]
    stack = geometry.stack(planes, header.thickness) if len(planes) == len(ready) else None
    images = [
        _image(one, pixels, stack, header.thickness, stored)
        for one, pixels in zip(ready, stored.images, strict=True)
    ]
    channels, rows, columns = job.shape
    around = intensity.fill(how.dtype)
    for image in stored.images:
        padded = resize.pad(image, rows, columns, around)
        layers = padded[None] if padded.ndim == 2 else padded.transpose(2, 0, 1)
        parts.append(np.broadcast_to(layers, (channels, *layers.shape[1:])))
    return stack, images


def _image(
    one: _Ready,
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
    )


def _n_pixels(header: Header) -> int:
    return header.rows * header.columns * header.channels


def _digest(pixels: NDArray[Any]) -> str:
    """Return the SHA-256 of an image without its padding, so that equal images have equal ones."""
    head = f"{pixels.dtype.str} {' '.join(map(str, pixels.shape))}\0".encode()
    return hashlib.sha256(head + np.ascontiguousarray(pixels).tobytes()).hexdigest()
