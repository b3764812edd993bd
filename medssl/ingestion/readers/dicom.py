"""DICOM: one gray image per file, with position, intensity scale and identity from its tags."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from medssl.ingestion import vocabulary
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.geometry import Plane, lps_to_ras, triple
from medssl.ingestion.header import Facts, Frame, Header, Identity, Unit

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SKIPPED_CLASSES = (  # prefix of the SOP class UID, and what such objects are
    ("1.2.840.10008.1.3.10", Code.SKIPPED_DICOMDIR),
    (f"{_STORAGE}88.", Code.SKIPPED_REPORT),
    (f"{_STORAGE}11.", Code.SKIPPED_PRESENTATION),
    (f"{_STORAGE}66", Code.SKIPPED_SEGMENTATION),
    (f"{_STORAGE}481.", Code.SKIPPED_RADIOTHERAPY),
    (f"{_STORAGE}104.", Code.SKIPPED_DOCUMENT),
)
_SECONDARY_CAPTURE = f"{_STORAGE}7"
_NOT_A_SCANNER = frozenset({None, vocabulary.OTHER, "SC", "XC"})
_GRAY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"})
_ALWAYS_LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
_MAYBE_LOSSY = frozenset({JPEG2000, HTJ2K})
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT".split()
)
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate",
    "SeriesDate", "AcquisitionDate", "PatientID", "IssuerOfPatientID", "PatientBirthDate",
    "PatientAge", "PatientSex", "InstitutionName", "Modality", "BodyPartExamined", "ViewPosition",
    "Laterality", "ImageLaterality", "Manufacturer", "ManufacturerModelName", "KVP", "EchoTime",
    "RepetitionTime", "DiffusionBValue", "ImageType", "BurnedInAnnotation", "InstanceNumber",
    "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "EchoNumbers",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "Units", "LossyImageCompression",
    "DirectoryRecordSequence", "NumberOfSeriesRelatedInstances",
]  # fmt: skip


def recognises(head: bytes) -> bool:
    """See `_contract.py`; files without preamble start with group 0002 or 0008."""
    if head[128:132] == b"DICM":
        return True
    group, element = head[:2], head[2:4]
    if group in {b"\x02\0", b"\x08\0"}:
        length = int.from_bytes(head[4:8], "little")
        return element < b"\xff" and (head[4:6] in _VRS or (0 < length < 256 and head[3] == 0))
    return group == b"\0\x08" and head[4:6] in _VRS  # big endian


def read_header(path: Path) -> Header:
    """See `_contract.py`."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=_TAGS)
    _check_object(dataset)
    _check_image(dataset)
    syntax = _transfer_syntax(dataset)
    modality = vocabulary.word(_text(dataset, "Modality"), vocabulary.MODALITIES)
    plane = _plane(dataset)
    lut = _lut(dataset)
    bits, signed = _bits(dataset)
    unit = _unit(dataset, modality)
    slope, intercept = (1.0, 0.0) if lut is not None else _rescale(dataset)
    return Header(
        reader="dicom",
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        frames=(
            Frame(
                plane=plane,
                slope=slope,
                intercept=intercept,
                instance=_integer(dataset, "InstanceNumber"),
                phase=_phase(dataset),
            ),
        ),
        bits=bits if lut is None else _lut_bits(lut),
        signed=signed and lut is None,
        inverted=dataset.PhotometricInterpretation == "MONOCHROME1" and unit == "arbitrary",
        padding=_padding(dataset, signed=signed) if lut is None else None,
        unit=unit,
        spacing=_spacing(dataset),
        thickness=_positive(dataset, "SpacingBetweenSlices")
        or _positive(dataset, "SliceThickness"),
        identity=_identity(dataset),
        facts=_facts(dataset, modality, syntax),
        kind=_kind(dataset, modality),
        flags=_flags(dataset, modality, has_plane=plane is not None),
    )


