"""PNG and JPEG: gray images of 8 or 16 bits, without patient or position."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import Facts, Frame, Header

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FORMATS = ("PNG", "JPEG")
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L"})  # 16-bit PNG, whatever the version of Pillow
_PLAIN = frozenset({"1", "L", "P", "LA", "PA", "RGB", "RGBA"})


def recognises(head: bytes) -> bool:
    """See `_contract.py`."""
    return head.startswith((_PNG, _JPEG))


def read_header(path: Path) -> Header:
    """See `_contract.py`."""
    with Image.open(path, formats=_FORMATS) as image:
        columns, rows = image.size
        if image.mode not in _DEEP | _PLAIN:
            raise RejectedFile(Code.COLOUR)
        is_jpeg = image.format == "JPEG"
        return Header(
            reader="picture",
            rows=rows,
            columns=columns,
            frames=(Frame(),),
            bits=16 if image.mode in _DEEP else 8,
            facts=Facts(lossy=is_jpeg, transfer_syntax="jpeg" if is_jpeg else "png"),
        )


def read_pixels(path: Path, header: Header) -> NDArray[Any]:
    """See `_contract.py`."""
    pixels: NDArray[Any]
    with Image.open(path, formats=_FORMATS) as image:
        if image.mode in _DEEP:
            # Never through mode L, which saturates at 255.
            pixels = np.asarray(image).astype(np.int32)
        elif image.mode in {"L", "1"}:
            pixels = np.asarray(image.convert("L"))
        else:
            pixels = _gray(np.asarray(image.convert("RGBA")))
    assert pixels.shape == (header.rows, header.columns)
    return pixels[None]


def _gray(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    red, green, blue = rgba[..., 0], rgba[..., 1], rgba[..., 2]
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise RejectedFile(Code.COLOUR)
    return red
