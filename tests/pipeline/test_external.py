"""The external test: models of one site judge a labelled archive of another."""

import json
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import two_sites
import yaml
from sklearn.metrics import roc_auc_score

from medssl.artifacts import archive, fold_models, predictions, report, run_folder, scores
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import calibrators
from medssl.foundation.errors import DataError
from medssl.stages import evaluate

SMALL = ("--init-from", "none", "--image-size", 16, "--schedule", "linear_probe", "--epochs", 1,
         "--device", "cpu", "--workers", 1)  # fmt: skip
KNOWN = 6  # patients who were at both sites


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("sites")


@pytest.fixture(scope="module")
def north(root, run_main):
    return two_sites.site(root / "north", run_main, range(80), 0)


@pytest.fixture(scope="module")
def south(root, run_main):
    return two_sites.site(root / "south", run_main, range(80 - KNOWN, 130), 1)


@pytest.fixture(scope="module")
def run(root, north, run_main):
    """Models of the north, with an inner part large enough for thresholds and calibrators."""
    said = run_main(
        "finetune",
        north,
        "--target",
        "left",
        "--folds",
        2,
        "--inner",
        0.6,
        *SMALL,
        "-o",
        root / "run",
    )
    assert said[0] == 0, said
    return root / "run"


@pytest.fixture(scope="module")
def tested(root, run, south, run_main):
    """The external test of the run, from the command line, with everything it can do."""
    out = root / "tested"
    said = run_main(
        "evaluate",
        run,
        "--on",
        south,
        "-o",
        out,
        "--resamples",
        300,
        "--device",
        "cpu",
        "--controls",
        "all",
        "--target-sensitivity",
        0.8,
        "--json",
    )
    assert said[0] == 0, said
    return out, json.loads(said[1]), said[2]


def planned(run, on, **changes):
    return evaluate.plan(EvaluateSettings(run=run, archive=on, resamples=100, **changes))


def test_the_scores_are_those_that_predict_gives(tested, run, south, run_main, tmp_path):
    said = run_main("predict", run, south, "-o", tmp_path / "said", "--device", "cpu")
    assert said[0] == 0, said
    known = {row["image_id"]: row for row in scores.read(tmp_path / "said").to_pylist()}
    rows = predictions.read(tested[0] / "predictions.parquet").to_pylist()
    assert {row["image_id"]: row["score"] for row in rows} == {
        row["image_id"]: pytest.approx(known[row["image_id"]]["score"], abs=1e-6) for row in rows
    }
    assert {(row["repeat"], row["fold"], row["seed"], row["part"]) for row in rows} == {
        (0, None, None, "test")
    }
    kept = scores.read(tested[0]).to_pylist()
    assert [row["spread"] for row in kept] == [
        pytest.approx(known[row["image_id"]]["spread"], abs=1e-6) for row in kept
    ]


def test_nobody_is_judged_whom_a_model_learned_from_and_the_others_all_are(tested, run, south):
    learned = set().union(*(one.learned for one in fold_models.read_all(run)))
    images = {row["image_id"]: row for row in archive.read_images(south).to_pylist()}
    wanted = {
        row["image_id"]: float(row["value"])
        for row in archive.read_labels(south).to_pylist()
        if row["target"] == "left"
        and row["value"] is not None
        and images[row["image_id"]]["patient_key"] not in learned
    }
    rows = predictions.read(tested[0] / "predictions.parquet").to_pylist()
    assert {row["image_id"]: row["label"] for row in rows} == wanted
    external = tested[1]["external"]
    assert external["known_patients"] == KNOWN
    assert external["known_rows"] + len(wanted) == external["n_rows"]
    assert external["n_unlabelled"] + external["n_rows"] == len(images)
    assert external["n_unlabelled"] == sum(patient % 10 == 0 for patient in range(74, 130))
    assert any(f"{KNOWN} patients of the archive" in text for text in tested[1]["cautions"])