def read_pixels(path: Path, header: Header) -> NDArray[Any]:
    """See `_contract.py`; a Modality LUT sequence has been applied."""
    dataset = pydicom.dcmread(path, force=True)
    dataset.file_meta.TransferSyntaxUID = _transfer_syntax(dataset)
    _check_length(dataset)
    pixels = pixel_array(dataset, allow_excess_frames=False)
    if pixels.ndim == 3 and pixels.shape[-1] == 3:
        pixels = _gray(pixels)
    if _lut(dataset) is not None:
        pixels = apply_modality_lut(pixels, dataset)
    return np.asarray(pixels).reshape(1, header.rows, header.columns)


def _check_object(dataset: Dataset) -> None:
    """Reject what is no image of a patient."""
    sop_class = _text(dataset, "SOPClassUID") or str(
        dataset.file_meta.get("MediaStorageSOPClassUID", "")
    )
    if "DirectoryRecordSequence" in dataset:
        raise RejectedFile(Code.SKIPPED_DICOMDIR)
    for prefix, code in _SKIPPED_CLASSES:
        if sop_class.startswith(prefix):
            raise RejectedFile(code)
    if not sop_class and "Rows" not in dataset:
        raise RejectedFile(Code.BAD_HEADER)
    if "Rows" not in dataset or "Columns" not in dataset:
        known = UID(sop_class).name != sop_class
        raise RejectedFile(Code.SKIPPED_NO_PIXELS if known else Code.BAD_HEADER)
    modality = vocabulary.word(_text(dataset, "Modality"), vocabulary.MODALITIES)
    is_capture = sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}.")
    if is_capture and modality in _NOT_A_SCANNER:
        raise RejectedFile(Code.SKIPPED_SECONDARY_CAPTURE)


def _check_image(dataset: Dataset) -> None:
    """Reject images that are not one gray picture."""
    if _text(dataset, "BurnedInAnnotation").upper() == "YES":
        raise RejectedFile(Code.BURNED_IN)
    if (_integer(dataset, "NumberOfFrames") or 1) > 1:
        raise RejectedFile(Code.MULTI_FRAME)
    if "MOSAIC" in _words(dataset, "ImageType"):
        raise RejectedFile(Code.MOSAIC)
    photometric = _text(dataset, "PhotometricInterpretation")
    if photometric not in _GRAY | _COLOUR:
        raise RejectedFile(Code.COLOUR if photometric else Code.BAD_HEADER)
    if int(dataset.Rows) < 1 or int(dataset.Columns) < 1:
        raise RejectedFile(Code.BAD_HEADER)
    if int(dataset.get("BitsAllocated") or 0) not in {8, 16, 32}:
        raise RejectedFile(Code.UNSUPPORTED_PIXELS)


def _transfer_syntax(dataset: Dataset) -> UID:
    """Return the transfer syntax; NO_DECODER where no installed library reads it."""
    named = dataset.file_meta.get("TransferSyntaxUID")
    if named is None:
        implicit, little = dataset.original_encoding
        if implicit:
            return ImplicitVRLittleEndian
        return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    try:
        available = get_decoder(UID(named)).is_available
    except NotImplementedError:
        available = False
    is_deep_jpeg = named == JPEGExtended12Bit and int(dataset.get("BitsAllocated") or 0) > 8
    if not available or is_deep_jpeg:  # Pillow reads JPEG of 8 bits only
        raise RejectedFile(Code.NO_DECODER)
    return UID(named)


def _check_length(dataset: Dataset) -> None:
    """Reject pixels that are absent, or shorter than Rows x Columns asks for."""
    if "PixelData" not in dataset:
        raise RejectedFile(Code.TRUNCATED)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    samples = int(dataset.get("SamplesPerPixel") or 1)
    expected = dataset.Rows * dataset.Columns * samples * dataset.BitsAllocated // 8
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        expected = expected * 2 // 3
    if len(dataset.PixelData) < expected:
        raise RejectedFile(Code.TRUNCATED)


