"""NIfTI-1 and NIfTI-2 volumes, plain or gzipped.

Column and row of an image are the first and second axis of the file, slices run along the third.
Lengths in metres and microns become mm; a file that does not say its unit has mm. What the values
mean no NIfTI file says: `assignment` knows where a table does. The text fields of the header and
its extensions are never read: they can hold a name.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.geometry import Plane, triple
from medssl.ingestion.header import MAX_PIXELS, Facts, Frame, Header

_GZIP = b"\x1f\x8b"
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # code of the unit of length; 2 is mm, 0 is not told
_FLAT = 1e-6  # share of the volume of a box with these edges, below which axes are in one plane
_SIZES = {348: (344, b"n+1\0", b"ni1\0"), 540: (4, b"n+2\0", b"ni2\0")}  # magic: where and what


def recognises(head: bytes) -> bool:
    """See `_contract.py`."""
    plain = _unzipped(head) if head.startswith(_GZIP) else head
    return _magic(plain) is not None


def read_header(path: Path) -> Header:
    """See `_contract.py`."""
    with _opened(path) as image:
        shape = _shape(image.shape)
        header = image.header
        dtype = header.get_data_dtype()
        if dtype.kind not in "iuf":
            raise RejectedFile(Code.COLOUR if dtype.names else Code.UNSUPPORTED_PIXELS)
        slope, intercept = image.dataobj.slope, image.dataobj.inter  # the header forgets them
        affine = _affine(header)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        return Header(
            reader="nifti",
            rows=shape[1],
            columns=shape[0],
            frames=tuple(
                Frame(
                    plane=plane,
                    slope=float(slope),
                    intercept=float(intercept),
                    instance=number,
                )
                for number, plane in enumerate(_planes(affine, shape[2]))
            ),
            bits=dtype.itemsize * 8 if dtype.kind in "iu" else None,
            signed=dtype.kind == "i",
            spacing=(float(spacing[1]), float(spacing[0])),
            thickness=float(spacing[2]),
            facts=Facts(transfer_syntax="nifti"),
        )


def read_pixels(path: Path, header: Header) -> NDArray[Any]:
    """See `_contract.py`."""
    try:
        with _opened(path) as image:
            stored = np.asarray(image.dataobj.get_unscaled())
    except (EOFError, OSError, zlib.error) as error:
        raise RejectedFile(Code.TRUNCATED) from error
    volume = stored.reshape(header.columns, header.rows, len(header.frames), order="F")
    return np.ascontiguousarray(volume.transpose(2, 1, 0))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with path.open("rb") as raw:
        head = raw.read(2)
        raw.seek(0)
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if head == _GZIP else raw)
        magic = _magic(stream.read(348))
        stream.seek(0)
        if magic is None or magic.startswith(b"ni"):  # header and pixels in two files
            raise RejectedFile(Code.UNSUPPORTED_FORMAT)
        kind = nib.Nifti1Image if magic == b"n+1\0" else nib.Nifti2Image
        yield kind.from_file_map(kind.make_file_map({"image": stream}))


def _unzipped(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 348)
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


def _shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if any(length > 1 for length in shape[3:]):
        raise RejectedFile(Code.FOUR_D)
    columns, rows, slices = (*shape, 1, 1, 1)[:3]
    if min(columns, rows, slices) < 1:
        raise RejectedFile(Code.BAD_HEADER)
    if columns * rows * slices > MAX_PIXELS:
        raise RejectedFile(Code.TOO_LARGE)
    return columns, rows, slices


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