def test_the_numbers_can_be_computed_anew_from_what_is_left(tested):
    rows = predictions.read(tested[0] / "predictions.parquet").to_pylist()
    by_patient = {}
    for row in rows:
        by_patient.setdefault((row["patient_key"], row["label"]), []).append(row["score"])
    label = [key[1] for key in by_patient]
    score = [np.mean(found) for found in by_patient.values()]
    value = next(row["value"] for row in tested[1]["estimates"] if row["metric"] == "auroc")
    assert value == pytest.approx(roc_auc_score(label, score), abs=1e-12)


def test_the_cross_validation_stands_beside_it_as_it_is_by_itself(tested, run, tmp_path):
    alone = evaluate.run(EvaluateSettings(run=run, resamples=300), tmp_path / "alone")
    inside = next(one for one in alone.estimates if one.metric == "auroc")
    (row,) = tested[1]["elsewhere"]["rows"]
    assert row["internal"] == inside.value
    assert row["difference"] == pytest.approx(row["external"] - row["internal"])
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    (each,) = tested[1]["elsewhere"]["alone"]
    assert each["lowest"] <= each["mean"] <= each["highest"]


def test_one_threshold_is_the_median_of_those_of_the_models_as_they_are_calibrated(tested, run):
    """Image by image: the mean of calibrated scores is not the calibrated mean."""
    calls = tested[1]["deployed"]["calls"]
    assert calls["together"] == np.median([one["threshold"] for one in calls["folds"]])
    rows = predictions.read(run / "predictions.parquet").to_pylist()
    for known, one in zip(fold_models.read_all(run), calls["folds"], strict=True):
        made = calibrators.from_record(known.calibrator)
        own = {}
        for row in rows:
            if (row["fold"], row["part"]) == (known.fold, "inner"):
                own.setdefault((row["patient_key"], row["label"]), []).append(row["score"])
        assert made.kind != "none"
        assert {len(score) for score in own.values()} == {1, 2}
        positive = sorted(
            (made.apply(np.array(score)[:, None]).mean() for (_, y), score in own.items() if y),
            reverse=True,
        )
        k = math.ceil(0.8 * (len(positive) + 1))
        assert one["threshold"] == pytest.approx(positive[k - 1], abs=2e-9)
        assert one["inner_sensitivity"] == pytest.approx(k / len(positive))
    external = predictions.read(tested[0] / "predictions.parquet").to_pylist()
    by_patient = {}
    for row in external:
        by_patient.setdefault((row["patient_key"], row["label"]), []).append(row["score"])
    called = [np.mean(s) >= calls["together"] for (_, label), s in by_patient.items() if label]
    share = next(row for row in calls["shares"] if row["metric"] == "sensitivity")
    assert share["value"] == pytest.approx(np.mean(called))
    assert calls["true_positives"] == sum(called)


def test_the_controls_say_what_they_mean_here(tested):
    lights = {row["name"]: row for row in tested[1]["controls"]}
    assert lights["split"]["light"] == "pass"
    assert lights["split"]["details"] == {"patients": 50, "left_out": KNOWN}
    assert lights["duplicates"]["light"] == "pass"
    assert lights["pretraining"]["said"].startswith("the models began with random weights")
    assert lights["label_shuffle"]["light"] == "not assessed"
    assert "without --on" in lights["label_shuffle"]["said"]


def test_page_card_and_settings_tell_that_it_is_external(tested, south):
    out = tested[0]
    record = report.read(out)
    assert record["source"] == "external test"
    assert (record["external"]["own"], record["external"]["shared_patients"]) == (False, 0)
    assert record["external"]["archive_hash"] == archive.read_info(south).hash
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Cross-validation and external test" in page
    assert "had not been fine-tuned on it" not in page
    assert str(south) not in page
    card = (out / "model_card.md").read_text(encoding="utf-8")
    assert "external test" in card
    assert "had not been fine-tuned on it" not in card
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert (settings["run"], settings["archive"]) == ("../run", "../south/archive")
    assert run_folder.read_status(out)["inputs"].keys() == {"archive", "models"}


