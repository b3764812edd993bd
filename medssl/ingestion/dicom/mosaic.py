"""Siemens mosaics: the slices of an MR volume as tiles of one image.

How many tiles there are, and in which direction the slices follow each other, stands in private
elements: the CSA header, a list of named values, and the scan protocol, a text within it. The
layout of both is public knowledge, collected for instance in the documentation of nibabel.
"""

import math
import re
import struct
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.dicom import parsing
from medssl.ingestion.dicom.elements import described, positive
from medssl.ingestion.geometry import Plane, Vector, lps_to_ras, triple

_CSA, _MR = "SIEMENS CSA HEADER", "SIEMENS MR HEADER"
_BLOCKS = range(0x10, 0x20)  # which of them a creator owns is up to the file
_TAGS = [
    group << 16 | element
    for group, ends in ((0x0019, (0x0A,)), (0x0029, (0x10, 0x20)))
    for block in _BLOCKS
    for element in (block, *(block << 8 | end for end in ends))
]
_CSA_MARK = 77
_MOST_VALUES = 1000  # of a CSA header; there are about a hundred
_POSITION = re.compile(
    r"sSliceArray\.asSlice\[(\d{1,3})\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*"
    r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d{1,2})?)"
)
_N_SLICES = re.compile(r"sSliceArray\.lSize\s*=\s*(\d{1,3})\b")
_AXES = {"Sag": 0, "Cor": 1, "Tra": 2}  # L, P, S


@dataclass(frozen=True, slots=True)
class Mosaic:
    """How the tiles of an image are the slices of a volume."""

    n_slices: int
    rows: int  # of a tile
    columns: int
    planes: tuple[Plane, ...]  # one per slice; none where the image has no position


def look(
    stream: BufferedIOBase, shape: tuple[int, int], dataset: Dataset, plane: Plane | None
) -> Mosaic:
    """Return how a mosaic is tiled.

    Args:
        stream: The whole file.
        shape: Rows and columns of the whole image.
        dataset: Its elements.
        plane: Of the whole image, as if it were one slice.

    Raises:
        RejectedFile: MOSAIC where the number of tiles is not told or does not fit.
    """
    private = parsing.parse(stream, _TAGS).dataset
    csa = _csa_header(_element(private, 0x0029, _CSA, 0x10))
    n_slices = _count(private, csa)
    side = math.isqrt(max(n_slices - 1, 0)) + 1
    if n_slices < 1 or shape[0] % side or shape[1] % side:
        raise RejectedFile(Code.MOSAIC)
    rows, columns = shape[0] // side, shape[1] // side
    planes: tuple[Plane, ...] = ()
    if plane is not None:
        first = _first_tile(plane, shape[0] - rows, shape[1] - columns)
        protocol = _csa_header(_element(private, 0x0029, _CSA, 0x20))
        centres = _slice_centres(protocol, n_slices)
        step = _step(first, centres, _numbers(csa, "SliceNormalVector"), dataset)
        planes = tuple(
            Plane(triple(np.array(first.origin) + n * step), first.column_step, first.row_step)
            for n in range(n_slices)
        )
    return Mosaic(n_slices, rows, columns, planes)


def untiled(image: NDArray[Any], n_slices: int, rows: int, columns: int) -> NDArray[Any]:
    """Return the slices of a mosaic, shape (n_slices, rows, columns).

    Args:
        image: The mosaic; its tiles follow each other as words in a text.
        n_slices: How many tiles hold a slice; those behind them are empty.
        rows: Of a tile.
        columns: Of a tile.
    """
    down, across = image.shape[0] // rows, image.shape[1] // columns
    tiles = image.reshape(down, rows, across, columns).swapaxes(1, 2)
    return tiles.reshape(down * across, rows, columns)[:n_slices]


def _element(private: Dataset, group: int, creator: str, number: int) -> Any:  # noqa: ANN401
    """Return the value of a private element, or None."""
    for block in _BLOCKS:
        owner = private.get((group, block))
        if owner is not None and str(owner.value).strip() == creator:
            found = private.get((group, block << 8 | number))
            return None if found is None else found.value
    return None


