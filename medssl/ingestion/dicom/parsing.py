"""Take a DICOM file apart: meta information, elements, and where its pixels lie.

pydicom reads the elements. What surrounds them is read here, since there a file can ask for any
amount of memory: a deflated one would be inflated as a whole before its first element is seen.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medssl.ingestion.codes import Code, RejectedFile

VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR "
    b"US UT UV".split()
)
HEADER_BYTES = 2**22  # of a deflated file that are looked at before its pixels
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # length of four bytes
_META_BYTES = 2**16  # of one element of the meta information
_UNDEFINED = 0xFFFFFFFF
_PIXELS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
_SOP_CLASS, _SYNTAX = 0x0002, 0x0010  # elements of group 0002


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixels of a file begin."""

    keyword: str  # PixelData, FloatPixelData or DoubleFloatPixelData
    vr: str
    length: int | None  # bytes; None where fragments follow until a delimiter
    offset: int  # of the first byte of the value


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Parsed:
    """A DICOM file without its pixels."""

    dataset: Dataset
    syntax: UID
    sop_class: str
    is_bare: bool  # without preamble: nothing but its elements says that this is DICOM
    pixels: PixelElement | None
    stream: BufferedIOBase  # holds the elements
    deflated: bytes | None = None  # all that follows the meta information


def parse(stream: BufferedIOBase, tags: Sequence[int]) -> Parsed:
    """Return the elements of ``tags`` that precede the pixels.

    Args:
        stream: The whole file; its position does not matter.
        tags: Elements to keep. All others are passed over without reading them.

    Raises:
        RejectedFile: BOMB where a deflated header does not end within `HEADER_BYTES`.
    """
    stream.seek(128)
    is_bare = stream.read(4) != b"DICM"
    if is_bare:
        stream.seek(0)
    meta = _meta(stream)
    named = meta.get(_SYNTAX)
    syntax = _syntax_seen(stream) if named is None else UID(_plain(named))
    body, is_cut = None, False
    if syntax == DeflatedExplicitVRLittleEndian:
        body = stream.read()
        head, is_cut = _inflate(body, HEADER_BYTES)
        stream = io.BytesIO(head)
    dataset = read_dataset(
        stream,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        stop_when=_at_pixels,
        specific_tags=list(tags),
    )
    pixels = _pixel_element(stream)
    if pixels is None and is_cut:
        raise RejectedFile(Code.BOMB)
    return Parsed(
        dataset=dataset,
        syntax=_native(dataset) if named is None else syntax,
        sop_class=str(dataset.get("SOPClassUID") or _plain(meta.get(_SOP_CLASS, b""))),
        is_bare=is_bare,
        pixels=pixels,
        stream=stream,
        deflated=body,
    )


def value(parsed: Parsed, n_bytes: int) -> bytes:
    """Return the pixels: ``n_bytes`` of them, all where they are compressed.

    Raises:
        RejectedFile: TRUNCATED where there are fewer, BOMB where a deflated file goes on for long
            behind them.
    """
    element = parsed.pixels
    if element is None:
        raise RejectedFile(Code.TRUNCATED)
    stream = parsed.stream
    if parsed.deflated is not None:
        content, is_cut = _inflate(parsed.deflated, element.offset + n_bytes + HEADER_BYTES)
        if is_cut:
            raise RejectedFile(Code.BOMB)
        stream = io.BytesIO(content)
    if parsed.syntax.is_encapsulated:
        held = stream.seek(0, io.SEEK_END) - element.offset
        if element.length is not None and element.length > held:
            raise RejectedFile(Code.TRUNCATED)
        stream.seek(element.offset)
        return stream.read(held if element.length is None else element.length)
    stream.seek(element.offset)
    found = stream.read(n_bytes + n_bytes % 2)
    if len(found) < n_bytes:
        raise RejectedFile(Code.TRUNCATED)
    return found


def n_left(parsed: Parsed) -> int:
    """Return how many bytes there are from the first pixel to the end of the file.

    A deflated file is so long that this is no limit; `value` has its own.
    """
    if parsed.pixels is None:
        return 0
    if parsed.deflated is not None:
        return len(parsed.deflated) * 1032  # the most that deflate can gain
    return parsed.stream.seek(0, io.SEEK_END) - parsed.pixels.offset


def _meta(stream: BufferedIOBase) -> dict[int, bytes]:
    """Return the elements of group 0002 by number, and leave the stream behind them.

    Their group length is ignored, since it is often wrong.
    """
    found: dict[int, bytes] = {}
    while True:
        start = stream.tell()
        head = stream.read(8)
        if len(head) < 8 or head[:2] != b"\2\0":
            stream.seek(start)
            return found
        length = int.from_bytes(head[6:8], "little")
        if head[4:6] in _LONG:
            length = int.from_bytes(stream.read(4), "little")
        elif head[4:6] not in VRS:  # written as implicit VR, against the standard
            length = int.from_bytes(head[4:8], "little")
        if length == _UNDEFINED:
            raise RejectedFile(Code.BAD_HEADER)
        if length > _META_BYTES:
            stream.seek(length, io.SEEK_CUR)
        else:
            found[int.from_bytes(head[2:4], "little")] = stream.read(length)


def _plain(content: bytes) -> str:
    return content.decode("ascii", "replace").strip(" \0")


def _syntax_seen(stream: BufferedIOBase) -> UID:
    """Return how the elements of a file without transfer syntax are encoded."""
    start = stream.tell()
    head = stream.read(6)
    stream.seek(start)
    if head[4:6] not in VRS:
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if head[:1] == b"\0" else ExplicitVRLittleEndian


def _native(dataset: Dataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _at_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in _PIXELS


def _pixel_element(stream: BufferedIOBase) -> PixelElement | None:
    """Read the head of the element that the stream stands at."""
    start = stream.tell()
    head = stream.read(12)
    for order in "<>":
        if len(head) < 8:
            return None
        group, element = struct.unpack(f"{order}HH", head[:4])
        keyword = _PIXELS.get(group << 16 | element)
        if keyword is None:
            continue
        # A length never looks like one of these: its lower half would be odd.
        if head[4:6] in _LONG and len(head) == 12:
            vr, length, n_head = head[4:6].decode(), struct.unpack(f"{order}L", head[8:])[0], 12
        else:
            vr, length, n_head = "OW", struct.unpack(f"{order}L", head[4:8])[0], 8
        return PixelElement(keyword, vr, None if length == _UNDEFINED else length, start + n_head)
    return None


def _inflate(body: bytes, limit: int) -> tuple[bytes, bool]:
    """Return at most ``limit`` bytes of raw deflate, and whether there are more."""
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return inflating.decompress(body, limit), bool(inflating.unconsumed_tail)
    except zlib.error as error:
        raise RejectedFile(Code.DECODE_FAILED) from error
