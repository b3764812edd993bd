"""`medssl evaluate --subgroups --failures` on a run and its archive, and on a table."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medssl.artifacts import archive, predictions, site_models, tables

N = 80


@pytest.fixture(scope="module")
def run(tmp_path_factory, finetune_run, model_info):
    """A run of 80 patients whose scores know nothing of those with a view of PA."""
    root = tmp_path_factory.mktemp("groups")
    finetune_run(root / "run", n_patients=N, changes={"archive": root / "archive"})
    table = predictions.read(root / "run" / "predictions.parquet")
    rows = table.to_pylist()
    for row in rows:
        if _view(row["patient_key"]) == "PA":
            row["score"] = float(np.random.default_rng(int(row["patient_key"][3:])).uniform())
    predictions.write(
        root / "run" / "predictions.parquet", tables.build(rows, predictions.PREDICTIONS)
    )
    owner = {row["image_id"]: row["patient_key"] for row in rows}
    images = [
        dict.fromkeys(archive.IMAGES.names)
        | {"image_id": name, "patient_key": key, "series_key": name, "view": _view(key)}
        for name, key in owner.items()
    ]
    (root / "archive").mkdir()
    archive.write_images(root / "archive", tables.build(images, archive.IMAGES))
    archive.write_labels(root / "archive", tables.build([], archive.LABELS))
    info = archive.ArchiveInfo(
        medssl="0", size=32, spatial_dims=2, key_id="0", files_found=1, files_written=1,
        hash=archive.content_hash(root / "archive"),
    )  # fmt: skip
    archive.write_info(root / "archive", info)
    site_models.write(root / "run", model_info(archive_hash=info.hash))
    return root / "run"


def _view(key):
    return ["AP", "PA"][int(key[3:]) % 2]


def _report(folder):
    return json.loads((folder / "report.json").read_text())


def test_a_group_that_is_served_badly_stands_out(run, run_main, tmp_path):
    code, said, err = run_main(
        "evaluate", run, "--resamples", 300, "--controls", "none", "--failures", 2,
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, err
    assert "AUROC lowest in PA" in said
    found = {one["attribute"]: one for one in _report(tmp_path / "out")["subgroups"]}
    gap = next(row for row in found["view"]["gaps"] if row["metric"] == "auroc")
    assert (gap["worst"], gap["best"]) == ("PA", "AP")
    assert gap["low"] > 0
    assert found["sex"]["reason"] == "not known of any image"
    table = predictions.read(run / "predictions.parquet").to_pylist()
    for group in found["view"]["groups"]:
        truth, scores = {}, {}
        for row in table:
            if row["part"] == "test" and _view(row["patient_key"]) == group["name"]:
                truth[row["patient_key"]] = row["label"]
                scores.setdefault(row["patient_key"], []).append(row["score"])
        expected = roc_auc_score(list(truth.values()), [np.mean(s) for s in scores.values()])
        assert group["values"][0]["value"] == pytest.approx(expected)
        assert group["n_patients"] == len(truth)


def test_failures_are_named_by_their_keys(run, run_main, tmp_path):
    words = ("evaluate", run, "--resamples", 100, "--controls", "none", "--failures", 2)
    assert run_main(*words, "-o", tmp_path / "out")[0] == 0
    rows = _report(tmp_path / "out")["failures"]["rows"]
    assert [row["kind"] for row in rows] == ["false positive"] * 2 + ["false negative"] * 2
    keys = {row["patient_key"] for row in predictions.read(run / "predictions.parquet").to_pylist()}
    assert {row["patient_key"] for row in rows} <= keys
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(row["patient_key"] in page for row in rows)


def test_nothing_is_looked_at_that_was_not_asked_for(run, run_main, tmp_path):
    words = ("--resamples", 100, "--controls", "none", "--subgroups", "none", "--failures", 0)
    assert run_main("evaluate", run, *words, "-o", tmp_path / "out")[0] == 0
    record = _report(tmp_path / "out")
    assert (record["subgroups"], record["failures"]["rows"]) == ([], [])


def test_an_unknown_attribute_is_refused_before_anything_is_written(run, run_main, tmp_path):
    code, _, err = run_main("evaluate", run, "--subgroups", "sexx", "-o", tmp_path / "out")
    assert code == 2
    assert "no attribute called 'sexx'" in err
    assert not (tmp_path / "out").exists()


def test_two_attributes_together_are_judged_where_they_suffice(run, run_main, tmp_path):
    asked = ("--subgroups", "site,view,site*view", "--resamples", 200, "--controls", "none")
    code, _, err = run_main("evaluate", run, *asked, "-o", tmp_path / "out")
    assert code == 0, err
    *_, both = _report(tmp_path / "out")["subgroups"]
    assert both["attribute"] == "site*view"
    names = {group["name"] for group in both["groups"]}
    assert names <= {f"site{n} × {view}" for n in "01" for view in ("AP", "PA")}
    with (tmp_path / "out" / "tables" / "subgroups.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["attribute"] == "site*view"]
    for group in both["groups"]:
        of = [row for row in rows if row["group"] == group["name"]]
        few = min(group["patients_with"], group["patients_without"]) < 10
        assert group["too_few"] == few
        assert len(of) == (1 if few else 4)
        assert all(row["low"] and row["high"] for row in of) != few
        assert of[0]["not_assessed"].startswith("too few patients: ") == few
    page = (tmp_path / "out" / "report.html").read_text()
    assert "site × view" in page


def test_groups_are_judged_by_the_thresholds_chosen_on_inner_parts(
    finetune_run, run_main, tmp_path
):
    rows, _ = finetune_run(tmp_path / "run", n_patients=240)
    test = [row | {"site": "ns"[int(row["patient_key"][3:]) // 3 % 2]}
            for row in rows if row["part"] == "test"]  # fmt: skip
    inner = [
        row | {"fold": fold, "part": "inner"}
        for row in test
        for fold in range(3)
        if row["fold"] != fold and int(row["patient_key"][3:]) % 2
    ]
    table = tables.build([*test, *inner], predictions.PREDICTIONS)
    predictions.write(tmp_path / "run" / "predictions.parquet", table)
    words = ("--resamples", 200, "--controls", "none", "--subgroups", "site")
    asked = ("evaluate", tmp_path / "run", *words, "--threshold", 0.99)
    assert run_main(*asked, "--target-sensitivity", 0.8, "-o", tmp_path / "chosen")[0] == 0
    assert run_main(*asked, "-o", tmp_path / "fixed")[0] == 0
    chosen, fixed = (_report(tmp_path / name) for name in ("chosen", "fixed"))
    assert [one["subgroups"][0]["calls"] for one in (chosen, fixed)] == [
        "chosen_thresholds",
        "threshold",
    ]
    hits = 0.0
    for group in chosen["subgroups"][0]["groups"]:
        values = {value["metric"]: value["value"] for value in group["values"]}
        hits += values["sensitivity"] * group["n_events"]
    assert hits == pytest.approx(chosen["chosen_thresholds"]["true_positives"], abs=1e-9)
    low = [value for group in fixed["subgroups"][0]["groups"] for value in group["values"]]
    assert all(v["value"] < 0.5 for v in low if v["metric"] == "sensitivity")
    text = " ".join((tmp_path / "chosen" / "report.html").read_text().split())
    assert "chosen on inner parts for a sensitivity of 0.8, one for each model" in text


def test_each_of_several_classes_has_its_groups(finetune_run, run_main, tmp_path):
    finetune_run(tmp_path / "run", n_patients=150, classes=3)
    words = ("--resamples", 100, "--controls", "none", "--subgroups", "site", "--failures", 1)
    code, _, err = run_main("evaluate", tmp_path / "run", *words, "-o", tmp_path / "out")
    assert code == 0, err
    record = _report(tmp_path / "out")
    (found,) = record["subgroups"]
    assert {group["column"] for group in found["groups"]} == {"<1", "=1", ">=2"}
    assert {row["column"] for row in record["failures"]["rows"]} == {"<1", "=1", ">=2"}
    assert found["accuracies"] is None
