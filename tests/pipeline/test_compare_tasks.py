"""`medssl compare` of amounts, several targets and ordered classes, from folders to the page."""

import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, roc_auc_score

from medssl.artifacts import comparison as artifact
from medssl.artifacts import fold_models, origin, predictions, run_folder, splits, tables
from medssl.config.compare import TESTABLE, CompareSettings
from medssl.config.finetune import FinetuneSettings
from medssl.config.task import Task
from medssl.evaluation import amounts, label_efficiency, metrics, ordered
from medssl.foundation.errors import DataError
from medssl.stages import compare

FOLDS, PATIENTS = 3, 60
TASKS = {
    "regression": Task(kind="regression", targets=("age", "dose")),
    "multi_label": Task(kind="multi_label", targets=("left", "right"), classes=("0", "1")),
    "ordinal": Task(kind="ordinal", targets=("grade",), classes=("low", "mid", "high")),
    "multi_class": Task(kind="multi_class", targets=("grade",), classes=("low", "mid", "high")),
}


def labels(kind):
    n = np.arange(PATIENTS)
    if kind in ("ordinal", "multi_class"):
        return np.eye(3)[n % 3]
    if kind == "regression":
        return np.stack([40.0 + n % 7, 1000.0 + 10 * n], axis=1)
    known = np.stack([n % 2, n // 2 % 2], axis=1).astype(float)
    known[n % 5 == 0, 1] = np.nan  # nobody looked at the right side
    return known


def scores(kind, noise):
    truth = np.nan_to_num(labels(kind))
    rng = np.random.default_rng(round(10 * noise))
    drawn = noise * rng.normal(size=truth.shape)
    if kind == "regression":
        return truth + drawn * (3, 200)
    if kind == "multi_label":
        return 1 / (1 + np.exp(1 - 2 * truth - drawn))
    raised = np.exp(2 * truth + drawn)
    return raised / raised.sum(axis=1, keepdims=True)


def finished_run(folder, kind, noise, **changes):
    """A finetune run of one image per patient, whose errors grow with the noise."""
    task, truth, score = TASKS[kind], labels(kind), scores(kind, noise)
    keys = [f"key{n:02d}" for n in range(PATIENTS)]
    plan = splits.Splits(
        task=task, seed=0, group="patient", by="folds", n_folds=FOLDS,
        test_fold=({key: n % FOLDS for n, key in enumerate(keys)},),
    )  # fmt: skip
    rows = [
        {
            "image_id": f"i{n}", "patient_key": keys[n], "site": "north", "target": column,
            "label": truth[n, k], "score": score[n, k], "repeat": 0, "fold": n % FOLDS, "seed": 0,
            "part": "test",
        }
        for n in range(PATIENTS)
        for k, column in enumerate(task.columns)
        if np.isfinite(truth[n, k])
    ]  # fmt: skip
    settings = FinetuneSettings(archive=folder / "archive", init_from="none", target=task.targets)
    with run_folder.create(folder, stage="finetune", settings=settings) as run:
        run.environment()
        table = tables.build(rows, predictions.PREDICTIONS)
        predictions.write(folder / "predictions.parquet", table)
        splits.write(folder / "splits.json", replace(plan, **changes))
    return truth, score


def of_two(folder, kind, run_main, *words):
    """Compare a run of small errors with one of large errors."""
    made = {
        name: finished_run(folder / name, kind, noise) for name, noise in (("far", 3), ("near", 1))
    }
    runs = [folder / name for name in made]
    given = ("compare", *runs, "--resamples", 200, "--permutations", 199, *words)
    code, said, err = run_main(*given, "-o", folder / "out")
    assert code == 0, err
    page = (folder / "out" / "comparison.html").read_text(encoding="utf-8")
    return made, artifact.read(folder / "out"), said, page


def row_of(rows, **wanted):
    (found,) = (row for row in rows if all(row[name] == value for name, value in wanted.items()))
    return found


def test_amounts_are_compared_by_their_errors(tmp_path, run_main):
    made, record, said, page = of_two(tmp_path, "regression", run_main, "--tests", "mae,spearman")
    truth = made["near"][0]
    for k, name in enumerate(("age", "dose")):
        row = row_of(record["differences"], metric="mae", column=name)
        near, far = (
            mean_absolute_error(truth[:, k], made[run][1][:, k]) for run in ("near", "far")
        )
        assert row["value"] == pytest.approx(near - far)
        assert row["low"] < row["value"] < row["high"] < 0
        test = row_of(record["tests"], metric="mae", column=name)
        assert (test["family"], test["p"]) == (4, 1 / 200)
        assert test["corrected_t"]["mean"] == pytest.approx(near - far)  # folds of one size
        assert f"{row['value']:+.3f}" in said
    assert {row["metric"] for row in record["differences"]} == {
        "mae", "rmse", "r2", "pearson", "spearman",
    }  # fmt: skip
    assert record["better"] == {
        "mae": "lower", "rmse": "lower", "r2": "higher", "pearson": "higher", "spearman": "higher",
    }  # fmt: skip
    assert "Mean absolute error, age (better: lower)" in said
    assert "in favour of near" in page
    assert page.count('aria-label="Estimates and differences of') == 8
    assert "AUROC" not in page[page.index("<body>") :]
    assert "<th>Amount</th>" in page


def test_several_targets_are_compared_together_and_each(tmp_path, run_main):
    made, record, said, page = of_two(tmp_path, "multi_label", run_main)
    values = []
    for k, name in enumerate(("left", "right")):
        known = np.isfinite(made["near"][0][:, k])
        near, far = (
            roc_auc_score(made[run][0][known, k], made[run][1][known, k]) for run in ("near", "far")
        )
        values.append(near - far)
        found = row_of(record["differences"], metric="auroc", column=name)
        assert found["value"] == pytest.approx(near - far)
    macro = row_of(record["differences"], metric="auroc", column="macro average")
    assert macro["value"] == pytest.approx(np.mean(values))
    assert [(row["column"], row["family"]) for row in record["tests"]] == [
        ("macro average", 3), ("left", 3), ("right", 3),
    ]  # fmt: skip
    assert "AUROC, right (better: higher)" in said
    assert "<th>Target</th>" in page


def test_ordered_classes_are_compared_by_kappa_too(tmp_path, run_main):
    _, record, said, _ = of_two(tmp_path, "ordinal", run_main, "--tests", "quadratic_kappa")
    (test,) = record["tests"]
    assert (test["metric"], test["column"], test["family"]) == ("quadratic_kappa", "grade", 1)
    assert test["value"] > 0
    assert "Quadratic-weighted kappa, grade (better: higher)" in said


def test_ordered_and_unordered_classes_are_not_compared(tmp_path):
    finished_run(tmp_path / "a", "ordinal", 1)
    finished_run(tmp_path / "b", "multi_class", 1)
    settings = CompareSettings(runs=(tmp_path / "a", tmp_path / "b"))
    with pytest.raises(DataError, match="another kind of task: multi_class where a has ordinal"):
        compare.plan(settings)


def test_several_seeds_of_amounts_have_a_spread_each(tmp_path, run_main):
    """Two predictions of every image from the same folds are two trainings."""
    for name, noise in (("a", 1), ("b", 2)):
        finished_run(tmp_path / name, "regression", noise)
        again = tmp_path / f"{name}2"
        finished_run(again, "regression", noise + 0.5)
        rows = [
            row | {"repeat": turn, "seed": turn}
            for turn, folder in enumerate((tmp_path / name, again))
            for row in predictions.read(folder / "predictions.parquet").to_pylist()
        ]
        table = tables.build(rows, predictions.PREDICTIONS)
        predictions.write(tmp_path / name / "predictions.parquet", table)
        plan = splits.read(tmp_path / name / "splits.json")
        both = replace(plan, test_fold=plan.test_fold * 2)
        splits.write(tmp_path / name / "splits.json", both)
    words = ("compare", tmp_path / "a", tmp_path / "b", "--smoke", "-o", tmp_path / "out")
    code, said, err = run_main(*words)
    assert code == 0, err
    found = artifact.read(tmp_path / "out")["trainings"]
    assert [(row["run"], row["metric"], row["column"]) for row in found] == [
        ("a", "mae", "age"), ("a", "mae", "dose"), ("b", "mae", "age"), ("b", "mae", "dose"),
    ]  # fmt: skip
    truth = labels("regression")
    errors = [mean_absolute_error(truth[:, 0], scores("regression", n)[:, 0]) for n in (1, 1.5)]
    assert found[0]["values"] == pytest.approx(errors)
    assert found[0]["sd"] == pytest.approx(np.std(errors, ddof=1))
    assert re.search(r"^  a, Mean absolute error, age +[\d.]+ over 2 seeds$", said, re.MULTILINE)


def test_every_metric_with_a_better_side_and_no_threshold_can_be_tested():
    there = (*metrics.TABLE, *amounts.TABLE, *ordered.TABLE)
    usable = {m.name for m in there if m.higher_is_better is not None and not m.thresholded}
    assert set(TESTABLE.__args__) == usable


@pytest.mark.parametrize("fraction", [1, 0.5])
def test_what_a_held_out_site_leaves_to_learn_from_is_what_its_fold_recorded(
    cli, tiny_archive, tmp_path, fraction
):
    """Patients tested nowhere are in no plan, and were learned from nonetheless."""
    small = ("--init-from", "none", "--schedule", "linear_probe", "--epochs", 1, "--workers", 1,
             "--image-size", 16, "--device", "cpu", "--fractions", fraction)  # fmt: skip
    held = ("--split", "hold_out", "--hold-out", "south", "--set", "inner.share=0.3")
    code, _, err = cli("finetune", tiny_archive, *small, *held, "-o", tmp_path / "held")
    assert code == 0, err
    plan = splits.read(tmp_path / "held" / "splits.json")
    (fold,) = fold_models.read_all(tmp_path / "held")
    learned = set(fold.learned) - set(plan.inner[0][0])
    assert plan.inner[0][0]
    assert learned.isdisjoint(plan.test_fold[0])
    arm = label_efficiency.arm("held", origin.of_run(tmp_path / "held"))
    assert (arm.patients, arm.fraction) == (len(learned), fraction)
    assert arm.patients > 0


@pytest.mark.slow
def test_the_four_starts_of_an_ablation_are_told_from_what_the_runs_recorded(
    cli, tiny_archive, tmp_path
):
    """Reduce, pretrain on all, on the selection and on its control, and fine-tune each."""

    def run(*words):
        code, out, err = cli(*words)
        assert code == 0, (words, out, err)
        return out

    run("reduce", tiny_archive, "--by", "exact,dhash", "--within", "archive", "--keep", 0.5,
        "--protect", "none", "-o", tmp_path / "sel")  # fmt: skip
    pool = {"full": (), "reduced": ("--selection", tmp_path / "sel"),
            "chance": ("--selection", tmp_path / "sel" / "controls" / "random-0")}  # fmt: skip
    small = ("--image-size", 16, "--epochs", 1, "--device", "cpu")
    for name, words in pool.items():
        run("pretrain", tiny_archive, *words, "--method", "vicreg", "--batch-size", 4, *small,
            "-o", tmp_path / f"p_{name}")  # fmt: skip
    for name in ("random", *pool):
        start = "none" if name == "random" else tmp_path / f"p_{name}"
        run("finetune", tiny_archive, "--init-from", start, "--schedule", "linear_probe",
            "--folds", 2, "--workers", 1, *small, "-o", tmp_path / name)  # fmt: skip
    runs = [tmp_path / name for name in ("full", "reduced", "random", "chance")]
    said = run("compare", *runs, "--arms", "--smoke", "-o", tmp_path / "out")
    (table,) = artifact.read(tmp_path / "out")["ablation"]
    assert [(row["run"], row["start"]) for row in table["rows"]] == [
        ("random", "random weights"),
        ("full", "vicreg, pretrained on all images"),
        ("reduced", "vicreg, pretrained on a selection by exact, dhash"),
        ("chance", "vicreg, pretrained on a random selection"),
    ]
    assert table["missing"] == []
    against = {row["run"]: [one["against"] for one in row["differences"]] for row in table["rows"]}
    assert against == {"random": [], "full": ["random"], "reduced": ["random", "chance"],
                       "chance": ["random"]}  # fmt: skip
    assert "from vicreg, pretrained on a random selection" in said
