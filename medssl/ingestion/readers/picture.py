"""PNG, JPEG and TIFF: gray images of 8, 16 or 32 bits, without patient or position.

Whole numbers and floats keep their values; nothing goes through 8 bits. The resolution of a TIFF is
that of a print or a microscope's guess, so it is no spacing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import Facts, Frame, Header

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian, then both of BigTIFF
_FORMATS = ("PNG", "JPEG", "TIFF")
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L"})  # 16-bit PNG, whatever the version of Pillow
_FLOAT = "F"
_PLAIN = frozenset({"1", "L", "P", "LA", "PA", "RGB", "RGBA"})
_HEAD_BYTES = 26  # of a PNG: its signature and the start of its first chunk
_BITS, _PHOTOMETRIC, _SIGN = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _SIGNED = 0, 2
_LOSSY = frozenset({"jpeg", "tiff_jpeg", "webp", "jpeg2000"})  # TIFF compressions


def recognises(head: bytes) -> bool:
    """See `_contract.py`; a DICOM file may begin like a TIFF."""
    is_dicom = head[128:132] == b"DICM"
    return head.startswith((_PNG, _JPEG)) or (head.startswith(_TIFF) and not is_dicom)


def read_header(path: Path) -> Header:
    """See `_contract.py`."""
    with _opened(path) as image:
        if image.mode not in _DEEP | _PLAIN | {_FLOAT}:
            raise RejectedFile(Code.COLOUR)
        if image.format in {"PNG", "TIFF"} and image.n_frames > 1:
            raise RejectedFile(Code.MULTI_FRAME)
        if _loses_values(image, path):
            raise RejectedFile(Code.UNSUPPORTED_PIXELS)
        columns, rows = image.size
        bits, signed, inverted = _depth(image)
        name = {"PNG": "png", "TIFF": "tiff"}.get(str(image.format), "jpeg")
        return Header(
            reader="picture",
            rows=rows,
            columns=columns,
            frames=(Frame(),),
            bits=bits,
            signed=signed,
            inverted=inverted,
            facts=Facts(
                lossy=name == "jpeg" or image.info.get("compression") in _LOSSY,
                transfer_syntax=name,
            ),
        )


def read_pixels(path: Path, header: Header) -> NDArray[Any]:
    """See `_contract.py`."""
    pixels: NDArray[Any]
    with _opened(path) as image:
        if image.mode == _FLOAT:
            pixels = np.asarray(image)
        elif image.mode in _DEEP:
            # Never through mode L, which saturates at 255.
            pixels = np.asarray(image).astype(np.int32)
            if header.bits == 32 and not header.signed:
                pixels = pixels.view(np.uint32)
        elif image.mode in {"L", "1"}:
            pixels = np.asarray(image.convert("L"))
        else:
            pixels = _gray(np.asarray(image.convert("RGBA")))
    assert pixels.shape == (header.rows, header.columns)
    return pixels[None]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Yield an image; its size is checked before memory is taken for it."""
    try:
        image = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise RejectedFile(Code.TOO_LARGE) from error
    with image:
        yield image


def _loses_values(image: Image.Image, path: Path) -> bool:
    """Say whether Pillow would cut samples to 8 bits, or take signed ones for unsigned."""
    if image.mode not in _PLAIN:
        return False
    if image.format == "TIFF":
        bits, signed = _tiff_sample(image)
        return bits > 8 or signed
    return image.format == "PNG" and _png_depth(path) > 8


def _png_depth(path: Path) -> int:
    """Return the bits per sample of a PNG."""
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)[24]


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


def _gray(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    red, green, blue = rgba[..., 0], rgba[..., 1], rgba[..., 2]
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise RejectedFile(Code.COLOUR)
    return red
