import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medssl.ingestion import sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import Reading
from medssl.ingestion.readers import dicom

PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60
OBLIQUE = [0.8, 0.6, 0, 0, 0, -1]


def test_pixels_come_as_stored(write_dicom):
    path = write_dicom("a", PIXELS, BitsStored=12, RescaleSlope=2, RescaleIntercept=-5)
    header = dicom.read_header(path)
    assert np.array_equal(dicom.read_pixels(path, header), PIXELS[None])
    assert (header.rows, header.columns, header.bits, header.signed) == (8, 8, 12, False)
    assert (header.frames[0].slope, header.frames[0].intercept) == (2, -5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32])
def test_all_integer_types_are_read(write_dicom, dtype):
    pixels = np.array([[0, 100], [-100 if np.dtype(dtype).kind == "i" else 90, 1]], dtype=dtype)
    path = write_dicom("a", pixels)
    header = dicom.read_header(path)
    assert header.signed == (np.dtype(dtype).kind == "i")
    assert np.array_equal(dicom.read_pixels(path, header)[0], pixels)


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda s: s.name
)
def test_lossless_codecs_give_the_same_pixels(tmp_path, write_dicom, syntax):
    import pydicom

    large = np.kron(PIXELS, np.ones((8, 8), dtype=np.uint16))
    source = pydicom.dcmread(write_dicom("a", large, BitsStored=12))
    source.compress(syntax)
    source.save_as(tmp_path / "b")
    header = dicom.read_header(tmp_path / "b")
    assert np.array_equal(dicom.read_pixels(tmp_path / "b", header)[0], large)
    assert header.facts.transfer_syntax == syntax
    assert header.facts.lossy is False


def test_near_lossless_is_lossy(tmp_path, write_dicom):
    import pydicom

    source = pydicom.dcmread(write_dicom("a", PIXELS, BitsStored=12))
    source.compress(JPEGLSNearLossless, jls_error=2)
    source.save_as(tmp_path / "b")
    header = dicom.read_header(tmp_path / "b")
    assert header.facts.lossy is True
    difference = dicom.read_pixels(tmp_path / "b", header)[0].astype(int) - PIXELS
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_files_without_preamble_are_recognised_and_read(tmp_path, syntax):
    from .conftest import dataset

    little = syntax != ExplicitVRBigEndian
    made = dataset(PIXELS if little else PIXELS.astype(">u2"))
    made.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "bare"
    made.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    body = content[content.index(b"\x08\0\x16\0" if little else b"\0\x08\0\x16") :]
    path.write_bytes(body)
    assert dicom.recognises(body[:1024])
    header = sniff.read_header(path)
    assert not isinstance(header, Code)
    assert np.array_equal(dicom.read_pixels(path, header)[0], PIXELS)


@pytest.mark.parametrize("head", [b"", b"\x08\0", b"\x08\0\x05\0zz", b"II*\0" + bytes(200),
                                  b"\x02\0\xff\xff\xff\xff\xff\xff"])  # fmt: skip
def test_other_content_is_not_recognised(head):
    assert not dicom.recognises(head)


def test_the_plane_is_in_ras_and_its_steps_have_the_pixel_spacing(write_dicom):
    path = write_dicom(
        "a", PIXELS, ImagePositionPatient=[10, 20, 30], ImageOrientationPatient=OBLIQUE,
        PixelSpacing=[2, 3],
    )  # fmt: skip
    plane = dicom.read_header(path).frames[0].plane
    assert plane.origin == (-10, -20, 30)
    assert plane.column_step == pytest.approx((-2.4, -1.8, 0))
    assert plane.row_step == pytest.approx((0, 0, -2))


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0], "ImagePositionPatient": [0, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0], "ImagePositionPatient": [0, 0, 0]},
        {"ImagePositionPatient": [0, 0, 0]},
    ],
)
def test_an_incomplete_position_is_no_position(write_dicom, tags):
    header = dicom.read_header(write_dicom("a", PIXELS, PixelSpacing=[1, 2], **tags))
    assert header.frames[0].plane is None
    assert header.spacing == (1, 2)


