"""What a radiograph is shown like: its VOI LUT, which ends the way from the detector to the eye.

A table belongs to the image as its maker means it to be read, so it is applied (PS3.3 C.11.2).
A window is a setting of a viewer, of which an image may have several: it is not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from medssl.ingestion import sop_classes
from medssl.ingestion.dicom import framing
from medssl.ingestion.dicom.elements import described, integers, item, text
from medssl.ingestion.dicom.layouts import Layout

FOR_PROCESSING, VOI_LUT = "for_processing", "voi_lut"  # flags
_MODALITIES = frozenset({"CR", "DX", "MG"})
_DEPTHS = range(8, 17)  # bits of an entry
_BYTE, _WORD = 2**8, 2**16
_AS_IT_IS = (1.0, 0.0)


@dataclass(frozen=True, slots=True)
class VoiLut:
    """A table of what values are shown as."""

    entries: NDArray[np.uint16]  # (N,)
    first: int  # the value that is shown as the first entry
    bits: int  # of an entry: as many as the file says, or more if one has more
    slope: float  # of stored pixels, to get at values
    intercept: float


def is_for_processing(dataset: Dataset, sop_class: str) -> bool:
    """Return whether an image is as the detector gave it, not as it is read."""
    intent = text(dataset, "PresentationIntentType").upper()
    return intent == "FOR PROCESSING" or sop_classes.is_for_processing(sop_class)


def voi_lut(dataset: Dataset, sop_class: str, layout: Layout) -> VoiLut | None:
    """Return the first VOI LUT of a radiograph for presentation.

    None where there is none, or none that makes sense: the image is then as the file holds it.

    Raises:
        RejectedFile: BAD_HEADER where slope or intercept is no number.
    """
    is_radiograph = text(dataset, "Modality").upper() in _MODALITIES
    if not is_radiograph or layout.is_coloured or layout.is_float:
        return None
    table = item(dataset, "VOILUTSequence")
    if table is None or is_for_processing(dataset, sop_class):
        return None
    told = integers(table, "LUTDescriptor")
    if len(told) != 3 or told[2] not in _DEPTHS:
        return None
    count = told[0] % _WORD or _WORD  # may be written as signed
    entries = _entries(table, count, told[2], dataset)
    if entries is None:
        return None
    is_scaled = item(dataset, "ModalityLUTSequence") is None
    scale = framing.rescale(dataset, dataset) if is_scaled else _AS_IT_IS
    is_signed = is_scaled and _may_be_negative(layout, *scale)
    first = told[1] - _WORD if is_signed and told[1] >= _WORD // 2 else told[1]
    return VoiLut(entries, first, max(told[2], int(entries.max()).bit_length()), *scale)


def shown(
    pixels: NDArray[Any], lut: VoiLut, layout: Layout, padding: tuple[int, int] | None
) -> NDArray[np.uint16]:
    """Return what a VOI LUT makes of an image; what is beyond its ends becomes as these.

    Padding is no part of the image and becomes as dark as its darkest pixel.

    Args:
        pixels: Shape (rows, columns), before slope and intercept.
        lut: Of the file.
        layout: Of the file.
        padding: Values that stand for "no image here".
    """
    is_scaled = (lut.slope, lut.intercept) != _AS_IT_IS
    values = np.rint(pixels * lut.slope + lut.intercept) if is_scaled else pixels
    places = values.astype(np.int64) - lut.first
    found: NDArray[np.uint16] = lut.entries[places.clip(0, len(lut.entries) - 1)]
    if padding is not None:
        is_padded = (pixels >= padding[0]) & (pixels <= padding[1])
        if is_padded.any() and not is_padded.all():
            darkest = np.max if layout.photometric == "MONOCHROME1" else np.min
            found[is_padded] = darkest(found[~is_padded])
    return found


def _entries(table: Dataset, count: int, depth: int, dataset: Dataset) -> NDArray[np.uint16] | None:
    """Return the values of a table, shape (count,); None where some are missing."""
    data = described(lambda: table.get("LUTData"))
    if isinstance(data, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        words = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2").astype("<u2")
    else:
        found = described(lambda: np.array(data, dtype="<u2").reshape(-1))
        words = np.empty(0, "<u2") if found is None else found
    is_packed = depth == 8 and len(words) < count  # two to a word
    entries = (words.view(np.uint8) if is_packed else words)[:count].astype(np.uint16)
    if len(entries) < count:
        return None
    return entries % _BYTE if depth == 8 else entries


def _may_be_negative(layout: Layout, slope: float, intercept: float) -> bool:
    low = -(2 ** (layout.stored - 1)) if layout.is_signed else 0
    return min(end * slope + intercept for end in (low, low + 2**layout.stored - 1)) < 0
