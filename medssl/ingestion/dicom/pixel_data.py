"""Decode the pixels of a DICOM file: decompress, look colours up, apply the Modality LUT.

The order is that of the standard: decode, palette, Modality LUT or (by the caller, per image) slope
and intercept, VOI LUT where there is one that counts, and only then MONOCHROME1.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, get_decoder

from medssl.config.reading import Colour
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.colour import luminance
from medssl.ingestion.dicom import codecs, palette, parsing, presentation
from medssl.ingestion.dicom.codecs import Size
from medssl.ingestion.dicom.elements import integer, integers, item
from medssl.ingestion.dicom.layouts import Layout
from medssl.ingestion.dicom.parsing import Parsed


def decode(parsed: Parsed, layout: Layout, colour: Colour) -> NDArray[Any]:
    """Return the pixels of a file before slope and intercept, which a VOI LUT takes in.

    Args:
        parsed: With the elements that describe its pixels.
        layout: Of the file.
        colour: What becomes of colours.

    Returns:
        Shape (frames, rows, columns); (frames, rows, columns, 3), uint8, where colours are kept.

    Raises:
        RejectedFile: TRUNCATED, SIZE_MISMATCH, BOMB, COLOUR.
    """
    frames = _decompressed(parsed, layout)
    if layout.is_palette:
        as_bytes = colour == "keep"
        frames = (palette.colours(frame, parsed.dataset, as_bytes=as_bytes) for frame in frames)
    if layout.is_coloured and colour != "keep":
        frames = (_gray(frame, colour) for frame in frames)
    pixels = _stacked(frames, layout.n_frames)
    if lut(parsed.dataset) is not None and not layout.is_coloured:
        pixels = apply_modality_lut(pixels, parsed.dataset)
    found = presentation.voi_lut(parsed.dataset, parsed.sop_class, layout)
    if found is not None:
        blank = padding(parsed.dataset, is_signed=layout.is_signed)
        pixels = np.stack([presentation.shown(image, found, layout, blank) for image in pixels])
    return np.asarray(pixels)


def padding(dataset: Dataset, *, is_signed: bool) -> tuple[int, int] | None:
    """Return the range of values that stand for "no image here"; None behind a Modality LUT."""
    first = integer(dataset, "PixelPaddingValue")
    if first is None or lut(dataset) is not None:
        return None
    second = integer(dataset, "PixelPaddingRangeLimit")
    ends = [first, first if second is None else second]
    if is_signed:  # often written as unsigned: 63536 means -2000
        ends = [value - 65536 if value >= 32768 else value for value in ends]
    return min(ends), max(ends)


def lut(dataset: Dataset) -> Dataset | None:
    """Return the Modality LUT."""
    return item(dataset, "ModalityLUTSequence")


def lut_bits(table: Dataset) -> int:
    """Return how many bits the values of a Modality LUT have."""
    described: Sequence[int] = integers(table, "LUTDescriptor")
    return described[2] if len(described) == 3 and 0 < described[2] <= 16 else 16


def _decompressed(parsed: Parsed, layout: Layout) -> Iterator[NDArray[Any]]:
    """Yield the stored values of each frame, shape (rows, columns) or (rows, columns, 3)."""
    options = _options(parsed, layout)
    content = parsing.value(parsed, layout.n_bytes)
    if parsed.syntax.is_encapsulated:
        size = Size(layout.rows, layout.columns, layout.samples)
        offsets = options.get("extended_offsets")
        codecs.check_sizes(content, parsed.syntax, layout.n_frames, size, offsets)
    plugin = codecs.plugin(parsed.syntax, layout.stored)
    decoder = get_decoder(parsed.syntax)
    is_lossless = codecs.is_lossless(parsed.syntax)
    decoded = decoder.iter_array(content, decoding_plugin=plugin, **options)
    for frame, _ in islice(decoded, layout.n_frames):
        yield _without_unused_bits(frame, layout) if is_lossless else frame


def _stacked(frames: Iterator[NDArray[Any]], n_frames: int) -> NDArray[Any]:
    """Return frames as one array, of which there are never two in memory."""
    first = next(frames)
    if n_frames == 1:
        return first[None]
    stacked = np.empty((n_frames, *first.shape), first.dtype)
    stacked[0] = first
    for number, frame in enumerate(frames, start=1):
        stacked[number] = frame
    return stacked


def _options(parsed: Parsed, layout: Layout) -> dict[str, Any]:
    """Return what pydicom's decoders want to know."""
    assert parsed.pixels is not None
    offsets = parsed.dataset.get("ExtendedOffsetTable")
    lengths = parsed.dataset.get("ExtendedOffsetTableLengths")
    return {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": layout.n_frames,
        "samples_per_pixel": layout.samples,
        "planar_configuration": integer(parsed.dataset, "PlanarConfiguration") or 0,
        "photometric_interpretation": layout.photometric,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.is_signed),
        "pixel_keyword": parsed.pixels.keyword,
        "pixel_vr": parsed.pixels.vr,
        "allow_excess_frames": False,
        **({"extended_offsets": (offsets, lengths)} if offsets and lengths else {}),
    }


def _without_unused_bits(pixels: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Drop what stands above the stored bits, such as old overlays.

    pydicom does that for all but JPEG 2000 and JPEG-LS.
    """
    unused = pixels.dtype.itemsize * 8 - layout.stored
    if unused <= 0 or layout.samples > 1:
        return pixels
    return (pixels << unused) >> unused


def _gray(colours: NDArray[Any], colour: Colour) -> NDArray[Any]:
    """Return one image in gray: its one channel where all are equal, else its luminance."""
    red, green, blue = (colours[..., n] for n in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    if colour == "reject":
        raise RejectedFile(Code.COLOUR)
    return luminance(colours)
