"""`medssl doctor --phi-canary` on all commands: nothing planted leaves `private/`."""

import html
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medssl.cli import canary as command
from medssl.ingestion.canary import planting as canary
from medssl.ingestion.canary.search import Needles


@dataclass(frozen=True)
class Checked:
    """What the command said, and its folder."""

    folder: Path
    code: int
    said: dict[str, Any]
    stderr: str


@pytest.fixture(scope="module")
def checked(run_main, tmp_path_factory) -> Checked:
    folder = tmp_path_factory.mktemp("canary") / "canary"
    code, out, err = run_main("doctor", "--phi-canary", folder, "--json")
    return Checked(folder, code, json.loads(out), err)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> canary.Planted:
    """The same texts, planted anew."""
    return canary.plant(tmp_path_factory.mktemp("planted") / "scans")


def test_nothing_that_was_planted_leaves_private(checked):
    assert checked.said["problems"] == []
    assert checked.said["leaks"] == []
    assert checked.said["verdict"] == "nothing that was planted leaves private/"
    assert checked.code == 0
    assert checked.said["folder"] == str(checked.folder)


def test_what_was_planted_was_read_and_is_found_where_it_may_stand(checked, planted):
    assert checked.said["plants"] == len(planted.plants)
    assert checked.said["found_in_private"] > 50
    needles = Needles(planted.plants)
    private = checked.folder / "out" / planted.archive / "private"
    found = needles.find((private / "paths.parquet").read_bytes())
    paths = {plant.where for plant in found}
    assert {"the file name of the NIfTI volume", "the folder of patient 7"} <= paths
    left = needles.find((private / "unmatched_labels.parquet").read_bytes())
    assert "the id of a patient in the table who has no file" in {plant.where for plant in left}


def test_everything_that_commands_left_was_searched(checked):
    left = [
        path
        for top in ("out", "said")
        for path in (checked.folder / top).rglob("*")
        if path.is_file() and "private" not in path.relative_to(checked.folder).parts
    ]
    assert checked.said["files"] == len(left) > 100
    assert checked.said["bytes"] == sum(path.stat().st_size for path in left)
    kinds = {path.suffix for path in left}
    assert {".parquet", ".npy", ".json", ".yaml", ".txt", ".safetensors", ".pt", ".png"} <= kinds
    assert {".html", ".out", ".err"} <= kinds


def test_every_command_was_run_with_its_output_kept(checked):
    said = {path.stem.partition("-")[2] for path in (checked.folder / "said").iterdir()}
    assert checked.said["commands"] == len(said)
    stages = {"ingest", "reduce", "pretrain", "finetune", "evaluate", "compare"}
    assert stages | {"ingest-dry-run", "ingest-of-every-kind", "evaluate-a-table"} <= said
    assert not list(checked.folder.rglob(".partial-*"))


def test_a_path_the_user_typed_is_said_to_the_user_only(checked, planted):
    """The control for its absence from artefacts: messages do name what the user typed."""
    texts = [path.read_text(errors="replace") for path in (checked.folder / "said").iterdir()]
    assert any(planted.absent in text for text in texts)
    assert any(planted.labels.stem in text for text in texts)
    config = checked.folder / "out" / "runs" / "foreign" / "config.yaml"
    assert planted.predictions.name in config.read_text()


def test_names_that_are_markup_stand_escaped_in_the_reports(checked, planted):
    out = checked.folder / "out"
    pages = [
        out / "runs" / "evaluate" / "report.html",
        out / "runs" / "compare" / "comparison.html",
        out / "every-kind" / "report.html",
    ]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert planted.target not in text
        assert html.escape(planted.target, quote=False) in re.sub("&#39;|&#x27;", "'", text)
        assert not re.search(r"<(script|svg|b|img)\s[^>]*alert", text)


@pytest.mark.parametrize("name", ["images.parquet", "archive.json", "pixels/00000.npy"])
def test_a_leak_into_a_real_artefact_is_found(checked, planted, tmp_path, name):
    """Each with the id of a patient, put there as the format would hold it."""
    patient = next(p for p in planted.plants if p.where == "PatientID of patient 5")
    archive = tmp_path / "out" / "archive"
    shutil.copytree(checked.folder / "out" / planted.archive, archive)
    path = archive / name
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        column = table.column_names.index("site")
        sites = [patient.text, *table["site"].to_pylist()[1:]]
        pq.write_table(table.set_column(column, "site", [sites]), path, compression="zstd")
    else:
        path.write_bytes(path.read_bytes() + patient.text.lower().encode())
    (hit,) = command._leaks(path, tmp_path, Needles(planted.plants))
    assert (hit.planted, hit.found) == (patient.where, f"out/archive/{name}")


def test_it_says_what_it_does(checked):
    assert f"running {checked.said['commands']} commands" in checked.stderr
