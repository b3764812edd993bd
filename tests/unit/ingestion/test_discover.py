import os
from pathlib import Path

import pytest

from medssl.foundation.errors import DataError, UsageError
from medssl.ingestion import discover
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
