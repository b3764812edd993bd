"""Patients whom a run held out of all its models are no external test of it."""

import json
import re

import numpy as np
import pytest
import two_sites
from sklearn.metrics import roc_auc_score

from medssl.artifacts import archive, fold_models, predictions, report
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import calibrators
from medssl.reporting import checklist
from medssl.stages import evaluate
from medssl.training import external

HELD = 20  # patients of the south


@pytest.fixture(scope="module")
def both(tmp_path_factory, run_main):
    """One archive of two sites."""
    root = tmp_path_factory.mktemp("both")
    one = two_sites.site(root / "one", run_main, range(80), 0)
    south = set(sorted(set(archive.read_images(one)["patient_key"].to_pylist()))[:HELD])
    return two_sites.changed(
        one,
        root / "both",
        images=lambda row: row | {"site": "south" if row["patient_key"] in south else "north"},
    )


@pytest.fixture(scope="module")
def more(tmp_path_factory, run_main):
    """The same patients and thirty new ones, all with other images."""
    return two_sites.site(tmp_path_factory.mktemp("more"), run_main, range(110), 3)


@pytest.fixture(scope="module")
def run(both, tmp_path_factory, run_main):
    out = tmp_path_factory.mktemp("run") / "run"
    words = ("--target", "left", "--split", "hold_out", "--hold-out", "south", "--inner", 0.6,
             "--init-from", "none", "--image-size", 16, "--schedule", "linear_probe",
             "--epochs", 1, "--device", "cpu", "--workers", 1)  # fmt: skip
    said = run_main("finetune", both, *words, "-o", out)
    assert said[0] == 0, said
    return out


@pytest.fixture(scope="module")
def tested(run, both, tmp_path_factory, run_main):
    out = tmp_path_factory.mktemp("tested") / "out"
    words = ("--resamples", 100, "--device", "cpu", "--target-specificity", 0.8, "--json")
    said = run_main("evaluate", run, "--on", both, "-o", out, *words)
    assert said[0] == 0, said
    return out, json.loads(said[1])


def test_nothing_calls_it_external(tested):
    out, result = tested
    record = report.read(out)
    assert record["source"] == "held-out test"
    assert record["external"]["own"]
    assert result["external"]["shared_patients"] == result["n_patients"] == HELD
    page = (out / "report.html").read_text(encoding="utf-8")
    card = (out / "model_card.md").read_text(encoding="utf-8")
    assert "Test on held-out patients" in page
    assert "whom the run held out of all its models, and no external test" in card
    for text in (page, card):
        said = text.lower().replace("no external test", "")
        assert not re.search(r"external test(?!ing)", said)  # an item of a checklist is called so
        assert "another archive" not in text
    assert any(text.startswith("No external test") for text in result["cautions"])


def test_nobody_is_compared_with_himself(tested):
    """The run tested the same patients: there are no two independent samples."""
    out, said = tested
    assert said["elsewhere"]["rows"] == []
    assert said["elsewhere"]["alone"] != []
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Cross-validation and external test" not in page
    assert "Nobody is in both" not in page


def test_the_annex_leaves_external_testing_to_the_author(tested):
    filled = {one.name: one for one in checklist.fill(report.read(tested[0]))}
    known = {item.number: item.said for item in filled["METRICS"].items}
    assert known["27"].startswith("sites held out of training, within one archive")
    kept = {item.said for one in filled.values() for item in one.items if item.said}
    assert not any("of another archive" in text for text in kept)


def test_the_numbers_are_those_of_the_one_model_as_it_is_calibrated(tested, run):
    """Computed from the predictions of the run, patient by patient."""
    (model,) = fold_models.read_all(run)
    made = calibrators.from_record(model.calibrator)
    by_patient = {"test": {}, "inner": {}}
    for row in predictions.read(run / "predictions.parquet").to_pylist():
        score = made.apply(np.array([[row["score"]]]))[0, 0]
        own = by_patient[row["part"]]
        own.setdefault((row["patient_key"], row["label"]), []).append(score)
    label = np.array([key[1] for key in by_patient["test"]])
    score = np.array([np.mean(found) for found in by_patient["test"].values()])
    said = tested[1]
    value = next(row["value"] for row in said["estimates"] if row["metric"] == "auroc")
    assert value == pytest.approx(roc_auc_score(label, score), abs=0.02)
    calls = said["deployed"]["calls"]
    inner = by_patient["inner"].items()
    negative = np.sort([np.mean(found) for (_, y), found in inner if not y])
    k = int(np.ceil(0.8 * (len(negative) + 1) - 1e-9))
    assert negative[k - 1] < calls["together"]
    assert calls["folds"][0]["inner_specificity"] == pytest.approx(k / len(negative))
    called = score >= calls["together"]
    share = {row["metric"]: row["value"] for row in calls["shares"]}
    assert share["specificity"] == pytest.approx(1 - called[label == 0].mean(), abs=0.11)


def test_a_copy_of_the_archive_is_no_other_and_new_patients_among_them_are(
    run, both, more, tmp_path
):
    fewer = iter(range(1000))
    copy = two_sites.changed(
        both,
        tmp_path / "copy",
        labels=lambda row: None if row["target"] == "amount" and next(fewer) == 0 else row,
    )
    assert archive.read_info(copy).hash != archive.read_info(both).hash
    found = external.get_ready(EvaluateSettings(run=run, archive=copy)).external
    assert (found.own, found.shared_patients) == (True, HELD)
    found = external.get_ready(EvaluateSettings(run=run, archive=more)).external
    assert (found.own, found.shared_patients, found.known_patients) == (False, HELD, 60)
    result = evaluate.run(
        EvaluateSettings(run=run, archive=more, resamples=100), tmp_path / "out", device="cpu"
    )
    assert result.n_patients == HELD + 30
    assert result.elsewhere.rows == ()
    assert any(text.startswith(f"{HELD} patients of those who are") for text in result.cautions)
