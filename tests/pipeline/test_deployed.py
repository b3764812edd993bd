"""Declared targets, recalibration and requirements, from the command line to the page."""

import csv
import json

import numpy as np
import pytest

from medssl.artifacts import fold_models, predictions, report, tables
from medssl.artifacts.fold_models import FoldModel
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation.calibrators import Calibrator
from medssl.foundation.errors import UsageError
from medssl.stages import evaluate


@pytest.fixture(scope="module")
def run(tmp_path_factory, finetune_run):
    """A run in which half of the training patients of each fold are its inner part."""
    folder = tmp_path_factory.mktemp("runs") / "finetune"
    rows, _ = finetune_run(folder, n_patients=150)
    test = [row for row in rows if row["part"] == "test"]
    inner = [
        row | {"fold": fold, "part": "inner"}
        for row in test
        for fold in range(3)
        if row["fold"] != fold and int(row["patient_key"][3:]) % 2
    ]
    table = tables.build([*test, *inner], predictions.PREDICTIONS)
    predictions.write(folder / "predictions.parquet", table)
    for n in range(6):
        own = folder / "folds" / str(n)
        own.mkdir(parents=True)
        calibrator = {"kind": "temperature", "temperature": 2.0, "low": [], "high": []}
        known = FoldModel(
            repeat=n // 3, fold=n % 3, epochs=1, prior=(), drawn=(), calibrator=calibrator
        )
        fold_models.write(own, known)
    return folder, test


def words(*more):
    return ("--resamples", 200, *more)


