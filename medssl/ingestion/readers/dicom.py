"""DICOM: the images of a file, with position, intensity scale and identity from its tags."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from medssl.ingestion import roles, streams
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.dicom import (
    codecs,
    facts,
    framing,
    layouts,
    mosaic,
    palette,
    parsing,
    pixel_data,
    presentation,
)
from medssl.ingestion.dicom.elements import positive, text, words
from medssl.ingestion.dicom.layouts import Layout
from medssl.ingestion.dicom.mosaic import Mosaic
from medssl.ingestion.dicom.parsing import Parsed
from medssl.ingestion.header import PLAIN, Frame, Header, Reading

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SKIPPED_CLASSES = (  # prefix of the SOP class UID, and what such objects are
    ("1.2.840.10008.1.3.10", Code.SKIPPED_DICOMDIR),
    (f"{_STORAGE}88.", Code.SKIPPED_REPORT),
    (f"{_STORAGE}11.", Code.SKIPPED_PRESENTATION),
    (f"{_STORAGE}66", Code.SKIPPED_SEGMENTATION),
    (f"{_STORAGE}481.", Code.SKIPPED_RADIOTHERAPY),
    (f"{_STORAGE}104.", Code.SKIPPED_DOCUMENT),
)
_MAKERS = (  # roots of private SOP classes: what has no pixels is spectra, raw data, notes
    "1.3.12.2.1107.", "1.3.46.670589.", "1.2.840.113619.", "1.2.392.200036.", "1.2.276.0.7230010.",
)  # fmt: skip
_PIXEL_NAMES = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "PixelRepresentation",
    "ModalityLUTSequence", "ImageType", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "Modality", "VOILUTSequence", "PresentationIntentType", "SOPClassUID", "RescaleSlope",
    "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit",
    *(
        f"{segmented}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
)  # fmt: skip
_NAMES = (
    *_PIXEL_NAMES, "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "StudyDate", "SeriesDate", "AcquisitionDate", "PatientID",
    "IssuerOfPatientID", "PatientBirthDate", "PatientAge", "PatientSex", "InstitutionName",
    "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality",
    "Manufacturer", "ManufacturerModelName", "KVP", "EchoTime", "RepetitionTime",
    "DiffusionBValue", "DiffusionGradientOrientation",
    "BurnedInAnnotation", "ConversionType", "SeriesDescription", "ProtocolName",
    "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime",
    "AcquisitionTime", "ContentTime",
    "EchoNumbers", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices", "RescaleType", "Units",
    "LossyImageCompression", "DirectoryRecordSequence", "TotalPixelMatrixRows",
    "EnergyWindowVector", "DetectorVector", "RRIntervalVector", "TimeSlotVector", "SliceVector",
    framing.SHARED, framing.EACH,
)  # fmt: skip


def _tags(names: Sequence[str]) -> list[int]:
    return [tag for name in names if (tag := tag_for_keyword(name)) is not None]


_HEADER_TAGS, _PIXEL_TAGS = _tags(_NAMES), _tags(_PIXEL_NAMES)


def recognises(head: bytes) -> bool:
    """See `_contract.py`; files without preamble start with group 0002 or 0008."""
    if head[128:132] == b"DICM":
        return True
    group, element = head[:2], head[2:4]
    if group in {b"\x02\0", b"\x08\0"}:
        length = int.from_bytes(head[4:8], "little")
        is_vr = head[4:6] in parsing.VRS
        return element < b"\xff" and (is_vr or (0 < length < 256 and head[3] == 0))
    return group == b"\0\x08" and head[4:6] in parsing.VRS  # big endian


def read_header(path: Path, how: Reading = PLAIN) -> Header:
    """See `_contract.py`; the slices of a mosaic are frames."""
    with streams.opened(path) as stream:
        parsed = parsing.parse(stream, _HEADER_TAGS)
        _check_object(parsed)
        layout = layouts.layout(parsed)
        codecs.plugin(parsed.syntax, layout.stored)
        layouts.check_length(parsed, layout)
        header = _scaled(_header(parsed, layout), parsed, layout, how)
        if not _is_mosaic(parsed.dataset, layout):
            return header
        shape, plane = (layout.rows, layout.columns), header.frames[0].plane
        return _cut_up(header, mosaic.look(stream, shape, parsed.dataset, plane))


def read_pixels(path: Path, header: Header, how: Reading = PLAIN) -> NDArray[Any]:
    """See `_contract.py`; palette, Modality LUT and VOI LUT are applied, and a mosaic cut up."""
    with streams.opened(path) as stream:
        parsed = parsing.parse(stream, _PIXEL_TAGS)
        layout = layouts.layout(parsed)
        pixels = pixel_data.decode(parsed, layout, how.colour)
    if _is_mosaic(parsed.dataset, layout):
        return mosaic.untiled(pixels[0], len(header.frames), header.rows, header.columns)
    return pixels


def _is_mosaic(dataset: Dataset, layout: Layout) -> bool:
    return layout.n_frames == 1 and "MOSAIC" in words(dataset, "ImageType")


def _check_object(parsed: Parsed) -> None:
    """Reject what is no image of a patient.

    What `sop_classes` does not list becomes a role, by which it is left out unless it is asked for.
    A file that does not tell its class is judged by its modality and its other elements.
    """
    dataset, sop_class = parsed.dataset, parsed.sop_class
    if "DirectoryRecordSequence" in dataset:
        raise RejectedFile(Code.SKIPPED_DICOMDIR)
    for prefix, code in _SKIPPED_CLASSES:
        if sop_class.startswith(prefix):
            raise RejectedFile(code)
    if not sop_class and (parsed.is_bare or "Rows" not in dataset):
        raise RejectedFile(Code.BAD_HEADER)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise RejectedFile(_without_pixels(sop_class))
    if "TotalPixelMatrixRows" in dataset:  # frames are tiles of a slide
        raise RejectedFile(Code.MULTI_FRAME)


def _without_pixels(sop_class: str) -> Code:
    """Return what a file without rows and columns is: no image, or an image that is damaged."""
    name = UID(sop_class).name
    is_other = name != sop_class and "Image Storage" not in name
    is_known = is_other or sop_class.startswith(_MAKERS)
    return Code.SKIPPED_NO_PIXELS if is_known else Code.BAD_HEADER


def _header(parsed: Parsed, layout: Layout) -> Header:
    """Return the header of a file as if its pixels came as they are stored."""
    dataset = parsed.dataset
    frames = framing.frames(dataset, layout)
    settings = framing.settings(dataset)
    has_plane = frames[0].plane is not None
    tags = facts.role_tags(parsed, has_plane=has_plane)
    found = roles.of(tags)
    rescale_type = text(settings, "RescaleType")
    unit = facts.unit(dataset, rescale_type, is_coloured=layout.is_coloured)
    return Header(
        reader="dicom",
        rows=layout.rows,
        columns=layout.columns,
        frames=frames,
        bits=None if layout.is_float else layout.stored,
        signed=layout.is_signed and not layout.is_float,
        inverted=layout.photometric == "MONOCHROME1" and unit == "arbitrary",
        unit=unit,
        spacing=framing.spacing(settings) or framing.spacing(dataset),
        thickness=positive(settings, "SpacingBetweenSlices")
        or positive(settings, "SliceThickness"),
        identity=facts.identity(dataset),
        facts=facts.facts(parsed, settings, framing.b_value(frames)),
        kind=facts.kind(dataset, has_plane=has_plane),
        roles=found,
        flags=facts.flags(dataset, tags, found, unit),
    )


def _scaled(header: Header, parsed: Parsed, layout: Layout, how: Reading) -> Header:
    """Return the header of the pixels as they are read."""
    dataset = parsed.dataset
    if layout.is_coloured:
        return _coloured(header, dataset, layout, how)
    shown = presentation.voi_lut(dataset, parsed.sop_class, layout)
    if shown is not None:
        flags = (*header.flags, presentation.VOI_LUT)
        return replace(_unscaled(header), bits=shown.bits, signed=False, flags=flags)
    lut = pixel_data.lut(dataset)
    if lut is not None:
        return replace(_unscaled(header), bits=pixel_data.lut_bits(lut), signed=False)
    if layout.is_float and header.inverted:
        raise RejectedFile(Code.UNSUPPORTED_PIXELS)
    padding = pixel_data.padding(dataset, is_signed=layout.is_signed)
    return header if layout.is_float else replace(header, padding=padding)


def _unscaled(header: Header) -> Header:
    frames = tuple(replace(frame, slope=1.0, intercept=0.0) for frame in header.frames)
    return replace(header, frames=frames)


def _coloured(header: Header, dataset: Dataset, layout: Layout, how: Reading) -> Header:
    """Return the header of colours, for which rescaling to a unit has no meaning."""
    header = _unscaled(header)
    bits = palette.bits(dataset) if layout.is_palette else layout.stored
    if how.colour != "keep":
        return replace(header, bits=bits, signed=False)
    if not layout.is_palette and layout.allocated > 8:
        raise RejectedFile(Code.UNSUPPORTED_PIXELS)
    return replace(header, bits=8, signed=False, channels=3)


def _cut_up(header: Header, mosaic: Mosaic) -> Header:
    whole = header.frames[0]
    planes = mosaic.planes or (None,) * mosaic.n_slices
    frames = tuple(
        Frame(
            plane=plane,
            slope=whole.slope,
            intercept=whole.intercept,
            instance=whole.instance if plane else number,
            phase=whole.phase,
        )
        for number, plane in enumerate(planes, start=1)
    )
    return replace(header, rows=mosaic.rows, columns=mosaic.columns, frames=frames)
