"""`medssl info --quarantined` knows where files lie only beside `private/`."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

NAME = "b\x1b[2Jad\n.gif"  # would clear the screen


@pytest.fixture
def ingested(cli, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(scans / "a.png")
    (scans / NAME).write_bytes(b"GIF89a" + bytes(20))
    (scans / "empty").touch()
    (scans / "note.txt").write_text("x")
    assert cli("ingest", scans, "-o", tmp_path / "archive", "--max-rejects", 1)[0] == 0
    return tmp_path / "archive"


def test_what_is_left_out_is_listed_with_its_path(cli, ingested):
    code, out, _ = cli("info", ingested, "--quarantined")
    scans = ingested.parent / "scans"
    assert code == 0
    assert [line.split(maxsplit=1) for line in out.splitlines()] == [
        ["EMPTY_FILE", str(scans / "empty")],
        ["SKIPPED_TEXT", str(scans / "note.txt")],
        ["UNSUPPORTED_FORMAT", str(scans / "b\\x1b[2Jad\\n.gif")],
    ]
    code, out, _ = cli("info", ingested, "EMPTY_FILE", "--quarantined", "SKIPPED_TEXT", "--json")
    files = json.loads(out)["files"]
    assert (code, [(file["code"], file["stage"]) for file in files]) == (
        0, [("EMPTY_FILE", "sniff"), ("SKIPPED_TEXT", "sniff")],
    )  # fmt: skip
    assert cli("info", ingested, "--quarantined", "BOMB")[1] == "files  none\n"


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("EMPTY_FILE",), 2, "'EMPTY_FILE' is a code only with --quarantined"),
        (("--quarantined", "EMPTY_FIL"), 2, "did you mean 'EMPTY_FILE'?"),
    ],
)
def test_wrong_words_are_refused(cli, ingested, words, code, problem):
    found, _, err = cli("info", ingested, *words)
    assert (found, problem in err) == (code, True)


def test_without_private_nobody_knows(cli, ingested):
    shutil.rmtree(ingested / "private")
    code, out, err = cli("info", ingested, "--quarantined")
    assert (code, out, "has no private/ here" in err) == (4, "", True)
    code, _, err = cli("info", ingested.parent / "none", "--quarantined")
    assert (code, "no archive" in err) == (4, True)
