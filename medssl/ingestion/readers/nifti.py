"""NIfTI-1 and NIfTI-2 volumes, plain or gzipped.

Column and row of an image are the first and second axis of the file, slices run along the third.
Lengths in metres and microns become mm; a file that does not say its unit has mm. What the values
mean no NIfTI file says: `assignment` knows where a table does. The text fields of the header and
its extensions are never read: they can hold a name.

Several volumes are read as the user says: the first, their mean, or each on its own. A file of more
than one further axis is none of these.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medssl.ingestion import claims, colour, streams
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.geometry import Plane, triple
from medssl.ingestion.header import MAX_PIXELS, PLAIN, Facts, Frame, Header, Reading

_GZIP = b"\x1f\x8b"
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # code of the unit of length; 2 is mm, 0 is not told
_FLAT = 1e-6  # share of the volume of a box with these edges, below which axes are in one plane
_SIZES = {348: (344, b"n+1\0", b"ni1\0"), 540: (4, b"n+2\0", b"ni2\0")}  # magic: where and what
_BLOCK = 2**20  # bytes unpacked at a time


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a file holds, by its header."""

    header: Any  # of nibabel
    columns: int
    rows: int
    slices: int
    volumes: int
    voxel: np.dtype[Any]  # of one channel
    channels: int

    @property
    def offset(self) -> int:
        """Where the pixels begin; some files leave it out."""
        return max(int(self.header.get_data_offset()), int(self.header.single_vox_offset))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one volume as it lies in the file, last axis fastest."""
        shape = (self.slices, self.rows, self.columns)
        return shape if self.channels == 1 else (*shape, self.channels)

    @property
    def volume_bytes(self) -> int:
        """Size of one volume."""
        return prod(self.shape) * self.voxel.itemsize


def recognises(head: bytes) -> bool:
    """See `_contract.py`."""
    plain = _unzipped(head) if head.startswith(_GZIP) else head
    return _magic(plain) is not None


def read_header(path: Path, how: Reading = PLAIN) -> Header:
    """See `_contract.py`."""
    with streams.opened(path) as packed, _unpacked(packed) as stream:
        layout = _layout(stream)
        volumes = _volumes(layout, how)
        _check_claim(layout, packed, is_packed=stream is not packed)
    affine = _affine(layout.header)
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    is_mean = how.four_d == "mean" and layout.volumes > 1
    return Header(
        reader="nifti",
        rows=layout.rows,
        columns=layout.columns,
        frames=tuple(_frames(layout, affine, volumes)),
        channels=colour.CHANNELS if how.colour == "keep" and layout.channels > 1 else 1,
        bits=layout.voxel.itemsize * 8 if layout.voxel.kind in "iu" and not is_mean else None,
        signed=layout.voxel.kind == "i",
        spacing=(float(spacing[1]), float(spacing[0])),
        thickness=float(spacing[2]),
        facts=Facts(transfer_syntax="nifti"),
    )


def read_pixels(path: Path, header: Header, how: Reading = PLAIN) -> NDArray[Any]:
    """See `_contract.py`."""
    del header
    with streams.opened(path) as packed, _unpacked(packed) as stream:
        layout = _layout(stream)
        volumes = _volumes(layout, how)
        try:
            _skip(stream, layout.offset)
            if how.four_d == "mean" and layout.volumes > 1:
                return _mean(stream, layout)
            images = _read(stream, layout, volumes)
            if volumes == layout.volumes:
                stream.read(1)  # reaching the end is what checks the checksum
        except EOFError as error:
            raise RejectedFile(Code.TRUNCATED) from error
    if layout.channels == 1:
        return images
    return colour.settled(images[..., : colour.CHANNELS], how.colour)


@contextmanager
def _unpacked(packed: io.BufferedIOBase) -> Iterator[io.BufferedIOBase]:
    """Yield the content of a file that may be gzipped."""
    head = packed.read(len(_GZIP))
    packed.seek(0)
    if head != _GZIP:
        yield packed
        return
    with gzip.GzipFile(fileobj=cast("IO[bytes]", packed)) as stream:
        yield cast("io.BufferedIOBase", stream)


def _unzipped(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, max(_SIZES))
    except zlib.error:
        return b""


def _magic(head: bytes) -> bytes | None:
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        size = int.from_bytes(head[:4], order)
        if size in _SIZES:
            start, *known = _SIZES[size]
            magic = head[start : start + 4]
            return magic if magic in known else None
    return None


def _layout(stream: io.BufferedIOBase) -> _Layout:
    """Read what a file holds; the stream is behind the header afterwards."""
    head = stream.read(min(_SIZES))
    magic = _magic(head)
    if magic is None or magic.startswith(b"ni"):  # header and pixels in two files
        raise RejectedFile(Code.UNSUPPORTED_FORMAT)
    kind = nib.Nifti1Header
    if magic == b"n+2\0":
        head += stream.read(max(_SIZES) - min(_SIZES))
        kind = nib.Nifti2Header
    header = kind(head)
    columns, rows, slices, *further = (*(int(n) for n in header.get_data_shape()), 1, 1, 1)
    if min(columns, rows, slices, *further) < 1:
        raise RejectedFile(Code.BAD_HEADER)
    if sum(length > 1 for length in further) > 1:
        raise RejectedFile(Code.FOUR_D)
    dtype = header.get_data_dtype()
    voxel = dtype[0] if dtype.names else dtype  # red, green and blue
    if voxel.kind not in "iuf":
        raise RejectedFile(Code.UNSUPPORTED_PIXELS)
    return _Layout(
        header, columns, rows, slices, prod(further), voxel, channels=len(dtype.names or (1,))
    )


def _volumes(layout: _Layout, how: Reading) -> int:
    """Return how many volumes become images."""
    if layout.volumes == 1:
        return 1
    is_colour = layout.channels > 1
    if how.four_d == "reject" or (how.four_d == "mean" and is_colour):
        raise RejectedFile(Code.FOUR_D)
    return {"first": 1, "mean": 1, "split": layout.volumes}[how.four_d]


def _check_claim(layout: _Layout, packed: io.BufferedIOBase, *, is_packed: bool) -> None:
    """Reject a header that claims more than the file has, before memory is taken for it."""
    if prod(layout.shape) * layout.volumes > MAX_PIXELS:
        raise RejectedFile(Code.TOO_LARGE)
    claimed = layout.offset + layout.volume_bytes * layout.volumes
    held = packed.seek(0, io.SEEK_END)
    if is_packed:
        claims.check(claimed, held)
    if claimed > held * (claims.DEFLATE_RATIO if is_packed else 1):
        raise RejectedFile(Code.TRUNCATED)


def _skip(stream: io.BufferedIOBase, offset: int) -> None:
    """Go to where the pixels begin, past extensions, which are not kept."""
    while (left := offset - stream.tell()) > 0:
        if not stream.read(min(left, _BLOCK)):
            raise EOFError


def _read(stream: io.BufferedIOBase, layout: _Layout, volumes: int) -> NDArray[Any]:
    """Return that many volumes, shape (volumes * slices, rows, columns), as far as they exist."""
    images = np.empty((volumes * layout.slices, *layout.shape[1:]), dtype=layout.voxel)
    room = images.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(room):
        count = stream.readinto(room[done : done + _BLOCK])
        if not count:
            raise EOFError
        done += count
    return images


def _mean(stream: io.BufferedIOBase, layout: _Layout) -> NDArray[np.float32]:
    """Return the mean of all volumes, with two of them in memory."""
    total = np.zeros(layout.shape, dtype=np.float64)
    for _ in range(layout.volumes):
        total += _read(stream, layout, 1)
    return np.asarray((total / layout.volumes).astype(np.float32))


def _frames(layout: _Layout, affine: NDArray[np.float64], volumes: int) -> Iterator[Frame]:
    slope, intercept = layout.header.get_slope_inter()
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    planes = list(_planes(affine, layout.slices))
    for number in range(volumes * layout.slices):
        volume, place = divmod(number, layout.slices)
        yield Frame(
            plane=planes[place],
            slope=float(slope),
            intercept=float(intercept),
            instance=number,
            phase=(float(volume),) if volumes > 1 else (),
        )


def _affine(header: Any) -> NDArray[np.float64]:  # noqa: ANN401 - nibabel is untyped
    """Return index to RAS+ mm, shape (3, 4)."""
    if header["sform_code"] > 0:
        matrix = header.get_sform()
    elif header["qform_code"] > 0:
        matrix = header.get_qform()
    else:
        raise RejectedFile(Code.NO_ORIENTATION)
    scale = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    found = np.asarray(matrix, dtype=np.float64)[:3] * scale
    edges = np.linalg.norm(found[:, :3], axis=0)
    if not np.isfinite(found).all() or not edges.all():
        raise RejectedFile(Code.NO_ORIENTATION)
    if abs(np.linalg.det(found[:, :3] / edges)) < _FLAT:
        raise RejectedFile(Code.NO_ORIENTATION)
    return found


def _planes(matrix: NDArray[np.float64], count: int) -> Iterator[Plane]:
    column, row, step, origin = matrix.T
    for number in range(count):
        yield Plane(triple(origin + number * step), triple(column), triple(row))
