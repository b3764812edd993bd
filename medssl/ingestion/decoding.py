"""What runs in workers: read a header, and decode series into the archive's dtype and shape."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medssl.ingestion import geometry, intensity, seam, sniff, storing
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import PLAIN, Header, Reading
from medssl.ingestion.storing import NOTHING, Decoded, Grid, Outcome, Ready, Volume
from medssl.ingestion.workers import At, Lost, nowhere

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
    grid: Grid | None = None  # volumes are not stored as they are but `resampled`
    splits_gaps: bool = False  # slices of a series that lacks some stand alone
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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Opened:
    """Series that have to be resampled before they are stored."""

    volumes: Sequence[Volume]
    rejected: Mapping[int, Code]


def header(how: Reading, path: Path, at: At = nowhere) -> Header | Code:
    """Return the header of an image file, or the code of what is none."""
    del at
    return sniff.read_header(path, how)


def claims(job: Job) -> int:
    """Return the bytes a job may need for its pixels: those it keeps and those of one file."""
    kept = sum(_n_pixels(source.header) for source in job.sources)
    in_a_file = max(_n_pixels(s.header) * len(s.header.frames) for s in job.sources)
    return _BYTES_PER_PIXEL * (kept + 2 * in_a_file)


def without(job: Job, lost: Lost) -> Job:
    """Return a job that does not open the file again that a process was lost at."""
    return replace(job, lost=(*job.lost, (lost.part, lost.code)))


def decode(job: Job, at: At = nowhere) -> Decoded | Opened:
    """Return the images of some series; files that cannot be decoded are listed with a code.

    What is to be resampled comes with native shapes, for `resampled.finish`.
    """
    try:
        return _decode(job, at)
    except MemoryError:  # not while a file was read but while the series was put together
        rejected = tuple((part, Code.OUT_OF_MEMORY) for part in range(len(job.paths)))
        stacks = (None,) * len(job.volumes)
        outcome = Outcome(images=(), stacks=stacks, rejected=rejected)
        return Decoded(pixels=NOTHING, outcome=outcome)


def _decode(job: Job, at: At) -> Decoded | Opened:
    rejected: dict[int, Code] = {}
    volumes = _volumes(job, at, rejected)
    if job.grid is not None:
        opened = list(volumes)
        if any(volume.can_be_resampled for volume in opened):
            return Opened(volumes=opened, rejected=rejected)
        volumes = (storing.unturned(volume, job.largest) for volume in opened)
    return storing.stored(volumes, rejected, job.shape, job.grid)


def _volumes(job: Job, at: At, rejected: dict[int, Code]) -> Iterator[Volume]:
    """Yield every series with the images that can be read, and add to ``rejected``."""
    files = _Files(job, at)
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
                image = _prepare(number, source, found, how)
                ready.append(storing.shrunk(image, None if job.grid else job.largest))
        first += len(volume)
        is_even = job.grid is not None and _is_even(volume)
        yield Volume(
            header=headers[0],
            how=how,
            images=ready,
            is_even=is_even,
            splits_gaps=job.splits_gaps,
        )


def _is_even(volume: Sequence[Source]) -> bool:
    """Return whether a series is to be resampled, by its headers."""
    planes = [source.header.frames[source.number].plane for source in volume]
    placed = [plane for plane in planes if plane is not None]
    is_placed = len(placed) == len(planes)
    return is_placed and storing.is_even(geometry.stack(placed, volume[0].header.thickness))


class _Files:
    """The pixels of one file at a time: frames of a file follow one another.

    Of a copy only digests are kept, so that each file is decoded once, however many frames it has.
    """

    def __init__(self, job: Job, at: At) -> None:
        self._how = job.how
        self._at = at
        self._number = {path: number for number, path in enumerate(job.paths)}
        self._failed = dict(job.lost)
        self._opened: tuple[int, NDArray[Any]] | None = None
        self._digests: dict[int, list[bytes]] = {}

    def number(self, copy: Copy) -> int:
        """Return which file an image is in."""
        return self._number[copy.path]

    def pixels(self, copy: Copy) -> tuple[int, NDArray[Any] | Code]:
        """Return which file it is, and the pixels of the image or why there are none."""
        number = self.number(copy)
        if self._opened is None or self._opened[0] != number:
            self._opened = None
            found = self._decoded(copy, number)
            if isinstance(found, Code):
                return number, found
            self._opened = number, found
        pixels = self._opened[1]
        # A copy may have fewer frames than the image it claims to be.
        return number, pixels[copy.number] if copy.number < len(pixels) else copy.otherwise

    def is_same(self, copy: Copy, pixels: NDArray[Any]) -> tuple[int, bool | Code]:
        """Return which file it is, and whether the image has these pixels or why nobody knows."""
        number = self.number(copy)
        if number not in self._digests:
            found = self._decoded(copy, number)
            if isinstance(found, Code):
                return number, found
            self._digests[number] = [_digest(image) for image in found]
        digests = self._digests[number]
        return number, copy.number < len(digests) and digests[copy.number] == _digest(pixels)

    def _decoded(self, copy: Copy, number: int) -> NDArray[Any] | Code:
        if number in self._failed:
            return self._failed[number]
        self._at(number)
        found = _read(copy.path, copy.header, self._how)
        if isinstance(found, Code):
            self._failed[number] = found
        return found


def _digest(pixels: NDArray[Any]) -> bytes:
    return hashlib.sha256(f"{pixels.dtype}".encode() + pixels.tobytes()).digest()


def _first_readable(
    source: Source, files: _Files, rejected: dict[int, Code]
) -> tuple[int, NDArray[Any]] | None:
    """Return the first of an image's copies that can be read: its file and pixels."""
    found: tuple[int, NDArray[Any]] | None = None
    for copy in source.candidates:
        is_rival = copy.otherwise is Code.SAME_POSITION
        if not source.header.looks_like(copy.header, elsewhere=is_rival):
            rejected[files.number(copy)] = copy.otherwise
        elif found is None:
            number, pixels = files.pixels(copy)
            if isinstance(pixels, Code):
                rejected[number] = pixels
            else:
                found = number, pixels
        else:
            number, same = files.is_same(copy, found[1])
            if same is True:
                rejected.setdefault(number, Code.SKIPPED_DUPLICATE)
            else:
                rejected[number] = copy.otherwise if same is False else same
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
    number: int, source: Source, found: tuple[int, NDArray[Any]], how: intensity.Policy
) -> Ready:
    file, pixels = found
    header, frame = source.header, source.header.frames[source.number]
    values, flags = intensity.prepare(pixels, header, frame, how)
    return Ready(
        source=number,
        file=file,
        values=values,
        plane=frame.plane,
        spacing=header.spacing,
        flags=flags,
    )


def _n_pixels(header: Header) -> int:
    return header.rows * header.columns * header.channels
