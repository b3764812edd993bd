import gzip
import logging
import warnings
import zipfile

import pytest

from medssl.foundation.errors import Interrupted
from medssl.ingestion import seam, sniff
from medssl.ingestion.codes import Code, RejectedFile


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", Code.EMPTY_FILE),
        (b"image,label\na.png,1\n", Code.SKIPPED_TEXT),
        ("Größe in µm\n".encode(), Code.SKIPPED_TEXT),
        ("text".encode("utf-16"), Code.SKIPPED_TEXT),
        (b"MZ\x90\x00\x03\x00\x00\x00" + bytes(500), Code.SKIPPED_OTHER),
        (b"GIF89a" + bytes(200), Code.UNSUPPORTED_FORMAT),
        (gzip.compress(b"a tar archive, say" * 99), Code.UNSUPPORTED_FORMAT),
        (b"\x93NUMPY\x01\x00" + bytes(100), Code.ARRAY_LAYOUT),
        (b"\x5c\x01\x00\x00" + bytes(344), Code.UNSUPPORTED_FORMAT),
        (b"\x89PNG\r\n\x1a\n", Code.BAD_HEADER),
        (b"II*\x00" + bytes(200), Code.BAD_HEADER),
        (bytes(128) + b"DICM", Code.BAD_HEADER),
        (bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff", Code.BAD_HEADER),
        (b"\x5c\x01\x00\x00" + bytes(340) + b"n+1\x00", Code.BAD_HEADER),
    ],
)
def test_what_is_no_image_gets_a_code(tmp_path, content, code):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    assert sniff.read_header(path) is code


def test_a_zip_is_not_read_yet(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.dcm", "w") as bundle:
        bundle.writestr("x", "y")
    assert sniff.read_header(tmp_path / "a.dcm") is Code.UNSUPPORTED_FORMAT


def test_a_file_that_vanished_is_unreadable(tmp_path):
    assert sniff.read_header(tmp_path / "gone") is Code.UNREADABLE


class Panic(BaseException):
    """As decoders written in Rust raise it."""


def test_whatever_a_decoder_raises_becomes_a_code():
    def fail(error):
        raise error

    for error in (ValueError("Mr Smith"), Panic(), RecursionError(), MemoryError(), KeyError(1)):
        assert seam.attempt(lambda e=error: fail(e), Code.DECODE_FAILED) is Code.DECODE_FAILED
    rejection = RejectedFile(Code.COLOUR)
    assert seam.attempt(lambda: fail(rejection), Code.DECODE_FAILED) is Code.COLOUR
    assert seam.attempt(lambda: fail(PermissionError()), Code.BAD_HEADER) is Code.UNREADABLE
    assert seam.attempt(lambda: 7, Code.BAD_HEADER) == 7


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Interrupted])
def test_an_interrupt_is_no_code(kind):
    def interrupt():
        raise kind("stop")

    with pytest.raises(kind, match="stop"):
        seam.attempt(interrupt, Code.DECODE_FAILED)


def test_nothing_a_decoder_says_gets_out(caplog):
    def chatter():
        warnings.warn("Mr Smith", UserWarning, stacklevel=1)
        logging.getLogger("pydicom.pixels.decoders.base").error("Mr Smith")
        return 1

    assert seam.attempt(chatter, Code.DECODE_FAILED) == 1
    assert caplog.text == ""
    logging.getLogger("afterwards").warning("heard")
    assert "heard" in caplog.text
