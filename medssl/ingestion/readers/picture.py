"""PNG, JPEG and TIFF: images of 8, 16 or 32 bits, without patient or position.

Whole numbers and floats keep their values; nothing goes through 8 bits. The resolution of a TIFF is
that of a print or a microscope's guess, so it is no spacing.

An image is turned as its file says it is to be shown (EXIF orientation): that is what people saw
who labelled it, and how the same image looks that was saved by another program. Transparency is
dropped, and inks (CMYK) become red, green and blue without a profile.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import error as StructError  # noqa: N812
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from medssl.ingestion import claims, colour, streams
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import PLAIN, Facts, Frame, Header, Reading

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian, then both of BigTIFF
_KINDS = {_PNG: PngImageFile, _JPEG: JpegImageFile} | dict.fromkeys(_TIFF, TiffImageFile)
MAX_PICTURE = 2**28  # pixels, some 16,000 a side: no film or photograph has more
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L"})  # 16-bit PNG, whatever the version of Pillow
_FLOAT = "F"
_GRAY = frozenset({"1", "L", "LA"})
_PALETTE = frozenset({"P", "PA"})
_COLOUR = frozenset({"RGB", "RGBA"})
_INKS = frozenset({"CMYK", "YCbCr"})  # colour in other terms
_READ = _DEEP | {_FLOAT} | _GRAY | _PALETTE | _COLOUR | _INKS
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # a pixel; of others 4
_HEAD_BYTES = 26  # of a PNG: its signature and the start of its first chunk
_BITS, _PHOTOMETRIC, _ORIENTATION, _SIGN = 258, 262, 274, 339  # TIFF tags
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_TILE = 2**24  # pixels that a tile may have in an image smaller than it
_WHITE_IS_ZERO, _SIGNED = 0, 2
_LOSSY = frozenset({"jpeg", "tiff_jpeg", "webp", "jpeg2000"})  # TIFF compressions
_TURNED = frozenset({5, 6, 7, 8})  # orientations that swap rows and columns


def recognises(head: bytes) -> bool:
    """See `_contract.py`; a DICOM file may begin like a TIFF."""
    is_dicom = head[128:132] == b"DICM"
    return head.startswith((_PNG, _JPEG)) or (head.startswith(_TIFF) and not is_dicom)


def read_header(path: Path, how: Reading = PLAIN) -> Header:
    """See `_contract.py`."""
    with _opened(path) as (image, png_depth):
        _check(image, how, png_depth)
        columns, rows = image.size
        if _orientation(image) in _TURNED:
            columns, rows = rows, columns
        bits, signed, inverted = _depth(image)
        name = str(image.format).lower()
        return Header(
            reader="picture",
            rows=rows,
            columns=columns,
            frames=(Frame(),),
            channels=colour.CHANNELS if how.colour == "keep" and _has_colour(image) else 1,
            bits=bits,
            signed=signed,
            inverted=inverted,
            facts=Facts(
                lossy=name == "jpeg" or image.info.get("compression") in _LOSSY,
                transfer_syntax=name,
            ),
        )


def read_pixels(path: Path, header: Header, how: Reading = PLAIN) -> NDArray[Any]:
    """See `_contract.py`."""
    with _opened(path) as (image, _):
        orientation = _orientation(image)
        pixels = _upright(_samples(image, header), orientation)[None]
    return pixels if pixels.ndim == 3 else colour.settled(pixels, how.colour)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, int]]:
    """Yield an image, and its bits per sample if it is a PNG, before memory is taken for it."""
    with streams.opened(path) as stream:
        head = stream.read(_HEAD_BYTES)
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        kind = next(kind for start, kind in _KINDS.items() if head.startswith(start))
        with kind(stream) as image:
            if image.width * image.height > MAX_PICTURE:
                is_bomb = image.width * image.height > claims.RATIO * size
                raise RejectedFile(Code.BOMB if is_bomb else Code.TOO_LARGE)
            claims.check(image.width * image.height * _BYTES.get(image.mode, 4), size)
            yield image, head[24] if head.startswith(_PNG) else 0


def _check(image: Image.Image, how: Reading, png_depth: int) -> None:
    """Reject what cannot be read without loss, or is not wanted."""
    if image.mode not in _READ or (image.mode in _INKS and how.colour == "reject"):
        raise RejectedFile(Code.COLOUR)
    if _has_frames(image):
        raise RejectedFile(Code.MULTI_FRAME)
    # Pillow would cut samples to 8 bits, or take signed ones for unsigned.
    if png_depth > 8 and image.mode not in _DEEP:
        raise RejectedFile(Code.UNSUPPORTED_PIXELS)
    if image.format != "TIFF":
        return
    bits, signed = _tiff_sample(image)
    if image.mode not in _DEEP | {_FLOAT} and (bits > 8 or signed):
        raise RejectedFile(Code.UNSUPPORTED_PIXELS)
    tile = image.tag_v2.get(_TILE_WIDTH, 0) * image.tag_v2.get(_TILE_LENGTH, 0)
    if tile > max(_TILE, image.width * image.height):
        raise RejectedFile(Code.BOMB)


def _has_frames(image: Image.Image) -> bool:
    """Say whether there is a second image; JPEG has none, or a smaller copy for a display."""
    if image.format == "PNG":
        return bool(image.n_frames > 1)
    return image.format == "TIFF" and bool(image.is_animated)


def _has_colour(image: Image.Image) -> bool:
    """Say whether pixels may be of any colour, or a palette has one that is no gray."""
    if image.mode in _PALETTE:
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, colour.CHANNELS)
        return not bool((palette == palette[:, :1]).all())
    return image.mode in _COLOUR | _INKS


def _orientation(image: Image.Image) -> int:
    """Return how a PNG or JPEG is to be turned, 1 to 8; Pillow turns a TIFF itself."""
    found = image.info.get("exif")
    if image.format == "TIFF" or not isinstance(found, bytes):
        return 1
    exif = Image.Exif()
    try:
        exif.load(found)
        told = exif.get(_ORIENTATION)
    except (SyntaxError, StructError, ValueError, TypeError, LookupError, OSError):
        return 1  # a damaged note beside a good image
    return told if told in range(1, 9) else 1


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return an image (rows, columns, …) as it is to be shown: values move, none changes."""
    if orientation in _TURNED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _samples(image: Image.Image, header: Header) -> NDArray[Any]:
    """Return pixels as they lie in the file, (rows, columns) or (rows, columns, 3)."""
    image.load()  # a TIFF is turned by this, and its size with it
    if image.mode == _FLOAT:
        return np.asarray(image)
    if image.mode in _DEEP:
        # Never through mode L, which saturates at 255.
        pixels = np.asarray(image).astype(np.int32)
        return pixels.view(np.uint32) if header.bits == 32 and not header.signed else pixels
    if image.mode in {"1", "L"}:
        return np.asarray(image.convert("L"))
    channels = np.asarray(image.convert("RGB" if image.mode in _INKS else "RGBA"))
    return channels[..., : colour.CHANNELS] if _has_colour(image) else channels[..., 0]


def _depth(image: Image.Image) -> tuple[int | None, bool, bool]:
    """Return bits (None for floats), whether values are signed, and whether 0 is white."""
    if image.mode not in _DEEP:  # Pillow has turned the others upright
        return (None if image.mode == _FLOAT else 8), False, False
    if image.format != "TIFF":
        return 16, False, False
    return *_tiff_sample(image), image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _tiff_sample(image: Image.Image) -> tuple[int, bool]:
    """Return bits per sample of a TIFF, and whether the samples are signed."""
    bits, sign = (int(np.max(image.tag_v2.get(tag, 1))) for tag in (_BITS, _SIGN))
    return bits, sign == _SIGNED
