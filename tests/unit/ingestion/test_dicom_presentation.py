import struct

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from medssl.ingestion import intensity, sniff
from medssl.ingestion.codes import Code
from medssl.ingestion.readers import dicom

from .conftest import dataset

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)
DX = {"SOPClassUID": DigitalXRayImageStorageForPresentation, "Modality": "DX"}
FILMIC = [int(v) for v in 4095 / (1 + np.exp(-np.arange(40) / 6 + 3))]


def table(entries, first=0, bits=12, vr="US", descriptor_vr="US", packed=False):
    """Return a VOI LUT."""
    made = Dataset()
    made.add_new("LUTDescriptor", descriptor_vr, [len(entries) % 2**16, first, bits])
    if vr == "OW":
        kind = "B" if packed else "H"
        made.add_new("LUTData", "OW", struct.pack(f"<{len(entries)}{kind}", *entries))
    else:
        made.add_new("LUTData", "US", entries)
    return made


def with_lut(*tables):
    return {**DX, "VOILUTSequence": Sequence(tables)}


def read(path):
    header = dicom.read_header(path)
    return header, dicom.read_pixels(path, header)[0]


def by_pydicom(path):
    """Return what pydicom makes of an image: Modality LUT, then its first VOI LUT."""
    found = pydicom.dcmread(path)
    return apply_voi(apply_modality_lut(found.pixel_array, found).astype(np.int64), found, 0)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("first", [0, 7, 50, -20])
@pytest.mark.parametrize("scale", [(1, 0), (2, -30), (1, 5)])
def test_values_are_those_of_pydicom(write_dicom, bits, first, scale):
    entries = [value >> (12 - bits) if bits < 12 else value for value in FILMIC]
    kind = "SS" if first < 0 else "US"
    path = write_dicom(
        "a", RAMP.astype(np.int16) - 9, BitsStored=12, RescaleSlope=scale[0],
        RescaleIntercept=scale[1], **with_lut(table(entries, first, bits, descriptor_vr=kind)),
    )  # fmt: skip
    header, pixels = read(path)
    assert np.array_equal(pixels, by_pydicom(path))
    assert (header.bits, header.signed, header.padding) == (bits, False, None)
    assert {(frame.slope, frame.intercept) for frame in header.frames} == {(1, 0)}
    assert "voi_lut" in header.flags


@pytest.mark.parametrize("modality", ["CR", "DX", "MG"])
def test_a_file_of_pydicom_with_a_table_is_read_as_pydicom_reads_it(tmp_path, modality):
    source = pydicom.dcmread(get_testdata_file("vlut_04.dcm"))
    source.Modality = modality
    source.save_as(tmp_path / "a")
    header, pixels = read(tmp_path / "a")
    assert np.array_equal(pixels, by_pydicom(tmp_path / "a"))
    assert "voi_lut" in header.flags
    plain = sniff.read_header(get_testdata_file("vlut_04.dcm"))  # of no radiograph
    assert "voi_lut" not in plain.flags


def test_the_first_of_several_tables_counts_and_windows_do_not(write_dicom):
    windows = {"WindowCenter": [30, 50], "WindowWidth": [10, 20]}
    two = with_lut(table(FILMIC), table(FILMIC[::-1]))
    _, both = read(write_dicom("a", RAMP, **two, **windows))
    _, first = read(write_dicom("b", RAMP, **with_lut(table(FILMIC))))
    assert np.array_equal(both, first)
    header, plain = read(write_dicom("c", RAMP, **DX, **windows))
    assert np.array_equal(plain, RAMP)
    assert "voi_lut" not in header.flags


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "CT"},
        {"PresentationIntentType": "FOR PROCESSING"},
        {"SOPClassUID": DigitalXRayImageStorageForProcessing},
        {"SOPClassUID": DigitalMammographyXRayImageStorageForProcessing, "Modality": "MG"},
    ],
    ids=["no radiograph", "by intent", "by class", "mammogram"],
)
def test_only_radiographs_for_presentation_have_one_that_counts(write_dicom, tags):
    header, pixels = read(write_dicom("a", RAMP, **with_lut(table(FILMIC)) | tags))
    assert np.array_equal(pixels, RAMP)
    assert "voi_lut" not in header.flags
    assert ("for_processing" in header.flags) == (tags != {"Modality": "CT"})


def test_an_image_for_presentation_is_not_for_processing(write_dicom):
    intent = {"PresentationIntentType": "FOR PRESENTATION"}
    assert "for_processing" not in read(write_dicom("a", RAMP, **DX, **intent))[0].flags


def test_monochrome1_is_turned_after_the_table(write_dicom):
    tags = with_lut(table(FILMIC)) | {"PhotometricInterpretation": "MONOCHROME1"}
    header, pixels = read(write_dicom("a", RAMP, BitsStored=12, **tags))
    assert header.inverted
    values, _ = intensity.prepare(pixels, header, header.frames[0], intensity.policy([header]))
    shown = np.array(FILMIC)[RAMP.clip(0, 39)]
    assert np.array_equal(values, 4095 - shown)


