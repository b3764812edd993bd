import struct
from importlib.metadata import version

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import (
    MPEG4HP41,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medssl.ingestion.codes import RejectedFile
from medssl.ingestion.dicom import codecs
from medssl.ingestion.dicom.codecs import Size

IMAGE = (np.add.outer(np.arange(40) ** 2, np.arange(32) * 7) % 4096).astype(np.uint16)


def compressed(syntax, pixels=IMAGE):
    """Return a dataset of 12 bits compressed with ``syntax``."""
    from .conftest import dataset

    made = dataset(pixels, BitsStored=12)
    made.compress(syntax)
    return made


@pytest.mark.parametrize(
    ("syntax", "library"),
    [
        ("1.2.840.10008.1.2.1", "pydicom"),
        (RLELossless, "pylibjpeg-rle"),
        (JPEGBaseline8Bit, "pillow"),
        (JPEGLSLossless, "pyjpegls"),
        (JPEG2000Lossless, "pylibjpeg-openjpeg"),
        (HTJ2KLossless, "pylibjpeg-openjpeg"),
    ],
)
def test_the_decoding_library_is_told_with_its_version(syntax, library):
    assert codecs.decoder_of(str(syntax)) == f"{library} {version(library)}"


@pytest.mark.parametrize("syntax", [MPEG4HP41, "1.2.3", JPEGLosslessSV1])
def test_a_syntax_nobody_reads_has_no_decoder(syntax):
    if syntax == JPEGLosslessSV1 and get_decoder(syntax).is_available:
        pytest.skip("a decoder for JPEG lossless is installed")
    with pytest.raises(RejectedFile, match="NO_DECODER"):
        codecs.decoder_of(str(syntax))


def test_jpeg_of_12_bits_needs_another_library_than_that_of_8():
    assert codecs.plugin(JPEGExtended12Bit, 8) == "pillow"
    if "pylibjpeg" not in get_decoder(JPEGExtended12Bit).available_plugins:
        with pytest.raises(RejectedFile, match="NO_DECODER"):
            codecs.plugin(JPEGExtended12Bit, 12)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_every_plugin_that_is_installed_gives_the_same_bits(syntax):
    made = compressed(syntax)
    decoder = get_decoder(syntax)
    for name in decoder.available_plugins:
        found, _ = decoder.as_array(made, decoding_plugin=name)
        assert np.array_equal(found, IMAGE), name


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "693_J2KI.dcm"])
def test_lossy_images_differ_between_plugins_by_rounding_only(name):
    source = pydicom.dcmread(get_testdata_file(name))
    decoder = get_decoder(source.file_meta.TransferSyntaxUID)
    found = [
        decoder.as_array(source, decoding_plugin=plugin)[0].astype(int)
        for plugin in decoder.available_plugins
    ]
    assert len(found) > 1
    assert all(np.abs(other - found[0]).max() <= 1 for other in found)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_compressed_image_tells_its_size(syntax):
    content = compressed(syntax).PixelData
    codecs.check_sizes(content, syntax, 1, Size(40, 32, 1), None)
    for size in (Size(32, 40, 1), Size(40, 33, 1), Size(40, 32, 3)):
        with pytest.raises(RejectedFile, match="SIZE_MISMATCH"):
            codecs.check_sizes(content, syntax, 1, size, None)


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cr.dcm"])
def test_a_jpeg_tells_its_size(name):
    source = pydicom.dcmread(get_testdata_file(name))
    syntax, size = source.file_meta.TransferSyntaxUID, Size(source.Rows, source.Columns, 3)
    codecs.check_sizes(source.PixelData, syntax, 1, size, None)
    wrong = size._replace(columns=size.columns + 1)
    with pytest.raises(RejectedFile, match="SIZE_MISMATCH"):
        codecs.check_sizes(source.PixelData, syntax, 1, wrong, None)


def test_missing_images_are_told():
    content = compressed(RLELossless).PixelData
    with pytest.raises(RejectedFile, match="TRUNCATED"):
        codecs.check_sizes(content, RLELossless, 2, Size(40, 32, 1), None)


JP2 = struct.pack(">L4sL", 12, b"jP  ", 0x0D0A870A)


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\xff\xff", b"\xff\xd8\xff" * 3, b"no image",
        b"\xff\xd8\xff\xda\0\2" + bytes(40),
    ],
)  # fmt: skip
def test_a_broken_jpeg_is_damaged(frame):
    with pytest.raises(RejectedFile, match="DECODE_FAILED"):
        codecs.check_sizes(
            encapsulate([frame + b"\xff\xd9"]), JPEGBaseline8Bit, 1, Size(1, 1, 1), None
        )


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\x4f\xff\x51", b"\xff\x4f\xff\x52" + bytes(60), JP2, bytes(8),
        JP2 + struct.pack(">L4s", 0, b"junk") + bytes(40),  # a box without end that is no image
        JP2 + struct.pack(">L4s", 3, b"junk") + bytes(40),
    ],
)  # fmt: skip
def test_a_broken_jpeg2000_is_damaged(frame):
    with pytest.raises(RejectedFile, match="DECODE_FAILED"):
        codecs.check_sizes(encapsulate([frame]), JPEG2000Lossless, 1, Size(1, 1, 1), None)


def test_a_codestream_within_a_jp2_file_is_found():
    made = compressed(JPEG2000Lossless)
    stream = get_frame(made.PixelData, 0, number_of_frames=1)
    boxes = JP2 + struct.pack(">L4s4s", 12, b"ftyp", b"jp2 ") + struct.pack(">L4s", 0, b"jp2c")
    content = encapsulate([boxes + stream])
    codecs.check_sizes(content, JPEG2000Lossless, 1, Size(40, 32, 1), None)


@pytest.mark.parametrize(
    ("told", "syntax", "is_lossy"),
    [
        ("01", RLELossless, True), ("", JPEGBaseline8Bit, True), ("00", JPEGBaseline8Bit, True),
        ("", pydicom.uid.JPEG2000, True), ("00", pydicom.uid.JPEG2000, False),
        ("", JPEG2000Lossless, False), ("", RLELossless, False),
    ],
)  # fmt: skip
def test_loss_is_told_by_the_header_and_the_syntax(told, syntax, is_lossy):
    assert codecs.is_lossy(told, syntax) is is_lossy
