"""A reader sees the old content or the new; what fails names the folder and what to do."""

import errno
import hashlib
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.foundation import files
from medssl.foundation.errors import ResourceError, UsageError


@given(content=st.binary(max_size=200))
def test_what_is_written_is_read(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("files") / "a.bin"
    files.write_bytes(path, content)
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]


def test_text_is_utf8(tmp_path):
    files.write_text(tmp_path / "a.txt", "Größe ≤ 3\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe ≤ 3\n".encode()


@pytest.mark.parametrize("failure", [ValueError("mid-way"), KeyboardInterrupt("mid-way")])
def test_a_failure_leaves_the_old_content_and_no_debris(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with files.replacing(path) as temp:
            temp.write_text("half of the n")
            raise failure

    with pytest.raises(type(failure), match="mid-way"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_content_stays_visible_until_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.replacing(path) as temp:
        temp.write_text("new")
        assert path.read_text() == "old"
        assert temp.suffix == ".txt"
    assert path.read_text() == "new"


def test_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    synced: list[tuple[str, str]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        what = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append((what, path.read_text()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    files.write_text(path, "new")
    assert synced == [("file", "old"), ("folder", "new")]


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "no permission to write"),
        (errno.EACCES, "no permission to write"),
    ],
)
def test_a_full_or_forbidden_disk_is_a_resource_error(tmp_path, monkeypatch, number, problem):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if number == errno.EACCES:  # folders that cannot be synced are tolerated; a write is not
        monkeypatch.setattr(os, "open", lambda *_: refuse(0))
    with pytest.raises(ResourceError, match=problem) as caught:
        files.write_text(path, "new")
    assert caught.value.exit_code == 6
    assert caught.value.where == str(tmp_path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("inside", ["", "a.txt", "deeper/a.txt"])
def test_a_file_where_a_folder_is_needed_is_named(tmp_path, inside):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    folder = taken / inside
    with (
        pytest.raises(UsageError, match="a file is in the way") as caught,
        files.explained(folder),
    ):
        folder.mkdir(parents=True, exist_ok=True)
    assert caught.value.where == str(taken)
    assert taken.read_text() == "mine"


def test_other_system_errors_are_not_explained_away(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        files.write_text(tmp_path / "absent" / "a.txt", "new")


def test_files_get_the_mode_a_plain_write_would_give(tmp_path):
    (tmp_path / "plain").write_text("x")
    files.write_text(tmp_path / "atomic", "x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_sweep_removes_what_a_killed_process_left_and_nothing_else(tmp_path):
    (tmp_path / f"{files.TEMP_PREFIX}abc.json").write_text("half")
    (tmp_path / "report.json").write_text("whole")
    files.sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


@given(text=st.text(max_size=50))
def test_digests_are_sha256(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("digest") / "a.txt"
    path.write_bytes(text.encode())
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert files.sha256(path) == files.sha256_text(text) == expected
