import errno
import gzip
import hashlib
import io
import logging
import os
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

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
        (b"name".ljust(257, b"\0") + b"ustar" + bytes(250), Code.UNSUPPORTED_FORMAT),
        (b"Rar!\x1a\x07\0" + bytes(99), Code.UNSUPPORTED_FORMAT),
        (gzip.compress(b"a tar archive, say" * 99, mtime=0), Code.UNSUPPORTED_FORMAT),
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


def zipped(content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        for name, member in content.items():
            bundle.writestr(name, member)
    return stream.getvalue()


def test_a_zip_in_a_zip_is_not_opened_but_an_image_or_a_document_is_one(tmp_path):
    arrays = io.BytesIO()
    np.savez(arrays, train_images=np.zeros((2, 5, 4), np.uint8))
    members = {
        "case.zip": zipped({"a.dcm": b"x"}), "empty.zip": zipped({}),
        "letter.docx": zipped({"[Content_Types].xml": b"x"}), "images.npz": arrays.getvalue(),
    }  # fmt: skip
    (tmp_path / "a.zip").write_bytes(zipped(members))
    found = {name: sniff.read_header(tmp_path / "a.zip" / name) for name in members}
    assert found.pop("images.npz").reader == "npz"
    assert found == {
        "case.zip": Code.NESTED_ARCHIVE, "empty.zip": Code.NESTED_ARCHIVE,
        "letter.docx": Code.SKIPPED_OTHER,
    }  # fmt: skip
    (tmp_path / "b.docx").write_bytes(members["letter.docx"])
    assert sniff.read_header(tmp_path / "b.docx") is Code.SKIPPED_OTHER


def test_equal_files_have_equal_digests_wherever_they_lie(tmp_path):
    picture = io.BytesIO()
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(picture, format="PNG")
    (tmp_path / "a.png").write_bytes(picture.getvalue())
    (tmp_path / "a.zip").write_bytes(zipped({"b.png": picture.getvalue()}))
    loose, packed = (sniff.read_header(tmp_path / name) for name in ("a.png", "a.zip/b.png"))
    assert loose.digest == packed.digest == hashlib.sha256(picture.getvalue()).hexdigest()


def test_a_file_that_is_gone_has_vanished(tmp_path):
    assert sniff.read_header(tmp_path / "gone") is Code.VANISHED


def test_a_length_beyond_all_memory_is_damage_not_a_lack_of_memory(tmp_path, monkeypatch):
    """As a process with little memory sees a DICOM element of 4 GiB in a file of 1 kB."""

    def fail(*_):
        raise MemoryError

    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(path)
    monkeypatch.setattr(sniff.reader("picture"), "read_header", fail)
    assert sniff.read_header(path) is Code.BAD_HEADER
    os.truncate(path, 2**28)  # sparse: it takes no room
    assert sniff.read_header(path) is Code.OUT_OF_MEMORY


def test_a_file_emptied_or_replaced_while_it_is_read_is_a_code(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((50, 40), np.uint8)).save(path)
    whole = path.read_bytes()
    for instead in (b"", whole[:20], b"GIF8"):
        path.write_bytes(whole)
        recognised = sniff.recognised

        def change(head, instead=instead, recognised=recognised):
            path.write_bytes(instead)
            return recognised(head)

        with monkeypatch.context() as patch:
            patch.setattr(sniff, "recognised", change)
            assert sniff.read_header(path) in {Code.BAD_HEADER, Code.TRUNCATED}


class Panic(BaseException):
    """As decoders written in Rust raise it."""


def test_whatever_a_decoder_raises_becomes_a_code():
    def fail(error):
        raise error

    for error in (ValueError("Mr Smith"), Panic(), RecursionError(), OSError("cut"), KeyError(1)):
        assert seam.attempt(lambda e=error: fail(e), Code.DECODE_FAILED) is Code.DECODE_FAILED
    rejection = RejectedFile(Code.COLOUR)
    assert seam.attempt(lambda: fail(rejection), Code.DECODE_FAILED) is Code.COLOUR
    for error, code in (
        (PermissionError(), Code.UNREADABLE), (OSError(errno.EIO, "x"), Code.UNREADABLE),
        (FileNotFoundError(), Code.VANISHED), (MemoryError(), Code.OUT_OF_MEMORY),
    ):  # fmt: skip
        assert seam.attempt(lambda e=error: fail(e), Code.BAD_HEADER) is code
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