def _count(private: Dataset, csa: dict[str, list[str]]) -> int:
    """Return the number of slices, which newer software tells in an element of its own."""
    told = _element(private, 0x0019, _MR, 0x0A)
    if isinstance(told, bytes):
        told = int.from_bytes(told[:2], "little")
    if told is None:
        told = next(iter(csa.get("NumberOfImagesInMosaic", [])), None)
    return described(lambda: int(told)) or 0


def _csa_header(content: Any) -> dict[str, list[str]]:  # noqa: ANN401 - a private element
    """Return the values of a CSA header by name; what is damaged has none."""
    if not isinstance(content, bytes):
        return {}
    try:
        return _csa_values(content, is_second=content[:4] == b"SV10")
    except struct.error:
        return {}


def _csa_values(content: bytes, *, is_second: bool) -> dict[str, list[str]]:
    """Return the values of a CSA header.

    Version 2 begins with its name and tells the length of an item twice; version 1 tells it once,
    counted from the number of items of its first value.
    """
    start = 8 if is_second else 0
    n_values, mark = struct.unpack_from("<2L", content, start)
    if mark != _CSA_MARK:
        return {}
    found: dict[str, list[str]] = {}
    place = start + 8
    n_first: int | None = None
    for _ in range(min(n_values, _MOST_VALUES)):
        name, _, _, _, n_items, _ = struct.unpack_from("<64sl4slll", content, place)
        n_first = n_items if n_first is None else n_first
        place += 84
        items = []
        for _ in range(min(n_items, _MOST_VALUES)):
            told = struct.unpack_from("<4l", content, place)
            length = told[1] if is_second else told[0] - n_first
            place += 16
            if not 0 <= length <= len(content) - place:
                return found
            items.append(_text(content[place : place + length]))
            place += (length + 3) // 4 * 4
        found[_text(name)] = [item for item in items if item]
    return found


def _text(content: bytes) -> str:
    return content.split(b"\0")[0].decode("latin-1").strip()


def _numbers(csa: dict[str, list[str]], name: str) -> Vector | None:
    values = (
        described(lambda: np.array([float(item) for item in csa[name]])) if name in csa else None
    )
    if values is None or values.shape != (3,) or not np.isfinite(values).all():
        return None
    return np.asarray(values)


def _first_tile(plane: Plane, more_rows: int, more_columns: int) -> Plane:
    """Return the plane of the first slice.

    The header holds the corner of an image as large as the mosaic with the slice's centre.
    """
    moved = more_columns / 2 * np.array(plane.column_step) + more_rows / 2 * np.array(
        plane.row_step
    )
    return Plane(triple(np.array(plane.origin) + moved), plane.column_step, plane.row_step)


def _slice_centres(protocol: dict[str, list[str]], n_slices: int) -> Vector | None:
    """Return the centres of all slices as the protocol has them, RAS+ mm, shape (n_slices, 3)."""
    text = next(
        (protocol[name][0] for name in ("MrPhoenixProtocol", "MrProtocol") if protocol.get(name)),
        "",
    )
    told = _N_SLICES.search(text)
    if told is None or int(told[1]) != n_slices:
        return None
    centres = np.zeros((n_slices, 3))
    for number, axis, value in _POSITION.findall(text):
        if int(number) < n_slices:
            centres[int(number), _AXES[axis]] = float(value)
    return lps_to_ras(centres)


def _step(first: Plane, centres: Vector | None, told: Vector | None, dataset: Dataset) -> Vector:
    """Return the step from a slice to the next, RAS+ mm.

    Its direction is that from the end of the protocol's stack at which the first tile lies to the
    other, else that of the CSA header's normal. The protocol may number slices either way.
    """
    normal = np.cross(first.column_step, first.row_step)
    normal /= np.linalg.norm(normal)
    length = positive(dataset, "SpacingBetweenSlices")
    sign = -1.0 if told is not None and lps_to_ras(told) @ normal < 0 else 1.0
    if centres is not None and len(centres) > 1:
        along = centres @ normal - np.array(first.origin) @ normal
        apart = abs(along[-1] - along[0]) / (len(along) - 1)
        length = length or apart or None
        if min(abs(along[0]), abs(along[-1])) < apart / 2:
            near, far = sorted((along[0], along[-1]), key=abs)
            sign = 1.0 if far > near else -1.0
    return np.asarray(normal * sign * (length or positive(dataset, "SliceThickness") or 1.0))