def test_a_declared_target_reaches_the_record_the_page_and_the_console(run, tmp_path, run_main):
    out = tmp_path / "out"
    asked = words("--target-sensitivity", 0.8, "-o", out)
    code, said, err = run_main("evaluate", run[0], *asked)
    assert code == 0, err
    chosen = report.read(out)["chosen_thresholds"]
    assert chosen["target"] == {"metric": "sensitivity", "at_least": 0.8}
    assert [(row["repeat"], row["fold"]) for row in chosen["folds"]] == [
        (repeat, fold) for repeat in range(2) for fold in range(3)
    ]
    assert len({row["threshold"] for row in chosen["folds"]}) > 1
    at = {(row["repeat"], row["fold"]): row["threshold"] for row in chosen["folds"]}
    by_patient = {}
    for row in run[1]:
        key = (row["patient_key"], row["label"], row["repeat"], row["fold"])
        by_patient.setdefault(key, []).append(row["score"])
    calls = [(key[1], np.mean(own) >= at[key[2:]]) for key, own in by_patient.items()]
    expected = np.mean([called for label, called in calls if label == 1])
    (share,) = (row for row in chosen["shares"] if row["metric"] == "sensitivity")
    assert share["value"] == pytest.approx(expected, abs=1e-12)
    assert share["low"] < share["value"] < share["high"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Calls for a sensitivity of at least 0.8" in page
    assert "repeat 2, fold 3" in page
    assert "for a sensitivity of 0.8" in said


def test_raw_and_recalibrated_stand_side_by_side(run, tmp_path):
    settings = EvaluateSettings(run=run[0], resamples=200)
    result = evaluate.run(settings, tmp_path / "out")
    record = report.read(result.folder)
    found = record["recalibration"]
    assert (found["reason"], found["kinds"], found["n_models"]) == (None, ["temperature"], 6)
    rows = {row["metric"]: row for row in found["rows"]}
    raw = {row["metric"]: row["value"] for row in record["estimates"]}
    for name, row in rows.items():
        assert row["raw"] == pytest.approx(raw[name], abs=1e-12)
    scores = {}
    for row in run[1]:
        score = Calibrator(kind="temperature", temperature=2.0).apply(np.array([[row["score"]]]))
        own = scores.setdefault((row["patient_key"], row["label"]), {})
        own.setdefault(row["repeat"], []).append(float(score[0, 0]))
    brier = np.mean(
        [(key[1] - np.mean([np.mean(v) for v in own.values()])) ** 2 for key, own in scores.items()]
    )
    assert rows["brier"]["value"] == pytest.approx(brier, abs=1e-12)
    assert rows["calibration_slope"]["value"] > 1.5 * rows["calibration_slope"]["raw"]
    page = result.report.read_text(encoding="utf-8")
    assert "Raw and recalibrated" in page
    assert 'aria-label="Calibration, raw and recalibrated"' in page


def test_calls_at_chosen_thresholds_are_told_at_other_prevalences_too(run, tmp_path, run_main):
    out = tmp_path / "out"
    asked = words("--target-sensitivity", 0.8, "--prevalence", "0.05,0.2", "-o", out)
    code, _, err = run_main("evaluate", run[0], *asked)
    assert code == 0, err
    chosen = report.read(out)["chosen_thresholds"]
    share = {row["metric"]: row for row in chosen["shares"]}
    sens, spec = (share[name]["value"] for name in ("sensitivity", "specificity"))
    found = {(row["metric"], row["prevalence"]): row for row in chosen["predictive"]}
    for p in (0.05, 0.2):
        ppv = sens * p / (sens * p + (1 - spec) * (1 - p))
        npv = spec * (1 - p) / (spec * (1 - p) + (1 - sens) * p)
        assert found["ppv", p]["value"] == pytest.approx(ppv, abs=1e-12)
        assert found["npv", p]["value"] == pytest.approx(npv, abs=1e-12)
        assert found["ppv", p]["low"] < ppv < found["ppv", p]["high"]
    needed = {row["prevalence"]: row["value"] for row in chosen["needed"]}
    assert needed[None] == pytest.approx(1 / share["ppv"]["value"])
    assert needed[0.05] == pytest.approx(1 / found["ppv", 0.05]["value"])
    with (out / "tables" / "operating_points.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if not row["threshold"]]
    assert [row["metric"] for row in rows] == [*share, "ppv", "npv", "ppv", "npv"]
    assert float(rows[0]["value"]) == sens
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("Number needed to evaluate") == 2  # at the fixed threshold, and here


def test_a_requirement_that_is_not_met_ends_in_9_with_a_complete_report(run, tmp_path, run_main):
    out = tmp_path / "out"
    asked = ("--fail-under", "auroc=0.99:lower", "--fail-under", "brier=0.5:upper")
    code, said, err = run_main("evaluate", run[0], *words(*asked, "-o", out))
    assert code == 9
    assert "auroc of finding" in err
    assert "at least 0.99 asked for" in err
    assert "brier" not in err
    assert "report.html" in said
    assert json.loads((out / "status.json").read_text())["status"] == "finished"
    assert [row["met"] for row in report.read(out)["requirements"]] == [False, True]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "not met" in page
    code, said, _ = run_main("evaluate", run[0], *words(*asked, "--json", "-o", tmp_path / "json"))
    assert code == 9
    assert json.loads(said)["problem"]["exit_code"] == 9
    code, _, _ = run_main("evaluate", run[0], *words(*asked[2:], "-o", tmp_path / "met"))
    assert code == 0


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (("--strict", "--controls", "none"), 2, "no control that could fail"),
        (("--fail-under", "aurok=0.5"), 2, "did you mean 'auroc'?"),
        (("--target-sensitivity", "1.5"), 2, "target_sensitivity"),
        (("--target-sensitivity", "0.9", "--target-specificity", "0.9"), 2, "two are declared"),
        (("--target-specificity", "0.99"), 3, "too few inner patients"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_cannot_be_had_is_refused_before_anything_is_written(  # noqa: PLR0913
    run, tmp_path, run_main, asked, code, said, dry
):
    found, _, err = run_main("evaluate", run[0], *asked, *dry, "-o", tmp_path / "out")
    assert (found, said in err) == (code, True), err
    assert not (tmp_path / "out").exists()


def test_predictions_without_an_inner_part_have_no_chosen_threshold(tmp_path, run_main):
    table = tmp_path / "other.csv"
    lines = [f"p{n},{n % 2},{(n * 7 % 40 + 10 * (n % 2)) / 60}" for n in range(40)]
    table.write_text("\n".join(["patient_id,label,score", *lines]) + "\n", encoding="utf-8")
    asked = ("evaluate", "--predictions", table, "--resamples", 200)
    code, _, err = run_main(*asked, "--target-sensitivity", 0.8, "-o", tmp_path / "out")
    assert code == 3
    assert "a table of another tool has no inner part" in err
    code, _, _ = run_main(*asked, "-o", tmp_path / "plain")
    assert code == 0
    record = report.read(tmp_path / "plain")
    assert record["chosen_thresholds"] is None
    assert "no calibrators" in record["recalibration"]["reason"]


def test_one_target_is_declared():
    with pytest.raises(UsageError, match="two are declared"):
        EvaluateSettings(predictions="a", target_sensitivity=0.9, target_specificity=0.9)