def _gray(pixels: NDArray[Any]) -> NDArray[Any]:
    if not (
        np.array_equal(pixels[..., 0], pixels[..., 1])
        and np.array_equal(pixels[..., 0], pixels[..., 2])
    ):
        raise RejectedFile(Code.COLOUR)
    return pixels[..., 0]


def _bits(dataset: Dataset) -> tuple[int, bool]:
    allocated = int(dataset.BitsAllocated)
    stored = _integer(dataset, "BitsStored") or allocated
    return min(stored, allocated), _integer(dataset, "PixelRepresentation") == 1


def _lut(dataset: Dataset) -> Dataset | None:
    sequence = dataset.get("ModalityLUTSequence")
    return sequence[0] if sequence else None


def _lut_bits(lut: Dataset) -> int:
    bits = int(lut.LUTDescriptor[2])
    return bits if 0 < bits <= 16 else 16


def _rescale(dataset: Dataset) -> tuple[float, float]:
    """Return slope and intercept; one that is given while the other is not still counts."""
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    values = (
        1.0 if slope in {None, ""} else float(slope),
        0.0 if intercept in {None, ""} else float(intercept),
    )
    if not all(math.isfinite(value) for value in values) or values[0] == 0:
        raise RejectedFile(Code.BAD_HEADER)
    return values


def _unit(dataset: Dataset, modality: str | None) -> Unit:
    if modality == "CT":
        return "HU"
    return "BQML" if _text(dataset, "Units") == "BQML" else "arbitrary"


def _padding(dataset: Dataset, *, signed: bool) -> tuple[int, int] | None:
    first = _integer(dataset, "PixelPaddingValue")
    if first is None:
        return None
    second = _integer(dataset, "PixelPaddingRangeLimit")
    ends = (first, first if second is None else second)
    if signed:  # often written as unsigned: 63536 means -2000
        ends = tuple(value - 65536 if value >= 32768 else value for value in ends)  # type: ignore[assignment]
    return min(ends), max(ends)


