"""The next command can be pasted into a shell, whatever the folders are called."""

import json
import shlex
import shutil

import pytest


@pytest.fixture
def spaced(tiny_archive, tmp_path):
    """The archive in a folder with a space and a quote in its name."""
    return shutil.copytree(tiny_archive, tmp_path / "Dr Müller's scans" / "archive")


@pytest.mark.parametrize(
    ("words", "following"),
    [
        (("reduce", "ARCHIVE"), ["pretrain", "ARCHIVE", "--selection", "RUN"]),
        (("pretrain", "ARCHIVE", "--smoke"),
         ["finetune", "ARCHIVE", "--init-from", "RUN"]),
        (("finetune", "ARCHIVE", "--init-from", "none", "--smoke"), ["evaluate", "RUN"]),
    ],
)  # fmt: skip
def test_it_is_quoted(cli, spaced, tmp_path, words, following):
    places = {"ARCHIVE": str(spaced), "RUN": str(tmp_path / "a run; of mine")}
    small = () if words[0] == "reduce" else ("--image-size", 32, "--device", "cpu")
    given = [places.get(word, word) for word in words]
    code, out, err = cli(*given, *small, "-o", places["RUN"], "--json")
    assert code == 0, err
    expected = ["medssl", *(places.get(word, word) for word in following)]
    assert shlex.split(json.loads(out)["next"]) == expected