def test_every_key_of_it_is_told_in_the_reference(tested, repository):
    page = repository / "docs" / "reference" / "report-json.md"
    told = re.findall(
        r"^\| `external\.([a-z_.\[\]]+)`", page.read_text("utf-8"), flags=re.MULTILINE
    )
    found = set()
    for name, value in report.read(tested[0])["external"].items():
        rows = value if name in ("beside", "alone") else ()
        found |= {f"{name}[].{key}" for row in rows for key in row}
        found |= set() if rows else {f"{name}[]" if isinstance(value, list) else name}
    assert set(told) == found


def test_its_settings_repeat_it_to_the_last_number(tested, run_main, tmp_path):
    out = tmp_path / "again"
    said = run_main("evaluate", "-c", tested[0] / "config.yaml", "-o", out, "--device", "cpu")
    assert said[0] == 0, said
    assert (out / "report.json").read_bytes() == (tested[0] / "report.json").read_bytes()


def test_an_interrupted_test_is_written_anew(tested, run, south, root):
    out = shutil.copytree(tested[0], root / "begun")
    status = json.loads((out / "status.json").read_text())
    (out / "status.json").write_text(json.dumps(status | {"status": "interrupted"}))
    (out / "report.json").unlink()
    (out / "predictions.parquet").write_bytes(b"half")
    settings = EvaluateSettings(
        run=run, archive=south, resamples=300, controls=("all",), target_sensitivity=0.8
    )
    evaluate.run(settings, out, resume=True, device="cpu")
    assert (out / "report.json").read_bytes() == (tested[0] / "report.json").read_bytes()


def test_a_plan_counts_without_a_score_and_writes_nothing(run, south, run_main, tmp_path):
    said = run_main(
        "evaluate",
        run,
        "--on",
        south,
        "-o",
        tmp_path / "no",
        "--dry-run",
        "--json",
        "--device",
        "cpu",
    )
    assert said[0] == 0, said
    plan = json.loads(said[1])
    assert (plan["n_patients"], plan["unit"]) == (50, "patient")
    assert any(text.startswith("external test: ") for text in plan["notes"])
    assert not (tmp_path / "no").exists()


def test_a_smoke_test_judges_a_few_and_says_so(run, south, tmp_path):
    settings = EvaluateSettings(run=run, archive=south, smoke=True)
    result = evaluate.run(settings, tmp_path / "smoke", device="cpu")
    assert result.n_patients == 16
    assert any(text.startswith("Smoke run") for text in result.cautions)


def test_the_own_archive_of_a_run_is_refused(run, north):
    with pytest.raises(DataError, match="learned from every one of the 80 labelled patients"):
        planned(run, north)


def test_who_was_learned_from_by_no_model_may_be_tested(run, north, tmp_path):
    """As after a hold-out: the run's own archive, of whom two patients are in no model."""
    spared = shutil.copytree(run, tmp_path / "run")
    settings = (spared / "config.yaml").read_text().replace("../north", str(north.parent))
    (spared / "config.yaml").write_text(settings)
    every = sorted(set().union(*(one.learned for one in fold_models.read_all(run))))
    labels = {
        row["image_id"]: row["value"]
        for row in archive.read_labels(north).to_pylist()
        if row["target"] == "left"
    }
    held = {
        row["patient_key"]: labels[row["image_id"]]
        for row in archive.read_images(north).to_pylist()
        if labels[row["image_id"]]
    }
    two = {next(key for key in every if held[key] == side) for side in ("0", "1")}
    for folder in (spared / "folds").iterdir():
        one = fold_models.read(folder)
        kept = tuple(key for key in one.learned if key not in two)
        fold_models.write(folder, replace(one, learned=kept))
    result = evaluate.run(
        EvaluateSettings(run=spared, archive=north, resamples=100, controls=("all",)),
        tmp_path / "out",
        device="cpu",
    )
    assert result.n_patients == 2
    assert result.external.known_patients == 78
    lights = {one.name: one for one in result.controls}
    assert lights["duplicates"].light == "not assessed" or lights["duplicates"].value == 0


