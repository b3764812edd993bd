import io
import os
import stat
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from medssl.foundation.errors import DataError, UsageError
from medssl.ingestion import discover, zips
from medssl.ingestion.codes import Code


def names(found):
    return [(file.source, file.relative) for file in found]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b/2.dcm", "b/10.dcm", "a.png", "b/c/x", "Z"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "tree"


def test_the_order_does_not_depend_on_the_file_system(tree, monkeypatch):
    expected = names(discover.walk([tree]))
    assert expected == [(0, n) for n in ("Z", "a.png", "b/10.dcm", "b/2.dcm", "b/c/x")]
    monkeypatch.setattr(discover, "scandir", lambda path: reversed(list(os.scandir(path))))
    assert names(discover.walk([tree])) == expected


def test_links_and_specials_are_listed_and_never_opened(tree):
    (tree / "link.png").symlink_to(tree / "a.png")
    (tree / "loop").symlink_to(tree)
    (tree / "dangling").symlink_to(tree / "absent")
    os.mkfifo(tree / "pipe")
    codes = {file.relative: file.code for file in discover.walk([tree]) if file.code}
    assert codes == {
        "link.png": Code.SKIPPED_LINK, "loop": Code.SKIPPED_LINK, "dangling": Code.SKIPPED_LINK,
        "pipe": Code.SKIPPED_SPECIAL,
    }  # fmt: skip


def test_a_file_reached_twice_is_listed_once(tree):
    assert names(discover.walk([tree / "b", tree, tree])) == [
        (0, "10.dcm"), (0, "2.dcm"), (0, "c/x"), (1, "Z"), (1, "a.png"),
    ]  # fmt: skip


def test_a_source_can_be_a_file(tree):
    assert names(discover.walk([tree / "a.png"])) == [(0, "a.png")]


def test_the_output_is_left_out(tree):
    found = discover.walk([tree], exclude=(tree / "b").resolve())
    assert names(found) == [(0, "Z"), (0, "a.png")]


def test_names_that_are_no_utf8_are_found(tree):
    (tree / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x")
    assert len(discover.walk([tree])) == 6


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"absent: no such file or folder"):
        discover.walk([tmp_path / "absent"])


@pytest.fixture
def closed(monkeypatch):
    """Close folders of these names; for the superuser, whom no permission stops, too."""
    names = set()

    def listed(path):
        if path.name in names:
            raise PermissionError(13, "denied", str(path))
        return os.scandir(path)

    monkeypatch.setattr(discover, "scandir", listed)
    return names


def test_a_folder_that_cannot_be_listed_stands_for_what_lies_in_it(tree, closed):
    closed.add("c")
    found = {file.relative: file.code for file in discover.walk([tree])}
    assert found == {
        "Z": None, "a.png": None, "b/10.dcm": None, "b/2.dcm": None, "b/c": Code.UNREADABLE,
    }  # fmt: skip


