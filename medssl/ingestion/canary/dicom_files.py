"""DICOM files that hold a planted text wherever the standard has room for one.

Elements are written as raw bytes, so that a value may be one no library would write.
"""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.charset import convert_encodings
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from medssl.ingestion.canary.register import Register

_CHARACTER_SET = "ISO_IR 192"
SIDE = 32  # rows and columns, px
STORAGE = {
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "US": "1.2.840.10008.5.1.4.1.1.3.1",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
    "SR": "1.2.840.10008.5.1.4.1.1.88.11",
    "enhanced MR": "1.2.840.10008.5.1.4.1.1.4.1",
}
_WORDS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NUMBERS = frozenset({"AS", "DA", "DS", "DT", "IS", "TM"})  # text that must spell a number
_SMALLEST_GROUP = 0x0008
_IDENTIFYING = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientAddress", "OtherPatientNames",
    "IssuerOfPatientID", "AccessionNumber", "InstitutionName", "InstitutionAddress", "StationName",
    "ReferringPhysicianName", "OperatorsName", "StudyDescription", "SeriesDescription",
    "ProtocolName", "StudyID", "StudyDate", "SeriesDate", "AcquisitionDate", "StudyTime",
    "AcquisitionDateTime", "DeviceSerialNumber", "ManufacturerModelName", "Manufacturer",
    "BodyPartExamined", "ViewPosition", "Laterality", "PatientSex", "ImageComments",
    "PatientComments", "SoftwareVersions", "StudyInstanceUID", "SeriesInstanceUID",
    "SOPInstanceUID", "FrameOfReferenceUID",
)  # fmt: skip
_MARKUP = {"InstitutionName": "<script>", "Manufacturer": "=cmd|", "ProtocolName": "@SUM("}
_TAGS = {entry[4]: (tag, entry[0]) for tag, entry in DicomDictionary.items()}  # of keywords


def image(
    kind: str, register: Register, name: str, pixels: NDArray[np.uint16], series: str = ""
) -> Dataset:
    """Return a complete object of a kind in `STORAGE` whose study and instance are planted.

    Args:
        kind: Which.
        register: Where plants are remembered.
        name: What the file is, in words.
        pixels: Shape (rows, columns) or (frames, rows, columns), 12 bits.
        series: What its series is, in words; empty: the file alone.
    """
    found = Dataset()
    found.SpecificCharacterSet = _CHARACTER_SET
    found.SOPClassUID, found.Modality = STORAGE[kind], kind.rpartition(" ")[2]
    found.SOPInstanceUID = register.uid(f"SOPInstanceUID of {name}")
    found.StudyInstanceUID = register.uid(f"StudyInstanceUID of {series or name}")
    found.SeriesInstanceUID = register.uid(f"SeriesInstanceUID of {series or name}")
    found.PatientAge, found.InstanceNumber = "041Y", 1
    if kind == "SR":
        found.ValueType, found.CompletionFlag = "TEXT", "COMPLETE"
        found.TextValue = register.word(f"TextValue of {name}")
        return found
    frames = pixels.reshape(-1, *pixels.shape[-2:])
    found.Rows, found.Columns = frames.shape[1:]
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 12, 11
    found.PixelRepresentation = 0
    found.BurnedInAnnotation, found.ImageType = "NO", ["ORIGINAL", "PRIMARY"]
    if pixels.ndim == 3:
        found.NumberOfFrames = len(frames)
    found.add_new("PixelData", "OW", frames.astype("<u2").tobytes())
    return found


def place(found: Dataset, position_mm: float) -> None:
    """Make it a slice of an axial series; lengths in mm."""
    found.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    found.ImagePositionPatient = [-16, -16, position_mm]
    found.PixelSpacing, found.SliceThickness = [1, 1], 5
    found.RescaleSlope, found.RescaleIntercept = 1, -1024


def add_functional_groups(found: Dataset, register: Register, name: str) -> None:
    """Give an enhanced image of several frames its groups, with a plant in each frame."""
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1, 1], 5
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    frames = []
    for number in range(int(found.NumberOfFrames)):
        position, content, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-16, -16, 5 * number]
        content.DimensionIndexValues = [1, number + 1]
        content.StackID, content.InStackPositionNumber = "1", number + 1
        content.FrameComments = register.word(f"FrameComments of frame {number + 1} of {name}")
        content.FrameLabel = register.word(f"FrameLabel of frame {number + 1} of {name}")
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
        frames.append(frame)
    found.SharedFunctionalGroupsSequence = Sequence([shared])
    found.PerFrameFunctionalGroupsSequence = Sequence(frames)


def plant_identity(found: Dataset, register: Register, name: str) -> None:
    """Plant a text in what commonly tells a person, a place or a time."""
    for keyword in _IDENTIFYING:
        tag, vr = _TAGS[keyword]
        if keyword not in found:
            text = _text(vr, register, f"{keyword} of {name}", keyword)
            _put(found, tag, vr, f"{_MARKUP.get(keyword, '')}{text}")


