"""Every kind of task from the command line: labels, predictions, quick look, evaluation."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from medssl.artifacts import archive, fold_models, predictions

FAST = ("--init-from", "none", "--image-size", 32, "--folds", 2, "--epochs", 1,
        "--device", "cpu", "--workers", 1, "--json")  # fmt: skip
GRADES = ("none", "mild", "severe")
TASKS = {
    "binary": ("--target", "left"),
    "multi_class": ("--target", "letter"),
    "multi_label": ("--target", "left", "--target", "right"),
    "ordinal": ("--target", "grade", "--task", "ordinal", "--set", f"order=[{','.join(GRADES)}]"),
    "regression": ("--target", "amount"),
}
COLUMNS = {
    "binary": ["left"],
    "multi_class": ["letter=x", "letter=y", "letter=z"],
    "multi_label": ["left", "right"],
    "ordinal": ["grade=none", "grade=mild", "grade=severe"],
    "regression": ["amount"],
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, run_main):
    """Two images each of 24 patients, and a table with a column for every kind of task."""
    folder, rng = tmp_path_factory.mktemp("tasks"), np.random.default_rng(0)
    (folder / "scans").mkdir()
    rows = []
    for patient in range(24):
        left, right, grade = patient % 2, patient // 2 % 2, patient % 3
        for number in range(2):
            pixels = rng.integers(40, 90, (40, 40)).astype(np.uint8)
            pixels[5:15, 5:15] += np.uint8(100 * left)
            pixels[25:35, 25:35] += np.uint8(100 * right)
            name = f"p{patient:02d}-{number}.png"
            Image.fromarray(pixels).save(folder / "scans" / name)
            rows.append(
                {
                    "path": f"scans/{name}",
                    "patient": f"p{patient:02d}",
                    "left": left if patient > 3 else "",
                    "right": right if patient < 20 else "",
                    "letter": "xyz"[grade],
                    "grade": GRADES[grade],
                    "zero": patient if patient in (2, 5, 9, 17, 20) else 0,
                    "rare": patient + number if patient in (2, 5, 9, 17, 20) else "",
                    "single": number if patient == 7 else "",
                    "amount": f"{1.5 * left + right + 0.1 * rng.normal():.3f}",
                }
            )
    with (folder / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    named = [word for name in list(rows[0])[2:]
             for word in ("--label", name)]  # fmt: skip
    said = run_main(
        "ingest", folder / "scans", "-o", folder / "archive", "--labels", folder / "labels.csv",
        "--key", "path", "--patient", "col:patient", *named,
    )  # fmt: skip
    assert said[0] == 0, said
    return folder


@pytest.fixture(scope="module", params=list(TASKS))
def trained(request, labelled, run_main):
    """A finetune run of one kind of task, and what it said."""
    kind, out = request.param, labelled / request.param
    said = run_main("finetune", labelled / "archive", *TASKS[kind], *FAST, "-o", out)
    assert said[0] == 0, said
    return kind, out, json.loads(said[1])


def test_every_labelled_image_is_predicted_once_in_every_column(labelled, trained):
    kind, out, said = trained
    assert said["task"] == kind
    table = predictions.read(out / "predictions.parquet").to_pandas()
    table = table[table["part"] == "test"]
    assert list(dict.fromkeys(table["target"])) == COLUMNS[kind]
    assert not table.duplicated(["image_id", "target"]).any()
    written = archive.read_labels(labelled / "archive").to_pandas().dropna()
    value = {(row.image_id, row.target): row.value for row in written.itertuples()}
    for row in table.itertuples():
        name, _, of_class = row.target.partition("=")
        known = value[row.image_id, name]
        assert row.label == (float(known == of_class) if of_class else float(known))
    expected = sum(len(written[written["target"] == c.partition("=")[0]]) for c in COLUMNS[kind])
    assert len(table) == expected  # what has no label has no row


def test_scores_are_probabilities_or_amounts_near_what_was_learned(trained):
    kind, out, said = trained
    table = predictions.read(out / "predictions.parquet").to_pandas()
    if kind == "regression":
        assert said["measure"] == "rank correlation"
        assert table["score"].between(-2, 5).all()  # labels lie in 0 to 2.5
        assert table["score"].mean() == pytest.approx(table["label"].mean(), abs=0.6)
        return
    assert said["measure"] == "AUROC"
    assert table["score"].between(0, 1).all()
    if kind in ("multi_class", "ordinal"):
        total = table.groupby(["image_id", "part"])["score"].sum()
        np.testing.assert_allclose(total, 1, atol=1e-6)
    assert fold_models.read(out / "folds" / "0").prior


JUDGED = {
    "binary": {"left"},
    "multi_class": {"macro average", "x", "y", "z"},
    "multi_label": {"macro average", "left", "right"},
    "ordinal": {"grade", "macro average", "≥ mild", "≥ severe"},
    "regression": {"amount"},
}


def test_evaluate_judges_every_kind_of_task(trained, run_main):
    kind, out, _ = trained
    folder = out.parent / f"{kind}-report"
    words = ("--resamples", 200, "-o", folder, "--json")
    code, stdout, err = run_main("evaluate", out, *words)
    assert code == 0, err
    said = json.loads(stdout)
    assert (said["task"], {row["column"] for row in said["estimates"]}) == (kind, JUDGED[kind])
    record = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    table = predictions.read(out / "predictions.parquet").to_pandas()
    table = table[table["part"] == "test"]
    if kind == "regression":
        mean = table.groupby("patient_key")[["label", "score"]].mean()
        values = {row["metric"]: row["value"] for row in said["estimates"]}
        assert record["cohort"]["events"] == record["curves"]["roc"] == []
        if said["unit"] == "image":  # amounts were drawn for each image
            mean = table[["label", "score"]]
        assert values["mae"] == pytest.approx((mean["score"] - mean["label"]).abs().mean())
        return
    if kind == "multi_label":
        labelled = {row["column"]: row["labelled_patients"] for row in record["cohort"]["events"]}
        assert labelled == {"left": 20, "right": 20}
    assert len(record["curves"]["roc"]) == len(record["columns"])


@pytest.mark.parametrize("words", [("--threshold", 1), ("--decision", "0.1,0.3")])
def test_an_amount_is_not_called_positive(trained, run_main, words, tmp_path):
    kind, out, _ = trained
    if kind != "regression":
        pytest.skip("of amounts only")
    code, _, err = run_main("evaluate", out, *words, "-o", tmp_path / "report")
    assert code == 2
    assert words[0].removeprefix("--") in err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "amount", "--sampling", "balanced"), "no one class to be drawn by"),
        (("--target", "left", "--target", "right", "--sampling", "sqrt"), "--loss-weights"),
        (("--target", "amount", "--loss-weights", "balanced"), "no classes that could weigh"),
        (("--target", "left", "--loss", "mw", "--mixup", "0.5"), "no value for mixed ones"),
        (("--target", "left", "--loss", "squared"), "--loss cross_entropy"),
        (("--target", "left", "--task", "triage"), "task"),
        (("--target", "letter", "--set", "calibration=isotonic"), "calibration=temperature"),
        ((*TASKS["ordinal"], "--set", "calibration=isotonic"), "calibration=temperature"),
        ((*TASKS["multi_label"], "--set", "calibration=isotonic"), "calibration=none"),
        (("--target", "amount", "--set", "calibration=isotonic"), "this task is regression"),
        (("--target", "letter", "--set", "order=[z,y,x]"), "this one is multi_class"),
    ],
)
def test_what_does_not_fit_the_task_is_refused_before_anything_is_written(
    labelled, run_main, words, message
):
    out = labelled / "refused"
    code, said, _ = run_main("finetune", labelled / "archive", *words, *FAST, "-o", out)
    assert code == 2, said
    assert message in said
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--loss", "mw", "--sampling", "balanced"),
        ("--loss", "core_tuning", "--loss-weights", "sqrt"),
        ("--loss", "focal", "--mixup", "0.5"),
        ("--schedule", "linear_probe", "--set", "random_views=false", "--set", "smote=true"),
    ],
)
def test_losses_and_ways_with_imbalance_train(labelled, run_main, words, tmp_path):
    said = run_main(
        "finetune", labelled / "archive", "--target", "left", *words, *FAST, "--smoke",
        "-o", tmp_path / "run",
    )  # fmt: skip
    assert said[0] == 0, said
    notes = json.loads(said[1])["notes"]
    assert any("ranks" in note for note in notes) == (words[1] in ("mw", "focal"))


PROBE = ("--schedule", "linear_probe", "--set", "random_views=false")


def test_amounts_that_few_have_or_that_are_mostly_zero_train(labelled, run_main, tmp_path):
    """Six folds: one of them at least tests nobody of the five whose `rare` is known."""
    words = ("--target", "amount", "--target", "rare", "--task", "regression", *PROBE)
    out = tmp_path / "rare"
    said = run_main("finetune", labelled / "archive", *words, *FAST, "--folds", 6, "-o", out)
    assert said[0] == 0, said
    notes = json.loads(said[1])["notes"]
    assert "calibration none: amounts have none" in notes
    table = predictions.read(out / "predictions.parquet").to_pandas()
    tests = table[table["part"] == "test"]
    assert tests.groupby("target").size().to_dict() == {"amount": 48, "rare": 10}
    assert tests[tests["target"] == "rare"]["fold"].nunique() <= 5
    zero = ("--target", "zero", "--task", "regression", *PROBE, "--slices", 8)
    said = run_main(
        "finetune", labelled / "archive", *zero, *FAST, "--folds", 3, "-o", tmp_path / "z"
    )
    assert said[0] == 0, said
    assert "slices 8 without effect: no slices are pooled" in json.loads(said[1])["notes"]


def test_an_amount_that_a_fold_cannot_learn_stops_the_run_before_it(labelled, run_main, tmp_path):
    words = ("--target", "amount", "--target", "single", "--task", "regression", *PROBE)
    out = tmp_path / "run"
    code, said, _ = run_main("finetune", labelled / "archive", *words, *FAST, "-o", out)
    assert code == 3, said
    assert "target 'single' has no label among the patients that repeat 1, fold" in said
    assert not out.exists()
