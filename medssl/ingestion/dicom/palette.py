"""Colours of a DICOM image whose pixels are numbers of colours."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_color_lut

from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.dicom.elements import integers

_COLOURS = ("Red", "Green", "Blue")
_BYTE = 255


def bits(dataset: Dataset) -> int:
    """Return how many bits the colours of a palette have: 8 or 16."""
    n_entries, _, nominal = _descriptor(dataset)
    data = dataset.get("RedPaletteColorLookupTableData")
    if data is None:
        return nominal
    return 8 if nominal == 8 or len(data) < 2 * n_entries else 16


def colours(pixels: NDArray[Any], dataset: Dataset, *, as_bytes: bool) -> NDArray[Any]:
    """Return the colours that pixels stand for.

    Values outside the palette get its first or last colour.

    Args:
        pixels: Any shape, as stored.
        dataset: Holds the palette.
        as_bytes: Whether colours of 16 bits lose their lower half, which no screen shows.

    Returns:
        Shape (*pixels.shape, 3), uint8 or uint16.
    """
    n_entries, first, _ = _descriptor(dataset)
    table = _table(dataset, n_entries, first)
    if as_bytes and table.dtype != np.uint8:
        table = (table >> 8 if table.max() > _BYTE else table).astype(np.uint8)
    places = np.clip(pixels.astype(np.int64) - first, 0, len(table) - 1)
    return np.asarray(table[places])


def _descriptor(dataset: Dataset) -> tuple[int, int, int]:
    """Return the number of entries, the value of the first one, and the bits of each."""
    found = integers(dataset, "RedPaletteColorLookupTableDescriptor")
    if len(found) != 3 or found[2] not in {8, 16}:
        raise RejectedFile(Code.BAD_HEADER)
    return found[0] or 2**16, found[1], found[2]


def _table(dataset: Dataset, n_entries: int, first: int) -> NDArray[Any]:
    """Return the colours of a palette, shape (n_entries, 3)."""
    if "RedPaletteColorLookupTableData" not in dataset:  # in segments
        every = np.arange(first, first + n_entries, dtype=np.int64)
        return np.asarray(apply_color_lut(every, dataset)[:, :3])
    depth = bits(dataset)
    columns = [_column(dataset, colour, n_entries) for colour in _COLOURS]
    # Of words that hold entries of 8 bits, only the lower byte stays.
    return np.stack(columns, axis=1).astype(np.uint8 if depth == 8 else np.uint16)


def _column(dataset: Dataset, colour: str, n_entries: int) -> NDArray[Any]:
    data: bytes = dataset.get(f"{colour}PaletteColorLookupTableData") or b""
    order = "<" if dataset.original_encoding[1] else ">"
    is_wide = len(data) >= 2 * n_entries  # entries of 8 bits may be written as words
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype=f"{order}u2").astype("<u2")
    entries = (words if is_wide else words.view(np.uint8))[:n_entries]
    if len(entries) < n_entries:
        raise RejectedFile(Code.DECODE_FAILED)
    return entries
