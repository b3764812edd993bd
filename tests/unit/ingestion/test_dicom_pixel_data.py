"""The order of operations on pixels, one hand-made file per row of the table."""

import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medssl.ingestion import sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import Reading
from medssl.ingestion.readers import dicom

from .conftest import dataset

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
RGB = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
RAMP = np.arange(16, dtype=np.uint8).reshape(4, 4)
COLOURS = np.stack([RAMP * 9, RAMP * 3 + 50, 255 - RAMP * 7], axis=2)


def read(path, colour="reject"):
    how = Reading(colour=colour)
    header = dicom.read_header(path, how)
    return header, dicom.read_pixels(path, header, how)


def values(path):
    """Return the values in the unit, one image."""
    header, pixels = read(path)
    return pixels[0] * header.frames[0].slope + header.frames[0].intercept


def luminance(colours):
    """Return Rec. 601 luma, rounded; written out in exact arithmetic."""
    weighted = colours.astype(object) @ np.array([299, 587, 114], dtype=object)
    return ((2 * weighted + 1000) // 2000).astype(colours.dtype)


@pytest.mark.parametrize(
    ("stored", "bits", "expected"),
    [
        (np.array([0, 4095, 0xF001, 0x8FFF], np.uint16), 12, [0, 4095, 1, 4095]),
        (np.array([0, 0x0FFF, 0x0800, 0x17FF], np.uint16).view(np.int16), 12, [0, -1, -2048, 2047]),
        (np.array([-1, -32768, 32767, 5], np.int16), 16, [-1, -32768, 32767, 5]),
        (np.array([0, 2**31, 2**32 - 1, 7], np.uint32), 32, [0, 2**31, 2**32 - 1, 7]),
        (np.array([0, -(2**31), -1, 7], np.int32), 32, [0, -(2**31), -1, 7]),
        (np.array([0, 255, 200, 7], np.uint8), 7, [0, 127, 72, 7]),
    ],
)
@pytest.mark.parametrize("big", [False, True])
def test_bits_above_the_stored_ones_do_not_count(tmp_path, stored, bits, expected, big):
    stored = stored.reshape(2, 2)
    made = dataset(stored.astype(stored.dtype.newbyteorder(">")) if big else stored)
    made.BitsStored, made.HighBit = bits, bits - 1
    made["PixelData"].VR = "OW" if stored.itemsize > 1 else "OB"
    if big:
        made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    made.save_as(tmp_path / "a", enforce_file_format=True)
    assert read(tmp_path / "a")[1].ravel().tolist() == expected


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_old_overlays_in_high_bits_are_dropped_whatever_the_compression(tmp_path, syntax):
    clean = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 4
    made = dataset(clean | 0x8000)
    made.compress(syntax)
    made.BitsStored, made.HighBit = 12, 11
    made.save_as(tmp_path / "a", enforce_file_format=True)
    assert np.array_equal(read(tmp_path / "a")[1][0], clean)


def test_slope_and_intercept_come_after_the_modality_lut_not_beside_it(write_dicom):
    lut = Dataset()
    lut.LUTDescriptor = [3, 1, 16]
    lut["LUTDescriptor"].VR = "US"
    lut.ModalityLUTType = "HU"
    lut.add_new("LUTData", "OW", struct.pack("<3H", 5, 50, 500))
    path = write_dicom(
        "a", np.array([[0, 1], [2, 200]], dtype=np.uint8), RescaleSlope=7, RescaleIntercept=7,
        ModalityLUTSequence=Sequence([lut]),
    )  # fmt: skip
    assert values(path).tolist() == [[5, 5], [50, 500]]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, (1, 0)),
        ({"RescaleSlope": "2"}, (2, 0)),
        ({"RescaleIntercept": "-1024"}, (1, -1024)),
        ({"RescaleSlope": "", "RescaleIntercept": "3"}, (1, 3)),
        ({"RescaleSlope": "0.25", "RescaleIntercept": "-3.5"}, (0.25, -3.5)),
    ],
)
def test_either_of_slope_and_intercept_counts(write_dicom, tags, expected):
    frame = dicom.read_header(write_dicom("a", RAMP, **tags)).frames[0]
    assert (frame.slope, frame.intercept) == expected


@pytest.mark.parametrize(
    ("planar", "layout"), [(0, (0, 1, 2)), (1, (2, 0, 1))], ids=["pixels", "planes"]
)
def test_colour_is_rejected_weighed_or_kept(write_dicom, planar, layout):
    path = write_dicom(
        "a", COLOURS, **{**RGB, "PlanarConfiguration": planar},
        PixelData=COLOURS.transpose(layout).tobytes(),
    )  # fmt: skip
    with pytest.raises(RejectedFile, match="COLOUR"):
        read(path)
    header, gray = read(path, "gray")
    assert (header.channels, header.bits, gray.dtype) == (1, 8, np.uint8)
    assert np.array_equal(gray, luminance(COLOURS)[None])
    header, kept = read(path, "keep")
    assert (header.channels, header.bits, kept.dtype) == (3, 8, np.uint8)
    assert np.array_equal(kept, COLOURS[None])