def plant_everywhere(found: Dataset, register: Register, name: str) -> None:
    """Plant a text in every text element of the dictionary that is not there yet, and beyond.

    That is: sequences two deep, private elements and their creator, overlays, elements of unknown
    VR and the padding behind the pixels.
    """
    for tag, vr, keyword in _text_elements(found):
        if vr not in {"AS", "DS", "IS"}:
            where = f"{keyword} ({tag >> 16:04x},{tag & 0xFFFF:04x}) of {name}"
            _put(found, tag, vr, _text(vr, register, where, keyword))
    inner, outer = Dataset(), Dataset()
    plant_identity(inner, register, f"a sequence in a sequence of {name}")
    plant_identity(outer, register, f"a sequence of {name}")
    outer.RequestedProcedureCodeSequence = [inner]
    found.RequestAttributesSequence = Sequence([outer])
    found.add_new(0x00110010, "LO", register.word(f"the private creator of {name}"))
    for number, vr in enumerate((*sorted(_WORDS), "UN"), start=0x1001):
        word = register.word(f"a private element of VR {vr} of {name}")
        _put(found, 0x00110000 + number, vr, word)
    for element, vr in ((0x0022, "LO"), (0x1500, "LO"), (0x4000, "LT")):
        _put(
            found,
            0x60000000 + element,
            vr,
            register.word(f"overlay element {element:04x} of {name}"),
        )
    _put(found, 0x00130011, "UN", register.word(f"an element of unknown VR of {name}"))
    _put(found, 0xFFFCFFFC, "OB", register.word(f"the padding behind {name}"))


def break_numbers(found: Dataset, register: Register, name: str) -> None:
    """Plant words where numbers and dates should stand, in all elements that are not there yet."""
    for tag, vr, keyword in _text_elements(found):
        if vr in _NUMBERS:
            _put(found, tag, vr, register.word(f"a broken {keyword} of {name}"))


def break_number(found: Dataset, keyword: str, register: Register, name: str) -> None:
    """Plant a word where one number that the reader needs should stand."""
    tag, vr = _TAGS[keyword]
    _put(found, tag, vr, register.word(f"a broken {keyword} of {name}"))


def save(
    found: Dataset,
    path: Path,
    register: Register,
    name: str,
    *,
    syntax: str = ExplicitVRLittleEndian,
) -> None:
    """Write a DICOM file with planted texts in its preamble and its file meta information."""
    meta = found.file_meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = found.SOPClassUID
    meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    meta.ImplementationClassUID = register.uid(f"ImplementationClassUID of {name}")
    meta.ImplementationVersionName = register.word(f"ImplementationVersionName of {name}")
    for keyword in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle"):
        setattr(meta, keyword, register.word(f"{keyword} of {name}"))
    meta.PrivateInformationCreatorUID = register.uid(f"PrivateInformationCreatorUID of {name}")
    meta.PrivateInformation = register.word(f"PrivateInformation of {name}").encode()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax == RLELossless:
        found.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax == JPEGBaseline8Bit:
        _compress_jpeg(found, register, name)
    elif syntax == ExplicitVRBigEndian:
        found["PixelData"].value = np.frombuffer(found.PixelData, "<u2").astype(">u2").tobytes()
    meta.TransferSyntaxUID = syntax
    found.preamble = register.word(f"the preamble of {name}").encode().ljust(128, b"\0")
    path.parent.mkdir(parents=True, exist_ok=True)
    is_implicit, is_little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    same = convert_encodings(_CHARACTER_SET)
    found.set_original_encoding(is_implicit, is_little, same)  # raw bytes stay what they are
    found.save_as(path, enforce_file_format=True)


def broken(register: Register, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield damaged copies of a file in explicit VR, each with what is wrong with it.

    Every one is damaged at a planted value, which a warning or a traceback would quote.
    """
    name = content.index(b"\x10\0\x10\0PN")  # group, element, VR and two bytes of length
    word = register.word("the value behind a bad VR").encode()
    yield "a VR that does not exist", content[: name + 4] + b"QQ" + content[name + 6 :]
    yield "a length beyond the end", content[: name + 6] + b"\xff\x7f" + word
    middle = content.index(b"\x40\0\x75\x02SQ") + 40
    yield "a sequence cut short", content[:middle]
    yield "nothing but text behind the prefix", bytes(128) + b"DICM" + word * 9
    charset = content.index(_CHARACTER_SET.encode())
    odd = register.word("an unknown character set").encode()[:10]
    yield "an unknown character set", content[:charset] + odd + content[charset + 10 :]
    half = content.index(b"\xe0\x7f\x10\0OW") + 600
    yield "pixels cut short", content[:half]


def _text_elements(found: Dataset) -> Iterator[tuple[int, str, str]]:
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        is_text = vr in _WORDS | _NUMBERS | {"UI"}
        if is_text and keyword and tag >> 16 >= _SMALLEST_GROUP and BaseTag(tag) not in found:
            yield tag, vr, keyword


def _text(vr: str, register: Register, where: str, keyword: str) -> str:
    """Return what is planted; days and times are shared by all files, as a year is short."""
    makers: dict[str, Callable[[str], str]] = {
        "UI": register.uid, "DA": register.day, "TM": register.time, "DT": register.moment
    }  # fmt: skip
    if vr in {"DA", "TM", "DT"}:
        return makers[vr](f"{keyword} of any DICOM file")
    return makers.get(vr, register.word)(where)


def _put(found: Dataset, tag: int, vr: str, text: str) -> None:
    value = text.encode()
    value += (b"\0" if vr in {"UI", "UN", "OB"} else b" ") * (len(value) % 2)
    found[BaseTag(tag)] = RawDataElement(
        BaseTag(tag), vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True
    )


def _compress_jpeg(found: Dataset, register: Register, name: str) -> None:
    """Replace the pixels by a JPEG image of 8 bits that holds a planted comment."""
    pixels = np.frombuffer(found.PixelData, "<u2").reshape(found.Rows, found.Columns)
    stream = BytesIO()
    comment = register.word(f"the comment in the JPEG image of {name}")
    Image.fromarray((pixels >> 4).astype(np.uint8)).save(stream, "JPEG", comment=comment.encode())
    found.BitsAllocated, found.BitsStored, found.HighBit = 8, 8, 7
    found.add_new("PixelData", "OB", encapsulate([stream.getvalue()]))
    found["PixelData"].is_undefined_length = True