def test_a_source_that_cannot_be_listed_is_named_as_the_user_did(tree, closed, monkeypatch):
    closed.add("tree")
    monkeypatch.chdir(tree.parent)
    with pytest.raises(DataError, match=r"^tree: the folder cannot be listed"):
        discover.walk([Path("tree")])


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A file below more folders than Python may call functions."""
    monkeypatch.chdir(tmp_path)
    depth = sys.getrecursionlimit() + 100
    for _ in range(depth):
        Path("d").mkdir()
        os.chdir("d")
    Path("file").write_bytes(b"x")
    yield tmp_path
    Path("file").unlink()
    for _ in range(depth):  # nor can a recursive function delete them
        os.chdir("..")
        Path("d").rmdir()


def test_a_tree_deeper_than_the_stack_of_python_is_walked(deep):
    assert [file.path.name for file in discover.walk([deep])] == ["file"]


def bundle(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def listed(root):
    return {file.relative: file.code for file in discover.walk([root])}


def test_a_zip_is_a_folder_whatever_it_is_called(tmp_path):
    (tmp_path / "a").mkdir()
    bundle(tmp_path / "a" / "case.dcm", {"s/2": b"2", "s/": b"", "s/10": b"10", "empty/": b""})
    found = discover.walk([tmp_path])
    assert names(found) == [(0, "a/case.dcm/s/10"), (0, "a/case.dcm/s/2")]
    assert found[0].path == tmp_path / "a" / "case.dcm" / "s" / "10"
    assert names(discover.walk([tmp_path / "a" / "case.dcm"]))[0] == (0, "case.dcm/s/10")


@pytest.mark.parametrize("name", ["Smith J.zip", "Smith J.ZIP", "Smith J"])
def test_the_folder_of_a_member_is_the_same_as_if_it_were_unpacked(tmp_path, name):
    bundle(tmp_path / name, {"ct/1.dcm": b"1", "2.dcm": b"2"})
    parents = {file.path.name: file.parent for file in discover.walk([tmp_path])}
    assert parents == {"1.dcm": "ct", "2.dcm": "Smith J"}


def test_no_name_leads_out_of_the_zip_and_none_is_lost(tmp_path):
    evil = ["../../etc/x", "/abs/x", "C:\\win\\x", "a/./b", "..", "x" * 3000 + "/z", "nul\0name"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in evil:
            archive.writestr(zipfile.ZipInfo(name), b"1")
    found = [file.relative.removeprefix("a.zip/") for file in discover.walk([tmp_path])]
    assert sorted(found) == sorted(
        ["etc/x", "abs/x", "win/x", "a/b", "unnamed", "x" * 998 + "/z", "nul"]
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_taken_gets_a_number(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("x/a.dcm", "x/a.dcm", "x/a~2.dcm", "x//a.dcm", "x"):
            archive.writestr(name, name)
    assert set(listed(tmp_path)) == {
        "a.zip/x/a.dcm", "a.zip/x/a~2.dcm", "a.zip/x/a~2~2.dcm", "a.zip/x/a~3.dcm", "a.zip/x",
    }  # fmt: skip


def test_links_and_specials_in_a_zip_are_never_opened(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, kind in (("link", stat.S_IFLNK), ("pipe", stat.S_IFIFO), ("file", stat.S_IFREG)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (kind | 0o644) << 16
            archive.writestr(info, "/etc/passwd")
    assert listed(tmp_path) == {
        "a.zip/link": Code.SKIPPED_LINK, "a.zip/pipe": Code.SKIPPED_SPECIAL, "a.zip/file": None,
    }  # fmt: skip


def central(path, place, form, *values):
    """Overwrite a field in the entries of the table of contents, one after the other."""
    content = bytearray(path.read_bytes())
    at = 0
    for value in values:
        at = content.index(b"PK\1\2", at) + 4
        struct.pack_into(form, content, at - 4 + place, value)
    path.write_bytes(content)


def test_what_is_encrypted_is_told_for_each_or_for_all(tmp_path):
    path = bundle(tmp_path / "a.zip", {"1": b"1", "2": b"2"})
    central(path, 8, "<H", 1)
    assert listed(tmp_path) == {"a.zip/1": Code.ENCRYPTED, "a.zip/2": None}
    central(path, 8, "<H", 1, 0x41)
    os.utime(path, (1, 1))
    assert listed(tmp_path) == {"a.zip": Code.ENCRYPTED}


def test_a_packing_that_is_not_read_is_told(tmp_path):
    bundle(tmp_path / "a.zip", {"1": b"1"}, zipfile.ZIP_LZMA)
    bundle(tmp_path / "b.zip", {"1": b"1", "2": b"2"})
    central(tmp_path / "b.zip", 10, "<H", 9)  # deflate64
    assert listed(tmp_path) == {
        "a.zip": Code.UNSUPPORTED_FORMAT, "b.zip/1": Code.UNSUPPORTED_FORMAT, "b.zip/2": None,
    }  # fmt: skip


def test_an_empty_or_damaged_zip_is_one_file(tmp_path):
    bundle(tmp_path / "empty.zip", {})
    bundle(tmp_path / "folders.zip", {"a/": b"", "b/": b""})
    whole = bundle(tmp_path / "whole.zip", {"a": bytes(999), "b": b""}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    (tmp_path / "start.zip").write_bytes(whole[:4])
    assert listed(tmp_path) == {
        "empty.zip": Code.EMPTY_FILE, "folders.zip": Code.EMPTY_FILE, "whole.zip/a": None,
        "whole.zip/b": None, "cut.zip": Code.BAD_HEADER, "start.zip": Code.BAD_HEADER,
    }  # fmt: skip


MANIFEST, CLASS = {"META-INF/": b"", "META-INF/MANIFEST.MF": b"x"}, {"org/A.class": b"x"}


@pytest.mark.parametrize(
    ("method", "members"),
    [
        (zipfile.ZIP_DEFLATED, {"[Content_Types].xml": b"x", "word/media/1": b"y"}),
        (zipfile.ZIP_DEFLATED, {"_rels/.rels": b"x", "a": b"y", "[Content_Types].xml": b"x"}),
        (zipfile.ZIP_STORED, {"mimetype": b"application/epub+zip", "content": b"y"}),
        (zipfile.ZIP_DEFLATED, {**MANIFEST, **CLASS, "icon.PNG": b"x", "META-INF/LICENSE": b""}),
        (zipfile.ZIP_DEFLATED, {**CLASS, **MANIFEST}),
    ],
)
def test_a_document_or_a_program_is_one_file_that_is_no_image(tmp_path, method, members):
    bundle(tmp_path / "a", members, method)
    assert listed(tmp_path) == {"a": Code.SKIPPED_OTHER}


@pytest.mark.parametrize(
    "first",
    [
        {"mask.npy": b"x"},
        {"META-INF/MANIFEST.MF": b"x"},
        {**MANIFEST, **CLASS},
        {"mimetype": b"x"},  # not as books have it, who store it as it is
        {"_rels/.rels": b"x"},
    ],
)
def test_one_member_does_not_tell_what_the_others_are(tmp_path, first):
    content = {**first, "dicom/1": b"1", "dicom/2": b"2"}
    bundle(tmp_path / "a.zip", content)
    assert listed(tmp_path) == {f"a.zip/{name}": None for name in content if not name.endswith("/")}


def test_a_program_needs_classes(tmp_path):
    bundle(tmp_path / "a.zip", {**MANIFEST, "1.png": b"1"})
    assert listed(tmp_path) == {"a.zip/META-INF/MANIFEST.MF": None, "a.zip/1.png": None}


def test_a_damaged_document_is_one_but_a_damaged_zip_may_hold_anything(tmp_path):
    for name, members in (("a.docx", {"[Content_Types].xml": b"x"}), ("a.zip", MANIFEST)):
        whole = bundle(tmp_path / name, {**members, "b": bytes(99)}).read_bytes()
        (tmp_path / name).write_bytes(whole[:-30])
    assert listed(tmp_path) == {"a.docx": Code.SKIPPED_OTHER, "a.zip": Code.BAD_HEADER}


def test_arrays_and_nothing_else_are_one_file(tmp_path, monkeypatch):
    path = bundle(tmp_path / "a.npz", {"train_images.npy": b"x", "notes.npy": b"y"})
    assert listed(tmp_path) == {"a.npz": None}
    central(path, 24, "<I", 2**32 - 2, 3)  # large ones are judged by their reader
    monkeypatch.setattr(zips, "MAX_MEMBER", 2**31)
    os.utime(path, (1, 1))
    assert listed(tmp_path) == {"a.npz": None}


def test_members_that_overlap_are_a_bomb(tmp_path):
    """Many entries that lead to the same bytes, as in the densest bombs known."""
    once = bundle(tmp_path / "a.zip", {"1": bytes(2_000_000)}).read_bytes()
    start, end = once.index(b"PK\1\2"), once.index(b"PK\5\6")
    table = once[start:end] * 500
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 500, 500, len(table), start, 0)
    (tmp_path / "a.zip").write_bytes(once[:start] + table + tail)
    assert listed(tmp_path) == {"a.zip": Code.BOMB}


def test_a_member_that_packs_too_well_is_a_bomb_and_others_are_not(tmp_path):
    path = bundle(tmp_path / "a.zip", {"bomb": b"1", "huge": b"2", "small": b"3"})
    central(path, 24, "<I", 2**28 + 1, 2**28, 3)
    assert listed(tmp_path) == {"a.zip/bomb": Code.BOMB, "a.zip/huge": None, "a.zip/small": None}


def test_what_all_members_claim_together_is_bounded(tmp_path, monkeypatch):
    path = bundle(tmp_path / "a.zip", {f"{n}": b"1" for n in range(9)})
    central(path, 24, "<I", *[2**28] * 9)
    assert set(listed(tmp_path).values()) == {None}
    monkeypatch.setattr(zips, "MAX_TOTAL", 9 * 2**28 - 1)
    os.utime(path, (1, 1))
    assert listed(tmp_path) == {"a.zip": Code.BOMB}


def test_more_members_than_anyone_has_are_not_listed(tmp_path, monkeypatch):
    path = bundle(tmp_path / "a.zip", {f"{n}": b"" for n in range(40)})
    monkeypatch.setattr(zips, "MAX_MEMBERS", 40)
    assert len(listed(tmp_path)) == 40
    monkeypatch.setattr(zips, "MAX_MEMBERS", 39)
    os.utime(path, (1, 1))
    assert listed(tmp_path) == {"a.zip": Code.BOMB}
    monkeypatch.setattr(zips, "_MAX_TABLE", 39 * 46)
    os.utime(path, (2, 2))
    assert listed(tmp_path) == {"a.zip": Code.BOMB}


def test_a_dicom_file_that_begins_like_a_zip_is_a_file(tmp_path):
    packed = io.BytesIO()
    zipfile.ZipFile(packed, "w").close()
    (tmp_path / "a").write_bytes((b"PK\3\4" + bytes(124)) + b"DICM" + packed.getvalue())
    assert listed(tmp_path) == {"a": None}
