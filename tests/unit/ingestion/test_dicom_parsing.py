import struct
import zlib

import numpy as np
import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medssl.ingestion import sniff, streams
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.dicom import parsing
from medssl.ingestion.header import Header
from medssl.ingestion.readers import dicom

from .conftest import dataset

PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60
ROWS, SOP_CLASS = 0x00280010, 0x00080016


def parsed(path, tags=(ROWS,)):
    with streams.opened(path) as stream:
        return parsing.parse(stream, list(tags))


def meta(*elements):
    """Return elements of group 0002, each number, VR and value, in explicit VR."""
    content = b""
    for number, vr, told in elements:
        long = vr in {b"OB", b"UN"}
        length = struct.pack("<HL" if long else "<H", *((0, len(told)) if long else (len(told),)))
        content += struct.pack("<HH", 2, number) + vr + length + told
    return content


def body(path, syntax=ExplicitVRLittleEndian):
    """Return the elements behind the meta information of a file."""
    content = path.read_bytes()
    first = b"\0\x08\0\x16" if syntax == ExplicitVRBigEndian else b"\x08\0\x16\0"
    return content[content.index(first) :]


def test_only_elements_that_are_asked_for_are_kept_and_the_pixels_are_found(write_dicom):
    path = write_dicom("a", PIXELS)
    found = parsed(path)
    assert [int(tag) for tag in found.dataset.keys()] == [ROWS]  # noqa: SIM118 - no dict
    assert (found.syntax, found.is_bare) == (ExplicitVRLittleEndian, False)
    element = found.pixels
    assert (element.keyword, element.vr, element.length) == ("PixelData", "OW", 128)
    assert path.read_bytes()[element.offset :] == PIXELS.tobytes()


@pytest.mark.parametrize(
    "head",
    [
        b"",
        meta((0x10, b"UI", b"1.2.840.10008.1.2.1\0")),
        meta((0x00, b"UL", struct.pack("<L", 7)), (0x10, b"UI", b"1.2.840.10008.1.2.1\0")),
        meta((0x01, b"OB", b"\0\1"), (0x16, b"AE", b"SOMEWHERE ")),  # without transfer syntax
        meta((0x0102, b"OB", bytes(70_000)), (0x10, b"UI", b"1.2.840.10008.1.2.1\0")),
        struct.pack("<HHL", 2, 0x10, 20) + b"1.2.840.10008.1.2.1\0",  # as implicit VR
    ],
)
@pytest.mark.parametrize("has_preamble", [True, False])
def test_meta_information_may_be_wrong_or_missing(write_dicom, head, has_preamble):
    path = write_dicom("a", PIXELS)
    preamble = bytes(128) + b"DICM" if has_preamble else b""
    path.write_bytes(preamble + head + body(path))
    header = sniff.read_header(path)
    assert isinstance(header, Header)
    assert header.facts.transfer_syntax == ExplicitVRLittleEndian
    assert np.array_equal(dicom.read_pixels(path, header)[0], PIXELS)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_the_encoding_is_seen_where_it_is_not_told(tmp_path, syntax):
    made = dataset(PIXELS if syntax != ExplicitVRBigEndian else PIXELS.astype(">u2"))
    made.file_meta.TransferSyntaxUID = syntax
    made.save_as(tmp_path / "a", enforce_file_format=True)
    (tmp_path / "a").write_bytes(body(tmp_path / "a", syntax))
    found = parsed(tmp_path / "a")
    assert (found.syntax, found.is_bare, found.dataset.Rows) == (syntax, True, 8)
    header = dicom.read_header(tmp_path / "a")
    assert np.array_equal(dicom.read_pixels(tmp_path / "a", header)[0], PIXELS)


def test_elements_alone_are_dicom_only_where_they_hold_an_image(write_dicom):
    path = write_dicom("a", PIXELS)
    whole = body(path)
    without_class = whole[whole.index(b"\x08\0\x18\0") :]
    path.write_bytes(without_class)
    assert sniff.read_header(path) is Code.BAD_HEADER
    path.write_bytes(bytes(128) + b"DICM" + without_class)
    assert isinstance(sniff.read_header(path), Header)
    path.write_bytes(whole[:-4])
    assert sniff.read_header(path) is Code.TRUNCATED


def test_meta_information_without_end_is_a_bad_header(write_dicom):
    path = write_dicom("a", PIXELS)
    endless = struct.pack("<HH2sHL", 2, 1, b"OB", 0, 0xFFFFFFFF)
    path.write_bytes(bytes(128) + b"DICM" + endless + body(path))
    assert sniff.read_header(path) is Code.BAD_HEADER


def deflated(path, *, content):
    """Write a deflated file of these elements."""
    head = meta((0x10, b"UI", str(DeflatedExplicitVRLittleEndian).encode()))
    squeezing = zlib.compressobj(wbits=-15)
    path.write_bytes(bytes(128) + b"DICM" + head + squeezing.compress(content) + squeezing.flush())
    return path


def test_a_deflated_file_is_inflated(tmp_path, write_dicom):
    path = deflated(tmp_path / "b", content=body(write_dicom("a", PIXELS)))
    header = dicom.read_header(path)
    assert header.facts.transfer_syntax == DeflatedExplicitVRLittleEndian
    assert np.array_equal(dicom.read_pixels(path, header)[0], PIXELS)


def test_a_deflated_header_that_does_not_end_is_a_bomb(tmp_path, write_dicom):
    whole = body(write_dicom("a", PIXELS))
    blank = struct.pack("<HH2sHL", 9, 0x1001, b"OB", 0, 2**24) + bytes(2**24)
    path = deflated(tmp_path / "b", content=blank + whole)
    assert path.stat().st_size < 2**18
    assert sniff.read_header(path) is Code.BOMB


def test_deflated_pixels_that_do_not_end_are_a_bomb(tmp_path, write_dicom):
    path = deflated(tmp_path / "b", content=body(write_dicom("a", PIXELS)) + bytes(2**24))
    header = dicom.read_header(path)
    with pytest.raises(RejectedFile, match="BOMB"):
        dicom.read_pixels(path, header)


def test_a_few_elements_behind_deflated_pixels_are_no_bomb(tmp_path, write_dicom):
    path = deflated(tmp_path / "b", content=body(write_dicom("a", PIXELS)) + bytes(2**16))
    assert np.array_equal(dicom.read_pixels(path, dicom.read_header(path))[0], PIXELS)


@pytest.mark.parametrize("cut", [3, 40])
def test_a_damaged_deflated_file_is_told(tmp_path, write_dicom, cut):
    path = deflated(tmp_path / "b", content=body(write_dicom("a", PIXELS)))
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    header = sniff.read_header(path)
    if isinstance(header, Header):
        with pytest.raises(RejectedFile, match="TRUNCATED"):
            dicom.read_pixels(path, header)
    else:
        assert header in {Code.TRUNCATED, Code.BAD_HEADER}
    path.write_bytes(content[: -len(content) // 2] + b"\xff" * 60)
    assert isinstance(sniff.read_header(path), Code)


def test_private_objects_of_a_scanner_without_pixels_are_no_damage(write_dicom):
    assert sniff.read_header(write_dicom("a", SOPClassUID="1.3.12.2.1107.5.9.1")) is (
        Code.SKIPPED_NO_PIXELS
    )
    assert UID("1.3.12.2.1107.5.9.1").name == "1.3.12.2.1107.5.9.1"  # no class of the standard