def test_detector_spacing_is_taken_and_flagged(write_dicom):
    header = dicom.read_header(write_dicom("a", PIXELS, ImagerPixelSpacing=[0.1, 0.2]))
    assert header.spacing == (0.1, 0.2)
    assert "detector_spacing" in header.flags


def test_a_modality_lut_is_applied(write_dicom):
    lut = Dataset()
    lut.LUTDescriptor = [4, 0, 16]
    lut["LUTDescriptor"].VR = "US"
    lut.ModalityLUTType = "US"
    lut.add_new("LUTData", "OW", struct.pack("<4H", 10, 20, 40, 1000))
    path = write_dicom(
        "a", np.array([[0, 1], [2, 3]], dtype=np.uint8), ModalityLUTSequence=Sequence([lut])
    )
    header = dicom.read_header(path)
    assert dicom.read_pixels(path, header)[0].tolist() == [[10, 20], [40, 1000]]
    assert (header.bits, header.signed, header.frames[0].slope) == (16, False, 1)


def test_monochrome1_is_told_except_where_values_are_hounsfield_units(write_dicom):
    tags = {"PhotometricInterpretation": "MONOCHROME1"}
    assert dicom.read_header(write_dicom("a", PIXELS, Modality="CR", **tags)).inverted
    ct = dicom.read_header(write_dicom("b", PIXELS, Modality="CT", **tags))
    assert not ct.inverted
    assert ct.unit == "HU"
    assert "no_rescale" in ct.flags


def test_padding_written_as_unsigned_is_read_as_the_pixels_are(write_dicom):
    path = write_dicom("a", PIXELS.astype(np.int16), PixelPaddingValue=-2000)
    content = path.read_bytes()
    assert content.count(b"\x28\0\x20\x01SS") == 1
    path.write_bytes(content.replace(b"\x28\0\x20\x01SS", b"\x28\0\x20\x01US"))
    assert dicom.read_header(path).padding == (-2000, -2000)


def test_gray_stored_as_colour_is_read_and_colour_is_not(write_dicom):
    gray = np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4, 1), 3, axis=2)
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    path = write_dicom("a", gray, **tags)
    assert np.array_equal(dicom.read_pixels(path, dicom.read_header(path))[0], gray[..., 0])
    gray[0, 0, 0] = 99
    path = write_dicom("b", gray, **tags)
    with pytest.raises(RejectedFile, match="COLOUR"):
        dicom.read_pixels(path, dicom.read_header(path))


@pytest.mark.parametrize("colour", ["reject", "gray", "keep"])
@pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR"])
def test_colours_of_a_ct_have_no_unit_and_no_scale(write_dicom, colour, photometric):
    samples = 3 if photometric == "RGB" else 1
    pixels = np.zeros((4, 4, 3) if samples == 3 else (4, 4), np.uint8)
    table = np.array([7, 9], np.uint16).tobytes()
    palettes = {
        f"{name}PaletteColorLookupTable{part}": value
        for name in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [2, 0, 16]), ("Data", table))
    }
    scale = {"Modality": "CT", "RescaleSlope": 2, "RescaleIntercept": -1024}
    tags = {"PhotometricInterpretation": photometric, "SamplesPerPixel": samples, **palettes}
    how = Reading(colour=colour)
    header = dicom.read_header(write_dicom("a", pixels, **tags, **scale), how)
    assert (header.unit, header.inverted) == ("arbitrary", False)
    assert (header.frames[0].slope, header.frames[0].intercept) == (1, 0)
    unscaled = dicom.read_header(write_dicom("b", pixels, **tags, Modality="CT"), how)
    assert "no_rescale" not in unscaled.flags
    gray = dicom.read_header(write_dicom("c", PIXELS, **scale), how)
    assert (gray.unit, gray.frames[0].intercept) == ("HU", -1024)


