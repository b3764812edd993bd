"""`reduce --approximate`: what it says, writes and refuses."""

import json
import sys

import numpy as np
import pytest

from medssl.artifacts import archive, selection
from medssl.ingestion import phantoms
from medssl.thinning import approximate

BY = ("--by", "embedding", "--within", "archive", "--controls", 1, "--approximate")


@pytest.fixture(scope="module")
def slices(tmp_path_factory, run_main):
    """An archive of some hundred slices."""
    root = tmp_path_factory.mktemp("approximate")
    phantoms.generate(root / "scans", n_patients=12, image_size=32, ct_slices=20)
    words = ("ingest", root / "scans", "--max-rejects", 1, "-o", root / "archive")
    assert run_main(*words)[0] == 0
    return root / "archive"


@pytest.fixture
def small(monkeypatch):
    """A scope of more than 20 images is large, and so are blocks of 8."""
    monkeypatch.setattr(approximate, "ABOVE", 20)
    monkeypatch.setattr(approximate, "BLOCK", 8)


@pytest.mark.usefixtures("small")
def test_the_recall_is_said_and_written(slices, run_main, tmp_path):
    code, _, err = run_main("reduce", slices, *BY, "-o", tmp_path / "run")
    assert code == 0, err
    info = selection.read_info(tmp_path / "run")
    found = info.approximate
    assert found["recall"] == found["found"] / found["covered"]
    assert 0 < found["covered"] <= found["drawn"] == info.n_images - 8
    assert (found["scopes"], found["above"], found["probes"]) == (1, 20, approximate.PROBES)
    assert f"recall {found['recall']:.3f} of {found['drawn']:,} images" in " ".join(err.split())
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["how"]["approximate"] == found
    page = (tmp_path / "run" / "report.html").read_text()
    assert "searched approximately" in page
    assert "So no two kept images" not in page
    dropped = selection.read_dropped(tmp_path / "run")
    kept = set(selection.read_kept(tmp_path / "run")["image_id"].to_pylist())
    assert set(dropped["representative_id"].to_pylist()) <= kept
    assert np.all(dropped["similarity"].to_numpy() >= 0.9)
    assert selection.read_info(tmp_path / "run" / "controls" / "random-0").approximate == {}


def test_below_the_limit_it_is_the_exact_selection_and_that_is_said(slices, run_main, tmp_path):
    code, _, err = run_main("reduce", slices, *BY, "-o", tmp_path / "run")
    assert code == 0, err
    assert "exact thinning all the same: --approximate begins above 500,000 images" in " ".join(
        err.split()
    )
    assert selection.read_info(tmp_path / "run").approximate == {}
    assert "So no two kept images" in (tmp_path / "run" / "report.html").read_text()
    assert run_main("reduce", slices, *BY[:-1], "-o", tmp_path / "exact")[0] == 0
    for name in ("kept.parquet", "dropped.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "exact" / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--by", "dhash"), "what dhash describes images by"),
        (("--by", "exact,embedding"), "its threshold: by asks for more"),
        (("--by", "embedding", "--keep", 0.5), "its threshold: keep asks for more"),
        (("--by", "embedding", "--budget", 9, "--select", "k_center"), "budget, select asks"),
    ],
)
def test_what_cannot_be_searched_is_refused(slices, run_main, tmp_path, more, message):
    code, _, err = run_main("reduce", slices, *more, "--approximate", "-o", tmp_path / "run")
    assert (code, message in " ".join(err.split())) == (2, True), err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_without_faiss_it_stops_before_it_begins(slices, run_main, tmp_path, monkeypatch, dry):
    monkeypatch.setitem(sys.modules, "faiss", None)
    code, _, err = run_main("reduce", slices, *BY, *dry, "-o", tmp_path / "run")
    assert (code, "pip install 'medssl[faiss]'" in " ".join(err.split())) == (5, True), err
    assert not (tmp_path / "run").exists()
    assert archive.read_images(slices).num_rows > 20