@pytest.mark.parametrize("colour", ["reject", "gray"])
def test_equal_channels_are_gray_and_lose_nothing(write_dicom, colour):
    gray = np.repeat((RAMP.astype(np.uint16) * 4000)[..., None], 3, axis=2)
    header, pixels = read(write_dicom("a", gray, **RGB), colour)
    assert np.array_equal(pixels, gray[None, ..., 0])
    assert header.bits == 16


def test_deep_colour_is_weighed_in_its_own_depth_and_not_kept(write_dicom):
    deep = COLOURS.astype(np.uint16) * 257
    path = write_dicom("a", deep, **RGB)
    header, gray = read(path, "gray")
    assert header.bits == 16
    assert np.array_equal(gray, luminance(deep)[None])
    assert sniff.read_header(path, Reading(colour="keep")) is Code.UNSUPPORTED_PIXELS


def ybr(colours):
    """Return YCbCr of PS3.3 C.7.6.3.1.2, rounded."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.rint(colours @ matrix.T + [0, 128, 128]).clip(0, 255).astype(np.uint8)


def test_luma_and_chroma_become_colours(write_dicom):
    stored = ybr(COLOURS)
    path = write_dicom("a", stored, **{**RGB, "PhotometricInterpretation": "YBR_FULL"})
    difference = read(path, "keep")[1][0].astype(int) - COLOURS
    assert np.abs(difference).max() <= 2  # what rounding Y, Cb and Cr costs


def test_chroma_of_every_other_pixel_is_spread(write_dicom):
    pairs = np.repeat(COLOURS[:, ::2], 2, axis=1)  # so that no chroma is lost
    luma, blue, red = np.moveaxis(ybr(pairs), 2, 0)
    stored = np.stack([luma[:, ::2], luma[:, 1::2], blue[:, ::2], red[:, ::2]], axis=2)
    path = write_dicom(
        "a", pairs, **{**RGB, "PhotometricInterpretation": "YBR_FULL_422"},
        PixelData=stored.tobytes(),
    )  # fmt: skip
    assert np.abs(read(path, "keep")[1][0].astype(int) - pairs).max() <= 2


def test_reversible_colour_transforms_lose_nothing(tmp_path):
    made = dataset(COLOURS.repeat(16, axis=0).repeat(16, axis=1), **RGB)
    expected = np.frombuffer(made.PixelData, np.uint8).reshape(64, 64, 3)
    made.PhotometricInterpretation = "YBR_RCT"
    made.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
    made.save_as(tmp_path / "a", enforce_file_format=True)
    assert np.array_equal(read(tmp_path / "a", "keep")[1][0], expected)


def palette(colours, *, first=0, bits=16, wide=True):
    """Return the elements of a palette; ``colours`` has one row per entry."""
    kind = "<u2" if wide else np.uint8
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for n, name in enumerate(("Red", "Green", "Blue")):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [len(colours), first, bits]
        tags[f"{name}PaletteColorLookupTableData"] = np.array(colours)[:, n].astype(kind).tobytes()
    return tags


TABLE = [[0, 1, 2], [65535, 0, 256], [515, 1030, 2570], [40000, 30000, 20000]]


def test_a_palette_is_looked_up_and_its_ends_reach_on(write_dicom):
    path = write_dicom(
        "a", np.array([[0, 5], [6, 7], [8, 99]], np.uint8), **palette(TABLE, first=5)
    )
    numbers = np.array([[0, 0], [1, 2], [3, 3]])
    header, gray = read(path, "gray")
    assert (header.bits, gray.dtype) == (16, np.uint16)
    assert np.array_equal(gray[0], luminance(np.array(TABLE, np.uint16)[numbers]))
    header, kept = read(path, "keep")
    assert (header.channels, header.bits) == (3, 8)
    assert np.array_equal(kept[0], np.array(TABLE)[numbers] // 256)
    with pytest.raises(RejectedFile, match="COLOUR"):
        read(path)


def test_a_gray_palette_gives_gray(write_dicom):
    table = [[n * 10] * 3 for n in range(16)]
    for wide in (True, False):
        path = write_dicom("a", RAMP, **palette(table, bits=8, wide=wide))
        header, pixels = read(path)
        assert header.bits == 8
        assert np.array_equal(pixels[0], RAMP * 10)


def test_only_the_lower_byte_of_a_palette_of_bytes_counts(write_dicom):
    table = [[0x7F00 + n * 10] * 3 for n in range(16)]
    header, pixels = read(write_dicom("a", RAMP, **palette(table, bits=8)))
    assert header.bits == 8
    assert np.array_equal(pixels[0], RAMP * 10)


def test_a_palette_of_bytes_may_be_longer_than_a_byte_counts(write_dicom):
    """pydicom 3.0.2 takes the number of an entry modulo 256 here."""
    table = [[n % 251] * 3 for n in range(600)]
    path = write_dicom("a", np.array([[0, 250], [300, 599]], np.uint16), **palette(table, bits=8))
    assert read(path)[1][0].tolist() == [[0, 250], [49, 97]]


@pytest.mark.parametrize("tags", [{"PhotometricInterpretation": "PALETTE COLOR"},
                                  {**palette(TABLE, bits=12)}])  # fmt: skip
def test_a_palette_that_is_missing_or_of_unknown_depth_is_a_bad_header(write_dicom, tags):
    assert sniff.read_header(write_dicom("a", RAMP, **tags)) is Code.BAD_HEADER


@pytest.mark.parametrize(
    ("name", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")]
)
def test_floating_point_is_read(tmp_path, name, dtype):
    numbers = np.linspace(-3, 9, 16).reshape(4, 4).astype(dtype)
    made = dataset(RAMP, RescaleSlope=2)
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    made.BitsAllocated = numbers.itemsize * 8
    setattr(made, name, numbers.tobytes())
    made.save_as(tmp_path / "a", enforce_file_format=True)
    header, pixels = read(tmp_path / "a")
    assert (header.bits, header.padding) == (None, None)
    assert np.array_equal(values(tmp_path / "a"), numbers.astype(float) * 2)
    assert pixels.dtype == dtype
    made.PhotometricInterpretation = "MONOCHROME1"
    made.save_as(tmp_path / "b", enforce_file_format=True)
    assert sniff.read_header(tmp_path / "b") is Code.UNSUPPORTED_PIXELS


@pytest.mark.parametrize(
    ("code", "tags"),
    [
        (Code.UNSUPPORTED_PIXELS, {"BitsAllocated": 1}),
        (Code.UNSUPPORTED_PIXELS, {"BitsAllocated": 64}),
        (Code.UNSUPPORTED_PIXELS, {"PhotometricInterpretation": "YBR_PARTIAL_420"}),
        (Code.BAD_HEADER, {"PhotometricInterpretation": None}),
        (Code.BAD_HEADER, {"PhotometricInterpretation": "RGB"}),  # of one sample
        (Code.BAD_HEADER, {"SamplesPerPixel": 3}),
        (Code.BAD_HEADER, {"NumberOfFrames": -1}),
        (Code.TOO_LARGE, {"NumberOfFrames": 2**27}),
        (Code.TRUNCATED, {"NumberOfFrames": 2}),
        (Code.TRUNCATED, {"Rows": 5}),
        (Code.TRUNCATED, {"PixelData": None}),
    ],
)
def test_a_header_that_makes_no_sense_is_told_before_anything_is_decoded(write_dicom, code, tags):
    assert sniff.read_header(write_dicom("a", RAMP, **tags)) is code


def test_surplus_pixels_are_no_frames(write_dicom):
    path = write_dicom("a", RAMP, PixelData=RAMP.tobytes() * 3, NumberOfFrames=0)
    header, pixels = read(path)
    assert len(header.frames) == 1
    assert np.array_equal(pixels, RAMP[None])


def test_a_compressed_image_of_another_size_is_not_decoded(tmp_path):
    made = dataset(np.zeros((32, 32), np.uint16))
    made.compress(JPEG2000Lossless)
    made.Rows = 64
    made.save_as(tmp_path / "a", enforce_file_format=True)
    with pytest.raises(RejectedFile, match="SIZE_MISMATCH"):
        read(tmp_path / "a")


def test_compressed_frames_that_cannot_be_there_are_told_by_the_header(tmp_path):
    made = dataset(RAMP, NumberOfFrames=90_000)
    made.file_meta.TransferSyntaxUID = RLELossless
    made.PixelData = encapsulate([bytes(70)])
    made.save_as(tmp_path / "a", enforce_file_format=True)
    assert sniff.read_header(tmp_path / "a") is Code.TRUNCATED


def test_native_pixels_without_a_length_are_not_read(tmp_path):
    made = dataset(RAMP)
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    made.save_as(tmp_path / "a", enforce_file_format=True)
    content = (tmp_path / "a").read_bytes()
    head = b"\xe0\x7f\x10\0"
    place = content.index(head) + 4
    (tmp_path / "a").write_bytes(content[:place] + b"\xff" * 4 + content[place + 4 :])
    assert sniff.read_header(tmp_path / "a") is Code.TRUNCATED
