"""Which library decodes a transfer syntax, and whether a compressed image is as large as it should.

One library per syntax, chosen here and not by what happens to work for a file, so that all images
of a syntax are decoded alike and `decoder_of` tells the truth.
"""

import struct
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from itertools import islice
from typing import Any, NamedTuple

from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medssl.ingestion.codes import Code, RejectedFile

_WAVELETS = frozenset({JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})
_LOSSLESS = frozenset({JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL, JPEGLSLossless})
_ALWAYS_LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
_MAYBE_LOSSY = frozenset({JPEG2000, HTJ2K})
_PREFERENCE = {  # the first that is installed decodes
    JPEGBaseline8Bit: ("pillow", "pylibjpeg", "gdcm"),
    JPEGExtended12Bit: ("pillow", "pylibjpeg", "gdcm"),
    JPEGLossless: ("pylibjpeg", "gdcm"),
    JPEGLosslessSV1: ("pylibjpeg", "gdcm"),
    JPEGLSLossless: ("pyjpegls", "pylibjpeg", "gdcm"),
    JPEGLSNearLossless: ("pyjpegls", "pylibjpeg", "gdcm"),
    RLELossless: ("pylibjpeg", "pydicom"),
    **dict.fromkeys(_WAVELETS, ("pylibjpeg", "pillow", "gdcm")),
}
_DEEP_JPEG = ("pylibjpeg",)  # the only one that reads JPEG of 12 bits
_DISTRIBUTIONS = {"gdcm": "python-gdcm"}
_NO_SIZE = frozenset({0xC4, 0xC8, 0xCC})  # JPEG markers within the range of the frame headers
_JPEG_LS_FRAME = 0xF7
_JP2 = b"\0\0\0\x0cjP  "


class Size(NamedTuple):
    """What a compressed image says of itself."""

    rows: int
    columns: int
    samples: int


def plugin(syntax: UID, bits: int = 8) -> str:
    """Return the name of pydicom's plugin for a syntax; empty for what is not compressed.

    Args:
        syntax: Of the file.
        bits: Stored per pixel.

    Raises:
        RejectedFile: NO_DECODER where no installed library reads it.
    """
    return _plugin(str(syntax), syntax == JPEGExtended12Bit and bits > 8)


def decoder_of(transfer_syntax: str) -> str:
    """Return name and version of the library that decodes a transfer syntax.

    Raises:
        RejectedFile: NO_DECODER where none is installed.
    """
    name = _plugin(transfer_syntax, False)  # noqa: FBT003 - cached by position
    if name == "pylibjpeg":
        name = _part_of_pylibjpeg(UID(transfer_syntax))
    distribution = _DISTRIBUTIONS.get(name, name or "pydicom")
    return f"{distribution} {version(distribution)}"


def is_lossless(syntax: UID) -> bool:
    """Return whether a syntax keeps every bit and says so itself."""
    return syntax in _LOSSLESS


def is_lossy(told: str, syntax: UID) -> bool:
    """Return whether pixels have been changed by compression; ``told`` is (0028,2110)."""
    if told == "01" or syntax in _ALWAYS_LOSSY:
        return True
    return syntax in _MAYBE_LOSSY and told != "00"


def check_sizes(
    content: bytes, syntax: UID, n_frames: int, size: Size, offsets: tuple[bytes, bytes] | None
) -> None:
    """Compare every compressed image with the header before memory is taken for it.

    Raises:
        RejectedFile: SIZE_MISMATCH, TRUNCATED where images are missing, or DECODE_FAILED where one
            has no size.
    """
    measure = _jpeg_size if syntax not in _WAVELETS else _jpeg2000_size
    frames = generate_frames(content, number_of_frames=n_frames, extended_offsets=offsets)
    found = 0
    for frame in islice(frames, n_frames):
        found += 1
        if syntax != RLELossless and measure(frame) != size:
            raise RejectedFile(Code.SIZE_MISMATCH)
    if found < n_frames:
        raise RejectedFile(Code.TRUNCATED)


@cache
def _plugin(syntax: str, is_deep_jpeg: bool) -> str:  # noqa: FBT001 - cached by position
    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError as error:
        raise RejectedFile(Code.NO_DECODER) from error
    if not decoder.is_encapsulated:
        return ""
    wanted: Iterable[str] = _DEEP_JPEG if is_deep_jpeg else _PREFERENCE.get(UID(syntax), ())
    found = next((name for name in wanted if name in decoder.available_plugins), None)
    if found is None:
        raise RejectedFile(Code.NO_DECODER)
    return found


def _part_of_pylibjpeg(syntax: UID) -> str:
    if syntax in _WAVELETS:
        return "pylibjpeg-openjpeg"
    return "pylibjpeg-rle" if syntax == RLELossless else "pylibjpeg-libjpeg"


def _jpeg_size(frame: bytes) -> Size:
    """Return the size in the frame header of JPEG or JPEG-LS."""
    if not frame.startswith(b"\xff\xd8"):
        raise RejectedFile(Code.DECODE_FAILED)
    place = 2
    while frame[place : place + 1] == b"\xff":
        marker = _unpacked("B", frame, place + 1)[0]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in _NO_SIZE) or marker == _JPEG_LS_FRAME:
            return Size(*_unpacked(">HHB", frame, place + 5))
        place += 2 + _unpacked(">H", frame, place + 2)[0]
    raise RejectedFile(Code.DECODE_FAILED)


def _jpeg2000_size(frame: bytes) -> Size:
    """Return the size in the SIZ segment of JPEG 2000 or HTJ2K."""
    start = _codestream(frame)
    if frame[start : start + 4] != b"\xff\x4f\xff\x51":
        raise RejectedFile(Code.DECODE_FAILED)
    right, bottom, left, top = _unpacked(">4L", frame, start + 8)
    return Size(bottom - top, right - left, _unpacked(">H", frame, start + 40)[0])


def _codestream(frame: bytes) -> int:
    """Return where the codestream begins: at once, or within the boxes of a JP2 file."""
    if not frame.startswith(_JP2):
        return 0
    place = 0
    while True:
        length, kind = _unpacked(">L4s", frame, place)
        if kind == b"jp2c":
            return place + 8
        if length < 8:  # pydicom would look at this box for ever
            raise RejectedFile(Code.DECODE_FAILED)
        place += length


def _unpacked(layout: str, frame: bytes, place: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, frame, place)
    except struct.error as error:
        raise RejectedFile(Code.DECODE_FAILED) from error