def _plane(dataset: Dataset) -> Plane | None:
    origin = _numbers(dataset, "ImagePositionPatient", 3)
    directions = _numbers(dataset, "ImageOrientationPatient", 6)
    spacing = _numbers(dataset, "PixelSpacing", 2)
    if origin is None or directions is None or spacing is None or min(spacing) <= 0:
        return None
    along_row, along_column = np.array(directions[:3]), np.array(directions[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if min(lengths) < 0.9 or abs(float(along_row @ along_column)) > 0.01:
        return None
    return Plane(
        triple(lps_to_ras(origin)),
        triple(lps_to_ras(along_row / lengths[0] * spacing[1])),
        triple(lps_to_ras(along_column / lengths[1] * spacing[0])),
    )


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = _numbers(dataset, name, 2)
        if values is not None and min(values) > 0:
            return values[0], values[1]
    return None


def _phase(dataset: Dataset) -> tuple[float, ...]:
    names = ("TemporalPositionIdentifier", "DiffusionBValue", "AcquisitionNumber", "TriggerTime")
    values = (_number(dataset, name) for name in names)
    return tuple(-1.0 if value is None else value for value in values)


def _kind(dataset: Dataset, modality: str | None) -> tuple[str, ...]:
    image_type = _words(dataset, "ImageType")
    echo = _number(dataset, "EchoNumbers")
    return (
        str(modality),
        "localizer" if {"LOCALIZER", "SCOUT"} & set(image_type) else "",
        next((word for word in image_type[2:] if word in {"M", "P", "R", "I"}), ""),
        "" if echo is None else f"{echo:g}",
    )


def _flags(dataset: Dataset, modality: str | None, *, has_plane: bool) -> tuple[str, ...]:
    flags = []
    image_type = _words(dataset, "ImageType")
    if {"LOCALIZER", "SCOUT"} & set(image_type):
        flags.append("localizer")
    if image_type[:1] == ("DERIVED",):
        flags.append("derived")
    if _text(dataset, "SOPClassUID").startswith(_SECONDARY_CAPTURE):
        flags.append("secondary_capture")
    if modality == "CT" and "RescaleIntercept" not in dataset and _lut(dataset) is None:
        flags.append("no_rescale")
    if not has_plane and "PixelSpacing" not in dataset and "ImagerPixelSpacing" in dataset:
        flags.append("detector_spacing")
    return tuple(flags)


def _identity(dataset: Dataset) -> Identity:
    dates = (_text(dataset, name) for name in ("StudyDate", "SeriesDate", "AcquisitionDate"))
    return Identity(
        patient=_text(dataset, "PatientID"),
        issuer=_text(dataset, "IssuerOfPatientID"),
        institution=_text(dataset, "InstitutionName"),
        study=_text(dataset, "StudyInstanceUID"),
        series=_text(dataset, "SeriesInstanceUID"),
        image=_text(dataset, "SOPInstanceUID"),
        date=next((text for text in dates if vocabulary.parse_date(text)), ""),
    )


def _facts(dataset: Dataset, modality: str | None, syntax: UID) -> Facts:
    side = _text(dataset, "ImageLaterality") or _text(dataset, "Laterality")
    age = vocabulary.age_band(_text(dataset, "PatientAge")) or vocabulary.age_band_between(
        _text(dataset, "PatientBirthDate"), _text(dataset, "StudyDate")
    )
    return Facts(
        modality=modality,
        body_part=vocabulary.word(_text(dataset, "BodyPartExamined"), vocabulary.BODY_PARTS),
        view=vocabulary.word(_text(dataset, "ViewPosition"), vocabulary.VIEWS),
        laterality=vocabulary.word(side, vocabulary.LATERALITIES),
        manufacturer=vocabulary.manufacturer(_text(dataset, "Manufacturer")),
        model=vocabulary.model(_text(dataset, "ManufacturerModelName")),
        kvp=_positive(dataset, "KVP"),
        te_ms=_positive(dataset, "EchoTime"),
        tr_ms=_positive(dataset, "RepetitionTime"),
        b_value=_number(dataset, "DiffusionBValue"),
        age_band=age,
        sex=vocabulary.word(_text(dataset, "PatientSex"), vocabulary.SEXES),
        lossy=_is_lossy(_text(dataset, "LossyImageCompression"), syntax),
        transfer_syntax=str(syntax),  # one of the standard's, or there would be no decoder
    )


def _is_lossy(told: str, syntax: UID) -> bool:
    if told == "01" or syntax in _ALWAYS_LOSSY:
        return True
    return syntax in _MAYBE_LOSSY and told != "00"


def _described(read: Callable[[], Any]) -> Any:  # noqa: ANN401 - pydicom values are untyped
    """Return a descriptive value, or None where its text is malformed."""
    try:
        return read()
    except (ValueError, TypeError, OverflowError, AttributeError, NotImplementedError):
        return None


def _text(dataset: Dataset, name: str) -> str:
    value = _described(lambda: dataset.get(name))
    return "" if value is None else str(value).strip(" \0")


def _words(dataset: Dataset, name: str) -> tuple[str, ...]:
    value = _described(lambda: dataset.get(name))
    if value is None:
        return ()
    parts = [value] if isinstance(value, str) else list(value)
    return tuple(str(part).strip().upper() for part in parts)


def _number(dataset: Dataset, name: str) -> float | None:
    value = _described(lambda: float(dataset.get(name)))
    return float(value) if value is not None and math.isfinite(value) else None


def _positive(dataset: Dataset, name: str) -> float | None:
    value = _number(dataset, name)
    return value if value is not None and value > 0 else None


def _integer(dataset: Dataset, name: str) -> int | None:
    value = _described(lambda: int(dataset.get(name)))
    return None if value is None else int(value)


def _numbers(dataset: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    values = _described(lambda: tuple(float(part) for part in dataset.get(name)))
    if values is None or len(values) != count or not all(map(math.isfinite, values)):
        return None
    return tuple(values)