SR = "1.2.840.10008.5.1.4.1.1.88.11"
ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize(
    ("code", "has_pixels", "tags"),
    [
        (Code.SKIPPED_REPORT, False, {"SOPClassUID": SR}),
        (Code.SKIPPED_PRESENTATION, False, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}),
        (Code.SKIPPED_SEGMENTATION, True, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}),
        (Code.SKIPPED_RADIOTHERAPY, True, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}),
        (Code.SKIPPED_DOCUMENT, False, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}),
        (Code.SKIPPED_NO_PIXELS, False, {"SOPClassUID": ECG}),
        (Code.BAD_HEADER, False, {"SOPClassUID": "1.2.3.4.5.6"}),
        (Code.BAD_HEADER, False, {}),  # an image without rows and columns is damaged
        (Code.BAD_HEADER, True, {"RescaleSlope": 0}),
        (Code.BAD_HEADER, True, {"Rows": 0}),
        (Code.TOO_LARGE, True, {"Rows": 65000, "Columns": 65000}),
        (Code.MOSAIC, True, {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}),
    ],
)
def test_what_is_no_image_is_rejected_by_its_header(write_dicom, code, has_pixels, tags):
    path = write_dicom("a", PIXELS if has_pixels else None, **tags)
    assert sniff.read_header(path) is code


def test_a_capture_of_a_modality_is_an_image(write_dicom):
    header = dicom.read_header(write_dicom("a", PIXELS, SOPClassUID=CAPTURE, Modality="CR"))
    assert header.roles == ()
    assert {"secondary_capture", "burned_in_risk"} <= {*header.flags}


@pytest.mark.parametrize(
    ("role", "tags"),
    [
        ("secondary_capture", {"SOPClassUID": CAPTURE, "Modality": "OT"}),
        ("burned_in", {"BurnedInAnnotation": "YES"}),
        ("localizer", {"Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("reformat", {"Modality": "MR", "ImageType": ["DERIVED", "SECONDARY", "MPR", "CSA MPR"]}),
        ("dose_report", {"Modality": "CT", "SeriesDescription": "Dose Report"}),
        ("screen_capture", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}),
    ],
)
def test_the_role_of_an_image_is_told_and_rejects_nothing_here(write_dicom, role, tags):
    header = dicom.read_header(write_dicom("a", PIXELS, **tags))
    assert header.roles == (role,)
    assert not any("Dose" in flag for flag in header.flags)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGExtended12Bit])
def test_a_transfer_syntax_without_decoder_is_told(tmp_path, syntax):
    from pydicom.encaps import encapsulate

    from .conftest import dataset

    made = dataset(PIXELS)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    made.save_as(tmp_path / "a", enforce_file_format=True)
    assert sniff.read_header(tmp_path / "a") is Code.NO_DECODER


def test_pixels_that_are_cut_off_or_absent_are_told(write_dicom):
    path = write_dicom("a", PIXELS)
    header = dicom.read_header(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(RejectedFile, match="TRUNCATED"):
        dicom.read_pixels(path, header)
    path.write_bytes(whole[: whole.index(b"\xe0\x7f\x10\0")])
    with pytest.raises(RejectedFile, match="TRUNCATED"):
        dicom.read_pixels(path, header)


def test_facts_are_words_of_the_vocabularies_and_numbers(write_dicom):
    path = write_dicom(
        "a", PIXELS, Manufacturer="SIEMENS", ManufacturerModelName="Avanto", KVP="120",
        EchoTime=4.5, RepetitionTime=2000, PatientAge="071Y", PatientSex="F", Laterality="L",
        BodyPartExamined="Mrs Smith's knee", ViewPosition="PA",
    )  # fmt: skip
    facts = dicom.read_header(path).facts
    assert (facts.manufacturer, facts.model, facts.kvp) == ("siemens", "avanto", 120)
    assert (facts.te_ms, facts.tr_ms, facts.age_band, facts.sex) == (4.5, 2000, "70-79", "F")
    assert (facts.body_part, facts.view, facts.laterality) == ("other", "PA", "L")


def test_malformed_descriptions_are_left_out(write_dicom):
    path = write_dicom("a", PIXELS, PatientAge="0712", KVP="77")
    path.write_bytes(path.read_bytes().replace(b"77", b"xx"))
    header = sniff.read_header(path)
    assert header.facts.kvp is None
    assert header.facts.age_band == "other"