def test_a_first_value_written_as_unsigned_is_negative_where_values_may_be(write_dicom):
    tags = with_lut(table(FILMIC, 2**16 - 100))
    _, scaled = read(write_dicom("a", RAMP, RescaleSlope=1, RescaleIntercept=-100, **tags))
    assert np.array_equal(scaled, np.array(FILMIC)[RAMP.clip(0, 39)])
    _, unsigned = read(write_dicom("b", RAMP, **tags))  # all values lie below 65436
    assert (unsigned == FILMIC[0]).all()


def test_a_modality_lut_comes_first(write_dicom):
    modality = table([3 * v for v in range(64)], bits=8)
    modality.ModalityLUTType = "US"
    tags = with_lut(table(FILMIC, first=20)) | {"ModalityLUTSequence": Sequence([modality])}
    path = write_dicom("a", RAMP, **tags)
    header, pixels = read(path)
    assert np.array_equal(pixels, np.array(FILMIC)[(3 * RAMP.astype(int) - 20).clip(0, 39)])
    assert header.bits == 12


def test_behind_a_modality_lut_no_value_is_negative(write_dicom):
    modality = table([40000 + v for v in range(64)], bits=16)
    modality.ModalityLUTType = "US"
    tags = with_lut(table(FILMIC, first=40010)) | {"ModalityLUTSequence": Sequence([modality])}
    _, pixels = read(write_dicom("a", RAMP.astype(np.int16), **tags))
    assert np.array_equal(pixels, np.array(FILMIC)[(RAMP.astype(int) - 10).clip(0, 39)])


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_encoding_of_a_file_does_not_matter(tmp_path, write_dicom, syntax, vr):
    made = pydicom.dcmread(write_dicom("a", RAMP, **with_lut(table(FILMIC, vr=vr))))
    expected = np.array(FILMIC)[RAMP.clip(0, 39)]
    assert np.array_equal(read(tmp_path / "a")[1], expected)
    if syntax == ExplicitVRBigEndian:
        made.PixelData = RAMP.astype(">u2").tobytes()
        if vr == "OW":
            made.VOILUTSequence[0].LUTData = np.array(FILMIC, ">u2").tobytes()
    made.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        tmp_path / "b", made, implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian, force_encoding=True,
    )  # fmt: skip
    header, pixels = read(tmp_path / "b")
    assert header.facts.transfer_syntax == syntax
    assert np.array_equal(pixels, expected)


def test_bytes_may_be_packed_or_one_to_a_word(write_dicom):
    entries = [3 * v for v in range(64)]
    for wide in (entries, [v | 0x7F00 for v in entries]):
        _, pixels = read(write_dicom("a", RAMP, **with_lut(table(wide, bits=8))))
        assert np.array_equal(pixels, 3 * RAMP)
    header, pixels = read(
        write_dicom("b", RAMP, **with_lut(table(entries, bits=8, vr="OW", packed=True)))
    )
    assert np.array_equal(pixels, 3 * RAMP)
    assert header.bits == 8


def test_entries_may_have_more_bits_than_the_table_says(write_dicom):
    header, pixels = read(write_dicom("a", RAMP, **with_lut(table([0, 9000], bits=12))))
    assert (header.bits, pixels.max()) == (14, 9000)


def test_a_table_of_all_values_says_that_it_has_none(write_dicom):
    pixels = (RAMP * 1000).astype(np.uint16)
    every = np.arange(2**16, dtype=np.uint16)[::-1].tobytes()
    lut = table([0])
    lut.LUTDescriptor = [0, 0, 16]
    lut.add_new("LUTData", "OW", every)
    assert np.array_equal(read(write_dicom("a", pixels, **with_lut(lut)))[1], 65535 - pixels)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_as_dark_as_what_is_darkest(write_dicom, photometric):
    falling = FILMIC[::-1]  # looked up as it is, the padding of 0 would have the highest value
    tags = with_lut(table(falling)) | {"PhotometricInterpretation": photometric}
    _, pixels = read(write_dicom("a", RAMP, PixelPaddingValue=0, **tags))
    inside = np.array(falling)[RAMP.clip(0, 39)]
    darkest = inside[RAMP > 0].max() if photometric == "MONOCHROME1" else inside.min()
    assert np.array_equal(pixels, np.where(RAMP == 0, darkest, inside))


def _without_data():
    made = table(FILMIC)
    del made.LUTData
    return made


@pytest.mark.parametrize(
    "lut",
    [table(FILMIC, bits=7), table(FILMIC, bits=17), _without_data(), Dataset()],
    ids=["7 bits", "17 bits", "no data", "empty"],
)
def test_a_table_that_makes_no_sense_is_none(write_dicom, lut):
    header, pixels = read(write_dicom("a", RAMP, **with_lut(lut)))
    assert np.array_equal(pixels, RAMP)
    assert "voi_lut" not in header.flags


def test_a_table_shorter_than_it_says_is_none(write_dicom):
    lut = table(FILMIC)
    lut.LUTDescriptor = [41, 0, 12]
    assert np.array_equal(read(write_dicom("a", RAMP, **with_lut(lut)))[1], RAMP)


def test_a_slope_that_is_no_number_is_a_bad_header(tmp_path):
    made = dataset(RAMP, RescaleSlope=0, **with_lut(table(FILMIC)))
    made.save_as(tmp_path / "a", enforce_file_format=True)
    assert sniff.read_header(tmp_path / "a") is Code.BAD_HEADER