def test_the_same_images_under_other_names_are_found(run, north, tmp_path):
    """Nothing but the pixels tells that a model knows these patients."""
    other = two_sites.changed(
        north,
        tmp_path / "other",
        key_id="11111111",
        images=lambda row: row | {"patient_key": f"other{row['patient_key']}"},
    )
    result = evaluate.run(
        EvaluateSettings(run=run, archive=other, resamples=100, controls=("all",)),
        tmp_path / "out",
        device="cpu",
    )
    assert result.external.known_patients is None
    assert any("is unknown" in text for text in result.cautions)
    lights = {one.name: one for one in result.controls}
    assert lights["split"].light == "not assessed"
    assert "unknown" in lights["split"].said
    assert lights["duplicates"].light == "fail"
    assert lights["duplicates"].details == {"tested_patients": 80, "exact": 80, "alike": 0}


def test_a_class_that_the_models_do_not_know_is_refused_until_it_is_told(run, south, tmp_path):
    with pytest.raises(DataError, match="no, yes; they know 0, 1") as refused:
        planned(run, south, target=("sick",))
    assert "--classes no=1" in refused.value.fix
    told = planned(run, south, target=("sick",), classes=("yes=1", "no=0"))
    assert told.n_events == (sum(patient % 2 for patient in range(80, 130)),)
    turned = planned(run, south, target=("sick",), classes=("yes=0", "no=1"))
    assert turned.n_events[0] + told.n_events[0] == told.n_units
    some = _some(run, south)
    odd = two_sites.changed(
        south,
        tmp_path / "odd",
        labels=lambda row: (
            row | {"value": "unclear"}
            if row["target"] == "left" and row["image_id"] in some
            else row
        ),
    )
    n = planned(run, odd, classes=("unclear=",)).n_images
    assert n == planned(run, south).n_images - len(some)
    with pytest.raises(DataError, match="unclear"):
        planned(run, odd)


def _some(run, south):
    """Three labelled images of new patients."""
    learned = set().union(*(one.learned for one in fold_models.read_all(run)))
    new = {
        row["image_id"]
        for row in archive.read_images(south).to_pylist()
        if row["patient_key"] not in learned
    }
    labelled = {
        row["image_id"]
        for row in archive.read_labels(south).to_pylist()
        if row["target"] == "left" and row["value"] is not None
    }
    return sorted(labelled & new)[:3]


def test_an_archive_of_one_class_or_without_such_labels_is_refused(run, south, tmp_path):
    ill = two_sites.changed(
        south,
        tmp_path / "ill",
        labels=lambda row: None if row["target"] == "left" and row["value"] == "0" else row,
    )
    with pytest.raises(DataError, match="of one class, '1'"):
        planned(run, ill)
    with pytest.raises(DataError, match="no labels called nothing") as refused:
        planned(run, south, target=("nothing",))
    assert refused.value.fix.startswith("--target ")
    bare = two_sites.changed(south, tmp_path / "bare", labels=lambda _: None)
    with pytest.raises(DataError, match="none at all"):
        planned(run, bare)


def test_patients_who_are_not_named_are_images_of_their_own(run, south, tmp_path):
    nameless = two_sites.changed(
        south, tmp_path / "nameless", images=lambda row: row | {"flags": [archive.NO_PATIENT]}
    )
    result = evaluate.run(
        EvaluateSettings(run=run, archive=nameless, resamples=100), tmp_path / "out", device="cpu"
    )
    assert (result.unit, result.external.known_patients) == ("image", None)
    assert result.external.shared_patients is None
    assert any(text.startswith("Patients unknown") for text in result.cautions)
    assert report.read(tmp_path / "out")["cohort"]["patients"] is None
