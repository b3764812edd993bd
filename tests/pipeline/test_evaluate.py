"""`medssl evaluate` on run folders and tables made by hand, down to the files it leaves."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from medssl.artifacts import predictions, report, run_folder, splits, tables
from medssl.config.evaluate import EvaluateSettings
from medssl.config.finetune import FinetuneSettings
from medssl.config.loading import Sources, resolve
from medssl.evaluation import metrics
from medssl.foundation.errors import ArtifactError, DataError, UsageError
from medssl.foundation.reporting import Recording
from medssl.stages import evaluate

NAMES = ("<1", "=1", ">=2")  # of three classes
LEFT_BEHIND = {
    "command.txt",
    "config.yaml",
    "env.json",
    "log.txt",
    "model_card.md",
    "report.html",
    "report.json",
    "status.json",
    "tables/estimates.csv",
    "tables/estimates.parquet",
    "tables/estimates.tex",
    "tables/folds.csv",
    "tables/folds.parquet",
    "tables/folds.tex",
    *(
        f"tables/{name}.{end}"
        for name in ("subgroups", "subgroup_gaps")
        for end in ("csv", "parquet", "tex")
    ),
    "tables/operating_points.csv",
    "tables/operating_points.tex",
    "tables/table_one.csv",
    "tables/table_one.tex",
}


def settings_for(run=None, **changes):
    return EvaluateSettings(run=run, **({"resamples": 200} | changes))


def files_in(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory, finetune_run, model_info):
    folder = tmp_path_factory.mktemp("runs") / "finetune"
    rows, plan = finetune_run(folder, info=model_info())
    return folder, rows, plan


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    reporter = Recording()
    out = tmp_path_factory.mktemp("runs") / "evaluate"
    result = evaluate.run(settings_for(run[0]), out, reporter)
    return result, reporter


def test_a_run_leaves_exactly_these_files(evaluated):
    result, _ = evaluated
    assert files_in(result.folder) == LEFT_BEHIND
    assert run_folder.read_status(result.folder)["status"] == "finished"
    run_folder.require_finished(result.folder, "evaluate")
    assert result.report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_numbers_equal_scikit_learn_on_patients(run, evaluated):
    """Images to a mean per repeat, repeats to a mean, patients to scikit-learn."""
    _, rows, _ = run
    result, _ = evaluated
    by_patient = {}
    for row in rows:
        if row["part"] == "test":
            key = (row["patient_key"], row["label"])
            by_patient.setdefault(key, {}).setdefault(row["repeat"], []).append(row["score"])
    label = [key[1] for key in by_patient]
    score = [np.mean([np.mean(v) for v in found.values()]) for found in by_patient.values()]
    values = {row.metric: row.value for row in result.estimates}
    assert (result.unit, result.n_patients, result.n_units) == ("patient", 60, 60)
    assert values["auroc"] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert values["average_precision"] == pytest.approx(
        average_precision_score(label, score), abs=1e-12
    )
    assert values["brier"] == pytest.approx(brier_score_loss(label, score), abs=1e-12)
    for row in result.estimates:
        assert row.low < row.value < row.high


def test_the_report_and_its_tables_agree(run, evaluated):
    result, _ = evaluated
    record = report.read(result.folder)
    assert [row["value"] for row in record["estimates"]] == [row.value for row in result.estimates]
    assert record["splits"]["digest"] == run[2].digest
    assert record["positive"] == "1"
    assert record["folds"]["rows"] == report.read_folds(result.folder).to_pylist()
    assert len(record["folds"]["rows"]) == 3 * 2
    assert record["provenance"]["versions"]["numpy"] == np.__version__
    assert "archive" not in record["provenance"]["training"]
    assert record["intervals"] == {
        "method": "percentile bootstrap",
        "why": "BCa needs 1,000 resamples",
        "made": {"percentile": 12},
        "drawn": "within class; over all for what depends on the share of positives",
        "resampled": "patients",
        "resamples": 200,
        "level": 0.95,
        "seed": 0,
    }


def test_cautions_reach_the_user_the_page_and_the_log(evaluated):
    result, reporter = evaluated
    assert any("Synthetic cohort" in text for text in result.cautions)
    assert any("7 of the evaluated patients" in text for text in result.cautions)
    assert tuple(reporter.warnings) == result.cautions
    page = result.report.read_text(encoding="utf-8")
    log = (result.folder / "log.txt").read_text(encoding="utf-8")
    for text in result.cautions:
        assert text in page
        assert text in log


def test_the_same_predictions_give_the_same_bytes(run, evaluated, tmp_path):
    """Row order and time of day do not matter; the seed does."""
    folder, _, _ = run
    again = evaluate.run(settings_for(folder), tmp_path / "again")
    for name in LEFT_BEHIND - {"command.txt", "config.yaml", "env.json", "log.txt", "status.json"}:
        assert (again.folder / name).read_bytes() == (evaluated[0].folder / name).read_bytes()
    other = evaluate.run(settings_for(folder, seed=1), tmp_path / "other")
    assert other.estimates[0].value == again.estimates[0].value
    assert other.estimates[0].low != again.estimates[0].low


def test_shuffled_rows_give_the_same_numbers(run, evaluated, tmp_path):
    _, rows, plan = run
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = tmp_path / "mixed"
    with run_folder.create(
        mixed, stage="finetune", settings=FinetuneSettings(archive=mixed, init_from="none")
    ) as made:
        made.environment()
        table = tables.build([rows[n] for n in order], predictions.PREDICTIONS)
        predictions.write(mixed / "predictions.parquet", table)
        splits.write(mixed / "splits.json", plan)
    result = evaluate.run(settings_for(mixed), tmp_path / "out")
    for a, b in zip(result.estimates, evaluated[0].estimates, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-12)


def test_its_config_repeats_it_to_the_same_bytes(evaluated, tmp_path):
    result, _ = evaluated
    again = resolve(EvaluateSettings, "evaluate", Sources(files=[result.folder / "config.yaml"]))
    assert again.threshold == 0.5  # no auto is left
    repeated = evaluate.run(again, tmp_path / "again")
    for name in ("report.json", "report.html"):
        assert (repeated.folder / name).read_bytes() == (result.folder / name).read_bytes()


def test_what_is_called_positive_is_counted_in_units(run, tmp_path, run_main):
    """From the command line to the record: threshold, counts, predictive values elsewhere."""
    out = tmp_path / "out"
    words = ("--resamples", 200, "--threshold", 0.4, "--prevalence", "0.05, 0.2", "-o", out)
    code, said, _ = run_main("evaluate", run[0], *words)
    assert code == 0
    record = report.read(out)
    assert record["threshold"] == {"value": 0.4, "chosen": "given"}
    (point,) = record["operating_points"]
    by_patient = {}
    for row in run[1]:
        if row["part"] == "test":
            by_patient.setdefault(row["patient_key"], [row["label"], []])[1].append(row)
    cells = {}
    for label, rows in by_patient.values():
        repeats = [[r["score"] for r in rows if r["repeat"] == n] for n in range(2)]
        key = (label, np.mean([np.mean(scores) for scores in repeats]) >= 0.4)
        cells[key] = cells.get(key, 0) + 1
    assert point["true_positives"] == cells[1, True]
    assert point["false_positives"] == cells[0, True]
    assert [row["prevalence"] for row in point["predictive"]] == [0.05, 0.05, 0.2, 0.2]
    assert re.search(r"^at threshold +0\.4$", said, flags=re.MULTILINE)
    assert re.search(r"^  Sensitivity +0\.\d{3}  \(0\.\d{3} to [01]\.\d{3}\)$", said, flags=re.M)
    assert re.search(r"^  PPV at 0\.05 +0\.\d{3}", said, flags=re.MULTILINE)
    assert "ideal 1)" in said


def test_a_declared_range_is_drawn_and_intervals_are_bca_where_resamples_allow(
    run, tmp_path, run_main
):
    out = tmp_path / "out"
    words = ("--resamples", 1000, "--decision", "0.1,0.4", "-o", out)
    code, said, err = run_main("evaluate", run[0], *words)
    assert code == 0, err
    record = report.read(out)
    assert record["intervals"]["made"]["bca"] >= 10
    assert record["intervals"]["method"].startswith("bias-corrected")
    (curve,) = record["curves"]["decision"]
    assert (curve["declared"], curve["threshold"][0], curve["threshold"][-1]) == (True, 0.1, 0.4)
    (check,) = record["delong"]
    assert check["auroc"] == pytest.approx(record["estimates"][0]["value"], abs=1e-12)
    (error,) = record["calibration_error"]
    assert 0 < error["low"] < error["expected"] < error["high"]
    ends = f"{check['low']:.3f} to {check['high']:.3f}"
    assert re.search(rf"^AUROC after DeLong +{ends}", said, flags=re.MULTILINE)
    assert "under perfect calibration" in said
    assert 'aria-label="Decision curve"' in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("--decision", "0.4,0.1"), 2, "decision: the range of thresholds ends before it begins"),
        (("--decision", "0.4"), 2, "decision"),
        (("--intervals", "wald"), 2, "intervals"),
        (("--threshold", 1.5), 2, "threshold: no probability reaches"),
        (("--threshold", "half"), 2, "threshold"),
        (("--prevalence", "5"), 2, "prevalence"),
        (("--threshold", "none", "--prevalence", "0.1"), 2, "predictive values need a threshold"),
    ],
)
def test_a_threshold_that_means_nothing_is_refused(run, tmp_path, run_main, words, code, problem):
    found, _, err = run_main("evaluate", run[0], *words, "-o", tmp_path / "out")
    assert (found, problem in err) == (code, True)
    assert not (tmp_path / "out").exists()


def test_without_a_threshold_nothing_is_called(run, tmp_path):
    result = evaluate.run(settings_for(run[0], threshold="none"), tmp_path / "out")
    record = report.read(result.folder)
    assert (record["threshold"], record["operating_points"]) == (None, [])
    assert {row["threshold"] for row in record["estimates"]} == {None}
    assert "called positive from" not in result.report.read_text(encoding="utf-8")


def test_a_small_cohort_has_no_operating_point_and_says_so(tmp_path, finetune_run):
    finetune_run(tmp_path / "run", n_patients=14, repeats=1)
    result = evaluate.run(settings_for(tmp_path / "run"), tmp_path / "out")
    assert [row.metric for row in result.estimates] == [
        "auroc", "average_precision", "brier", "scaled_brier",
    ]  # fmt: skip
    assert result.operating_points == ()
    (said,) = (text for text in result.notes if "left out" in text)
    assert said.startswith("Fewer than 10 patients of a class: calibration curve")
    assert said in result.report.read_text(encoding="utf-8")
    assert report.read(result.folder)["curves"]["calibration"] == []


def test_a_plan_says_what_would_be_judged_and_writes_nothing(run, tmp_path):
    before = files_in(run[0])
    plan = evaluate.plan(settings_for(run[0], smoke=True, resamples=5000))
    assert (plan.unit, plan.n_patients, plan.n_units, plan.n_repeats) == ("patient", 60, 60, 2)
    assert plan.n_events == (sum(label for _, label in _labels(run[1])),)
    assert plan.resamples == 200
    assert plan.metrics == tuple(metric.name for metric in metrics.TABLE)
    assert plan.threshold == 0.5
    assert files_in(run[0]) == before
    assert list(tmp_path.iterdir()) == []


def _labels(rows):
    return {(row["patient_key"], row["label"]) for row in rows}


def test_disagreeing_patients_make_images_the_unit(tmp_path, finetune_run):
    rows, _ = finetune_run(tmp_path / "run", mixed=True)
    result = evaluate.run(settings_for(tmp_path / "run"), tmp_path / "out")
    images = {row["image_id"] for row in rows}
    assert (result.unit, result.n_units, result.n_patients) == ("image", len(images), 60)
    assert "images differ in label" in result.reason
    assert [text for text in result.notes if "left out" in text] == []


def test_unknown_patients_are_a_banner(tmp_path, finetune_run):
    finetune_run(tmp_path / "run", group="none")
    result = evaluate.run(settings_for(tmp_path / "run"), tmp_path / "out")
    assert any("images were treated as independent" in text for text in result.cautions)
    record = report.read(result.folder)
    assert record["cohort"]["patients"] is None
    assert record["intervals"]["resampled"] == "images"
    assert {row["n_patients"] for row in record["estimates"]} == {None}


def test_several_classes_are_judged_one_by_one_and_together(tmp_path, finetune_run):
    rows, _ = finetune_run(tmp_path / "run", classes=3, repeats=1, n_patients=90)
    result = evaluate.run(settings_for(tmp_path / "run"), tmp_path / "out")
    judged = [row.column for row in result.estimates if row.metric == "auroc"]
    assert judged == ["macro average", *NAMES]
    assert result.target == "finding"
    score, label = {}, {}
    for row in rows:
        if row["part"] == "test":
            k = NAMES.index(row["target"].removeprefix("finding="))
            score.setdefault(row["patient_key"], [[], [], []])[k].append(row["score"])
            label[row["patient_key"]] = k if row["label"] else label.get(row["patient_key"])
    means = np.array([[np.mean(cell) for cell in score[key]] for key in label])
    expected = roc_auc_score(list(label.values()), means, multi_class="ovr", average="macro")
    assert result.estimates[0].value == pytest.approx(expected, abs=1e-12)
    record = report.read(result.folder)
    assert len(record["curves"]["roc"]) == len(record["operating_points"]) == 3
    for point, k in zip(record["operating_points"], range(3), strict=True):
        called = means[:, k] >= 0.5
        positive = np.array(list(label.values())) == k
        assert point["true_positives"] == (called & positive).sum()


def foreign_csv(path, *, n=80, ids="DOE^JANE {n}", scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    lines = ["patient_id,image_id,label,score,site"]
    for patient in range(n):
        label = int(rng.random() < 0.4)
        for image in range(rng.integers(1, 3)):
            score = scale / (1 + np.exp(-rng.normal() - label))
            name = ids.format(n=patient)
            lines.append(f"{name},/scans/{name}/{image}.dcm,{label},{score},{'ab'[patient % 2]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_foreign_table_leaves_no_id_behind(tmp_path):
    table = foreign_csv(tmp_path / "other.csv")
    reporter = Recording()
    result = evaluate.run(settings_for(predictions=table), tmp_path / "out", reporter)
    assert files_in(result.folder) == LEFT_BEHIND
    assert (result.unit, result.n_patients) == ("patient", 80)
    for name in LEFT_BEHIND:
        path = result.folder / name
        text = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else ""
        text += path.read_bytes().decode("latin-1")
        for canary in ("DOE", "JANE", "scans", "p00000"):
            assert canary not in text, (name, canary)
    assert "DOE" not in str((reporter.notes, reporter.warnings, result))


def test_a_foreign_table_may_be_in_any_order(tmp_path):
    lines = foreign_csv(tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    order = np.random.default_rng(1).permutation(len(lines) - 1) + 1
    mixed = tmp_path / "b.csv"
    mixed.write_text("\n".join([lines[0], *(lines[n] for n in order)]) + "\n", encoding="utf-8")
    first, second = (
        evaluate.run(settings_for(predictions=tmp_path / f"{name}.csv"), tmp_path / name)
        for name in "ab"
    )
    for a, b in zip(first.estimates, second.estimates, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-12)


def test_scores_of_any_scale_are_ranked(tmp_path):
    table = foreign_csv(tmp_path / "other.csv", scale=50)
    result = evaluate.run(settings_for(predictions=table), tmp_path / "out")
    assert [row.metric for row in result.estimates] == ["auroc", "average_precision"]
    assert "not probabilities" in result.notes[0]
    assert report.read(result.folder)["curves"]["calibration"] == []
    given = evaluate.run(settings_for(predictions=table, threshold=25), tmp_path / "given")
    assert {"sensitivity", "ppv"} <= {row.metric for row in given.estimates}
    assert given.operating_points[0].threshold == 25


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("patient_id,label,score\na,1,0.5\nb,no,0.1\n", ":3: label: not 0 or 1"),
        ("patient_id,label\na,1\n", "lacks the column 'score'"),
        ("patient_id,label,score\na,1,0.5\nb,1,0.1\n", "there is one class only"),
        ("patient_id,label,score,image_id\na,1,.5,x\nb,0,.1,x\n", "two rows in one repeat"),
        ("patient_id,label,score,fold\na,1,.5,0\na,1,.1,1\nb,0,.1,0\n", "leakage: 1 of 2"),
    ],
)
def test_refused_tables_write_nothing(tmp_path, text, problem):
    path = tmp_path / "other.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(problem)) as caught:
        evaluate.run(settings_for(predictions=path), tmp_path / "out")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()


def test_unfinished_and_foreign_runs_are_refused(run, tmp_path):
    with pytest.raises(ArtifactError, match="no run"):
        evaluate.run(settings_for(tmp_path), tmp_path / "out")
    with (
        pytest.raises(ZeroDivisionError, match="stop"),
        run_folder.create(tmp_path / "broken", stage="finetune", settings=settings_for(run[0])),
    ):
        raise ZeroDivisionError("stop")
    with pytest.raises(ArtifactError, match=r"unfinished \(status: failed\)"):
        evaluate.run(settings_for(tmp_path / "broken"), tmp_path / "out")
    done = evaluate.run(settings_for(run[0]), tmp_path / "done")
    with pytest.raises(ArtifactError, match="not a finetune run but one of evaluate"):
        evaluate.run(settings_for(done.folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, "target: [", "finding"])
def test_a_damaged_run_is_refused_in_one_sentence(tmp_path, run_main, finetune_run, content):
    """Exit 4 and no traceback, from `evaluate` and from `info`."""
    finetune_run(tmp_path / "run", n_patients=12, repeats=1)
    path = tmp_path / "run" / "config.yaml"
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="utf-8")
    for words in (("evaluate", tmp_path / "run", "-o", tmp_path / "out"), ("info", path.parent)):
        code, _, err = run_main(*words)
        assert code == 4
        assert err.startswith(f"medssl: {path}: ")
        assert "fix: restore the file" in err
    assert not (tmp_path / "out").exists()


def test_an_output_in_use_is_refused(run, evaluated):
    with pytest.raises(UsageError, match="output folder is not empty"):
        evaluate.run(settings_for(run[0]), evaluated[0].folder)


def test_an_interrupted_evaluation_is_resumed_to_the_same_bytes(run, evaluated, tmp_path):
    class Interrupting(Recording):
        def note(self, text):
            raise KeyboardInterrupt(text)

    with pytest.raises(KeyboardInterrupt, match="judging 60 units of 60 patients"):
        evaluate.run(settings_for(run[0]), tmp_path / "out", Interrupting())
    assert run_folder.read_status(tmp_path / "out")["status"] == "interrupted"
    resumed = evaluate.run(settings_for(run[0]), tmp_path / "out", resume=True)
    assert files_in(resumed.folder) == LEFT_BEHIND
    for name in ("report.json", "report.html"):
        assert (resumed.folder / name).read_bytes() == (evaluated[0].folder / name).read_bytes()


def test_one_input_is_needed():
    with pytest.raises(UsageError, match="one input"):
        EvaluateSettings()
    with pytest.raises(UsageError, match="one input"):
        EvaluateSettings(run=Path("a"), predictions=Path("b"))


def test_settings_are_written_relative_to_the_run(evaluated, run):
    config = yaml.safe_load((evaluated[0].folder / "config.yaml").read_text(encoding="utf-8"))
    assert not Path(config["run"]).is_absolute()
    assert (evaluated[0].folder / config["run"]).resolve() == run[0].resolve()
    environment = json.loads((evaluated[0].folder / "env.json").read_text(encoding="utf-8"))
    assert len(environment["inputs"]["predictions"]) == 64
