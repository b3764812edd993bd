"""Members of a ZIP archive are read like files; nothing is inflated beyond what is declared."""

import io
import os
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from medssl.ingestion import streams, zips
from medssl.ingestion.codes import Code, RejectedFile

CONTENT = random.Random(0).randbytes(90_000) + bytes(50_000) + b"the end"


def bundle(path: Path, members: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read(path: Path) -> bytes:
    with streams.opened(path) as stream:
        return stream.read()


def code_of(path: Path) -> Code:
    with pytest.raises(RejectedFile, match=r"^[A-Z_]+$") as caught:
        read(path)
    return caught.value.code


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["nothing", "a byte", "much"])
def test_a_member_is_what_was_packed(tmp_path, method, content):
    path = bundle(tmp_path / "a.zip", {"folder/x.dcm": content, "other": b"other"}, method)
    assert read(path / "folder" / "x.dcm") == content
    assert read(path / "other") == b"other"
    assert not streams.is_member(path)
    assert streams.is_member(path / "other")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_is_sought_like_a_file(tmp_path, method, monkeypatch):
    monkeypatch.setattr(streams, "_REWOUND", 100_000)  # so that going back does both
    path = bundle(tmp_path / "a.zip", {"x": CONTENT}, method) / "x"
    draw = random.Random(1)
    reference = io.BytesIO(CONTENT)
    with streams.opened(path) as stream:
        assert stream.seek(0, io.SEEK_END) == len(CONTENT)
        for _ in range(300):
            place, whence = draw.choice(
                [(draw.randrange(-9, 99_999), io.SEEK_CUR), (draw.randrange(150_000), io.SEEK_SET),
                 (-draw.randrange(len(CONTENT)), io.SEEK_END)]
            )  # fmt: skip
            if reference.tell() + place >= 0 or whence != io.SEEK_CUR:
                assert stream.seek(place, whence) == reference.seek(place, whence)
            length = draw.randrange(70_000)
            assert stream.read(length) == reference.read(length)
            assert stream.tell() == reference.tell()


def test_only_what_is_read_is_inflated(tmp_path):
    """The second half is damaged, and nobody notices who reads the first."""
    path = bundle(tmp_path / "a.zip", {"x": random.Random(2).randbytes(300_000)})
    damaged = bytearray(path.read_bytes())
    damaged[200_000:200_100] = bytes(100)
    path.write_bytes(damaged)
    with streams.opened(path / "x") as stream:
        assert len(stream.read(100_000)) == 100_000
        with pytest.raises((zipfile.BadZipFile, zlib.error)):
            stream.read()


def patched(path: Path, signature: bytes, place: int, value: bytes) -> Path:
    """Overwrite a field of the only local or central header."""
    content = bytearray(path.read_bytes())
    at = content.index(signature) + place
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_ends_where_its_table_says(tmp_path, method):
    """What inflates to more is cut there, and then its checksum is wrong."""
    path = bundle(tmp_path / "a.zip", {"x": CONTENT}, method)
    patched(path, b"PK\1\2", 24, struct.pack("<I", 100_000))
    with streams.opened(path / "x") as stream:
        assert stream.read(60_000) == CONTENT[:60_000]
        with pytest.raises(zipfile.BadZipFile, match="wrong checksum"):
            stream.read()


def test_a_member_shorter_than_its_table_says_is_truncated(tmp_path):
    path = bundle(tmp_path / "a.zip", {"x": CONTENT})
    patched(path, b"PK\1\2", 24, struct.pack("<I", len(CONTENT) + 1))
    assert code_of(path / "x") is Code.TRUNCATED


def test_a_table_that_points_nowhere_is_a_code(tmp_path):
    path = bundle(tmp_path / "a.zip", {"x": CONTENT})
    patched(path, b"PK\1\2", 42, struct.pack("<I", 7))
    assert code_of(path / "x") is Code.BAD_HEADER


def test_what_is_gone_or_closed_or_no_file_is_told_apart(tmp_path):
    archive = bundle(tmp_path / "a.zip", {"x": b"1"})
    assert code_of(tmp_path / "gone") is Code.VANISHED
    assert code_of(tmp_path / "gone" / "x") is Code.VANISHED
    assert code_of(archive / "y") is Code.VANISHED
    os.mkfifo(tmp_path / "pipe")
    assert code_of(tmp_path / "pipe") is Code.VANISHED  # a file when it was listed
    (tmp_path / "link").symlink_to(archive)
    assert code_of(tmp_path / "link") is Code.VANISHED


def test_no_permission_is_unreadable(tmp_path, monkeypatch):
    def denied(path, *_):
        raise PermissionError(13, "denied", path)

    (tmp_path / "x").write_bytes(b"x")
    monkeypatch.setattr(streams.regular.os, "open", denied)
    assert code_of(tmp_path / "x") is Code.UNREADABLE


def test_a_changed_archive_is_listed_anew(tmp_path):
    path = bundle(tmp_path / "a.zip", {"x": b"old"})
    assert read(path / "x") == b"old"
    bundle(path, {"y": b"filler", "x": b"new one"})
    assert read(path / "x") == b"new one"


def test_the_table_is_read_once_for_many_members(tmp_path, monkeypatch):
    path = bundle(tmp_path / "a.zip", {f"{n}": bytes([n]) for n in range(200)})
    read(path / "0")
    monkeypatch.setattr(zips.zipfile, "ZipFile", None)  # whatever lists now, fails
    assert [read(path / f"{n}") for n in range(200)] == [bytes([n]) for n in range(200)]
