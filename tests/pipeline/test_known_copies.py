"""Images that are known to be one, among real ones that are not."""

import csv
import hashlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medssl import reduction
from medssl.artifacts import aliases, archive, selection
from medssl.data.shown import Shown
from medssl.foundation import plugins

FALSE = {"dhash": 17, "phash": 2}  # pairs of other children that look the same, of 853,341


@pytest.fixture(scope="module")
def radiographs(test_data):
    """Grey values, patients and digests; 8 pairs are copies, one of them under two patients."""
    folder = test_data / "cxr-pediatric"
    with (folder / "labels.csv").open(newline="") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: row["image"])
    images = [np.asarray(Image.open(folder / row["image"]).convert("L")) for row in rows]
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    return images, np.array([row["patient_id"] for row in rows]), digests


@pytest.mark.parametrize("name", ["dhash", "embedding", "exact", "phash"])
def test_copies_are_found_and_little_else(radiographs, name):
    images, patients, digests = radiographs
    plugin = plugins.load(reduction, name)
    config = plugin.Config()
    source = digests if plugin.needs(config) == "digests" else [Shown(image) for image in images]
    found = plugin.describe(source, config)
    i, j = np.nonzero(np.triu(plugin.similarity(found, found, config) >= plugin.SAME - 1e-6, 1))
    is_copy = np.array(digests)[i] == np.array(digests)[j]
    across = patients[i] != patients[j]
    assert is_copy.sum() == 8
    assert (is_copy & across).sum() == 1
    assert (~is_copy & across).sum() <= FALSE.get(name, 0)


def rows_of(folder, *columns):
    return archive.read_images(folder).select(["image_id", *columns]).to_pylist()


@pytest.fixture(scope="module")
def copies(tmp_path_factory, run_main):
    """The same images of pydicom-data raw, compressed without loss, and with loss."""
    data_store = pytest.importorskip("data_store")
    root = tmp_path_factory.mktemp("copies")
    (root / "scans").mkdir()
    for path in Path(data_store.__file__).parent.glob("data/*_[JU]*.dcm"):
        if path.name.split("_")[0] in {"MR2", "RG1", "RG3", "US1"}:
            shutil.copy(path, root / "scans")
    words = ("ingest", root / "scans", "--colour", "gray", "-o", root / "archive")
    assert run_main(*words)[0] == 0
    return root / "archive"


def test_lossless_copies_are_exact_and_lossy_ones_nearly_so(copies, run_main, tmp_path):
    patients = Counter(row["patient_key"] for row in rows_of(copies, "patient_key"))
    assert sorted(patients.values()) == [3, 3, 3, 3]  # raw, lossless and lossy
    lossy = {row["image_id"] for row in rows_of(copies, "lossy") if row["lossy"]}
    words = ("reduce", copies, "--within", "patient", "--controls", 0)
    for by, stay in (("exact", 2), ("dhash", 1), ("phash", 1), ("embedding", 1), ("ssim", 1)):
        assert run_main(*words, "--by", by, "-o", tmp_path / by)[0] == 0
        kept = set(selection.read_kept(tmp_path / by)["image_id"].to_pylist())
        assert len(kept) == 4 * stay, by
        assert (lossy <= kept) == (by == "exact")


@pytest.fixture(scope="module")
def children(test_data, tmp_path_factory, run_main):
    root = tmp_path_factory.mktemp("children")
    words = ("ingest", test_data / "cxr-pediatric", "-o", root / "archive")
    assert run_main(*words)[0] == 0
    return root / "archive"


def test_the_known_duplicates_are_dropped_and_the_known_alias_is_listed(
    children, run_main, tmp_path
):
    words = ("reduce", children, "--by", "exact", "--within", "archive", "-o", tmp_path / "run")
    assert run_main(*words)[0] == 0
    assert selection.read_dropped(tmp_path / "run").num_rows == 8
    (alias,) = aliases.read(tmp_path / "run" / aliases.NAME)
    assert alias.kind == aliases.ALIAS
    sha = {row["image_id"]: row["pixel_sha256"] for row in rows_of(children, "pixel_sha256")}
    assert sha[alias.image_id] == sha[alias.other_image_id]


def test_a_copied_test_image_is_found_under_another_patient(
    children, test_data, run_main, tmp_path
):
    """One as it is, one brighter, and one of somebody else."""
    (tmp_path / "scans").mkdir()
    first, second, *_ = sorted(test_data.glob("cxr-pediatric/**/*.png"))
    shutil.copy(first, tmp_path / "scans" / "a.png")
    grey = np.asarray(Image.open(second).convert("L"))
    Image.fromarray(np.clip(grey * 1.1 + 5, 0, 255).astype(np.uint8)).save(
        tmp_path / "scans" / "b.png"
    )
    shutil.copy(next(test_data.glob("cxr-nih-sample/**/*.png")), tmp_path / "scans" / "c.png")
    assert run_main("ingest", tmp_path / "scans", "-o", tmp_path / "cohort")[0] == 0
    words = ("reduce", children, "--against", tmp_path / "cohort", "--controls", 1)
    assert run_main(*words, "-o", tmp_path / "run")[0] == 0
    leaks = selection.read_leaks(tmp_path / "run").to_pylist()
    assert len(leaks) == len({row["other_image_id"] for row in leaks}) == 2
    assert {row["reason"] for row in leaks} == {"image"}
    left = {row["image_id"] for row in leaks}
    for folder in (tmp_path / "run", tmp_path / "run" / "controls" / "random-0"):
        assert not left & set(selection.read_pool(folder).to_pylist())
        assert selection.read_info(folder).n_left_out == 2
    code, _, err = run_main(*words, "--strict", "-o", tmp_path / "strict")
    assert (code, "will be evaluated on" in err) == (3, True)
    assert selection.read_leaks(tmp_path / "strict").num_rows == 2
