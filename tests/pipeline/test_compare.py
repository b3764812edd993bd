"""`medssl compare` on run folders made by hand, down to the files it leaves, and on real runs."""

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from medssl.artifacts import arms, predictions, report, run_folder, splits, trials
from medssl.artifacts import comparison as artifact
from medssl.config.compare import CompareSettings
from medssl.config.evaluate import EvaluateSettings
from medssl.config.loading import Sources, resolve
from medssl.foundation.errors import DataError, UsageError
from medssl.foundation.reporting import Recording
from medssl.stages import compare, evaluate

LEFT_BEHIND = {
    "command.txt",
    "comparison.html",
    "comparison.json",
    "config.yaml",
    "env.json",
    "log.txt",
    "status.json",
    "tables/differences.parquet",
    "tables/estimates.parquet",
}


def files_in(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def settings_for(*runs, **changes):
    return CompareSettings(runs=runs, **({"resamples": 200} | changes))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, finetune_run, model_info):
    """Three runs on the same folds: another schedule, and the first model once more."""
    root = tmp_path_factory.mktemp("runs")
    finetune_run(root / "plain", info=model_info())
    finetune_run(
        root / "gradual",
        model=5,
        info=model_info(schedule="linear_probe", init={}),
        changes={"schedule": "linear_probe", "epochs": 9},
    )
    finetune_run(root / "again", info=model_info())
    return root


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    reporter = Recording()
    out = tmp_path_factory.mktemp("compared") / "out"
    result = compare.run(settings_for(runs / "plain", runs / "gradual"), out, reporter)
    return result, reporter


def test_a_comparison_leaves_exactly_these_files(compared):
    result, _ = compared
    assert files_in(result.folder) == LEFT_BEHIND
    run_folder.require_finished(result.folder, "compare")
    assert result.report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_each_run_has_the_numbers_its_own_report_has(compared, runs, tmp_path):
    """The draws are those of `evaluate` with the same seed."""
    result, _ = compared
    for name in ("plain", "gradual"):
        alone = evaluate.run(
            EvaluateSettings(run=runs / name, resamples=200, threshold="none"), tmp_path / name
        )
        assert result.estimates[name] == alone.estimates


def test_the_record_its_tables_and_the_result_agree(compared):
    result, _ = compared
    record = artifact.read(result.folder)
    assert [row["value"] for row in record["differences"]] == [
        row.value for row in result.differences
    ]
    table = artifact.read_differences(result.folder)
    assert table["value"].to_pylist() == [row.value for row in result.differences]
    estimates = report.read_estimates(result.folder)
    assert set(estimates["run"].to_pylist()) == {"plain", "gradual"}
    assert record["selection"] == (
        "2 runs compared on the same folds, 2 configurations tried in all; "
        "no estimate is corrected for choosing among them"
    )
    assert [(run["name"], run["schedule"], run["init"]) for run in record["runs"]] == [
        ("plain", "full", "vicreg"),
        ("gradual", "linear_probe", "random"),
    ]


def test_what_differs_between_the_runs_is_listed_without_paths(compared):
    result, _ = compared
    record = artifact.read(result.folder)
    found = {row["setting"]: row["values"] for row in record["settings"]}
    assert found["schedule"] == ["full", "linear_probe"]
    assert found["epochs"] == ["auto", "9"]
    assert found["weights.method"] == ["vicreg", "random"]
    assert {"seed", "archive", "target"}.isdisjoint(found)
    assert str(result.folder.parent) not in json.dumps(record)


def test_the_interval_of_a_difference_comes_first_and_its_p_value_stands_apart(compared):
    result, _ = compared
    record = artifact.read(result.folder)
    for row in record["differences"]:
        assert set(row) == {
            "run", "against", "metric", "title", "column", "value", "low", "high", "undefined",
            "higher_is_better",
        }  # fmt: skip
    (test,) = record["tests"]
    assert (test["run"], test["against"], test["metric"]) == ("gradual", "plain", "auroc")
    assert test["value"] == record["differences"][0]["value"]
    assert test["smallest_p"] == 1 / 10_000
    assert test["smallest_p"] <= test["p"] <= 1
    assert test["corrected_t"]["folds"] == 6
    assert test["corrected_t"]["ratio"] == pytest.approx(0.5)
    page = result.report.read_text(encoding="utf-8")
    assert "No plain test over folds is made" in page
    assert page.index("<h2>Differences") < page.index("<h2>P-values")


def test_one_seed_is_said_not_to_tell_how_trainings_vary(compared):
    result, _ = compared
    (note,) = (text for text in result.notes if "1 seed" in text)
    assert "--seeds 3" in note
    assert all(one.sd is None for found in result.trainings.values() for one in found)


def test_the_spread_over_trainings_stands_apart_from_the_intervals(tmp_path, finetune_run):
    """Two predictions of every image from the same folds are two trainings."""
    for name, model in (("a", 2), ("b", 5)):
        finetune_run(tmp_path / name, repeats=1, model=model)
        path = tmp_path / name / "predictions.parquet"
        table = predictions.read(path)
        first = np.random.default_rng(model).permutation(table.num_rows)  # other scores
        again = table.set_column(5, "score", table["score"].take(first)).set_column(
            6, "repeat", pa.array(np.ones(len(first)), pa.int32())
        )
        predictions.write(path, pa.concat_tables([table, again]))
    result = compare.run(settings_for(tmp_path / "a", tmp_path / "b"), tmp_path / "out")
    for (one,) in result.trainings.values():
        assert (one.metric, one.column, len(one.values)) == ("auroc", "finding", 2)
        assert one.sd == pytest.approx(abs(one.values[0] - one.values[1]) / np.sqrt(2))
    (test,) = artifact.read(tmp_path / "out")["tests"]
    assert test["corrected_t"]["folds"] == 3  # two trainings of three folds are not six
    assert "From training to training" in result.report.read_text(encoding="utf-8")


def test_configurations_that_were_tried_are_counted(runs, tmp_path, finetune_run):
    finetune_run(tmp_path / "tuned", model=5)
    tried = [
        trials.Trial(
            repeat=0, fold=0, trial=n, settings={"epochs": n}, inner=(0.5,), value=0.5,
            state=trials.FINISHED, seconds=1.0,
        )
        for n in range(7)
    ]  # fmt: skip
    trials.write(tmp_path / "tuned" / "trials.parquet", tried)
    result = compare.run(settings_for(runs / "plain", tmp_path / "tuned"), tmp_path / "out")
    assert result.configurations == 8
    assert "2 runs compared on the same folds, 8 configurations tried in all" in result.selection
    record = artifact.read(tmp_path / "out")
    assert [run["configurations"] for run in record["runs"]] == [1, 7]


def test_all_pairs_and_metrics_are_one_family(runs, tmp_path, run_main):
    folders = [runs / name for name in ("plain", "gradual", "again")]
    words = ("compare", *folders, "--names", "a,b,c", "--all-pairs", "--tests", "auroc,brier")
    code, said, err = run_main(*words, "--smoke", "-o", tmp_path / "out")
    assert code == 0, err
    tests = artifact.read(tmp_path / "out")["tests"]
    assert [row["family"] for row in tests] == [6] * 6
    assert all(row["p_holm"] >= row["p"] for row in tests)
    assert re.search(r"^p by swapping patients and Holm's correction for 6", said, re.MULTILINE)
    assert re.search(r"^Brier score \(better: lower\)", said, re.MULTILINE)
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "The 6 differences of this table are one family" in page
    assert page.count('data-label="Smallest possible"') == 6
    assert re.search(r"^  c minus a, Brier score +1; corrected 1 ", said, re.MULTILINE)
    for name in ("f1", "mae"):  # one that needs a threshold, and one of amounts
        code, _, err = run_main("compare", *folders, "--tests", name, "-o", tmp_path / "none")
        assert (code, "auroc" in err) == (2, True)
        assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def arms_run(tmp_path_factory, finetune_run, model_info):
    """A run with three others beside it: two starts, each from all patients and from half."""
    root = tmp_path_factory.mktemp("arms") / "own"
    beside = []
    for n, (init, fraction) in enumerate(
        (start, share) for start in ("own", "random") for share in (1.0, 0.5)
    ):
        folder = "." if n == 0 else f"arms/{init}-{fraction:g}"
        weights = {"method": "vicreg", "selection": {"by": ["dhash"]}} if init == "own" else {}
        share = {"fractions": (fraction,)}
        finetune_run(root / folder, model=n + 2, info=model_info(init=weights), changes=share)
        plan = splits.read(root / folder / "splits.json")
        if fraction < 1:
            unused = tuple(
                tuple(
                    tuple(sorted(k for k, f in one.items() if f != fold)[::2]) for fold in range(3)
                )
                for one in plan.test_fold
            )
            splits.write(root / folder / "splits.json", replace(plan, unused=unused))
        beside.append(
            arms.ArmInfo(
                name="main" if n == 0 else folder.removeprefix("arms/"), folder=folder, init=init,
                fraction=fraction, n_train_patients=40, measure="AUROC", of_folds=(0.5,),
            )
        )  # fmt: skip
    arms.write(root, beside)
    return root


def test_a_run_with_others_beside_it_is_compared_with_them(arms_run, tmp_path, run_main):
    code, said, err = run_main("compare", arms_run, "--smoke", "-o", tmp_path / "out")
    assert code == 0, err
    record = artifact.read(tmp_path / "out")
    assert [run["name"] for run in record["runs"]] == ["main", "own-0.5", "random-1", "random-0.5"]
    pairs = dict.fromkeys((row["run"], row["against"]) for row in record["differences"])
    assert list(pairs) == [("main", "random-1"), ("own-0.5", "random-0.5")]
    assert "main minus random-1" in said
    assert re.search(r"^random-0.5 +.*from random weights, 20 training patients, 0.5 of all$", said,
                     re.MULTILINE)  # fmt: skip
    assert [run["fraction"] for run in record["runs"]] == [1, 0.5, 1, 0.5]
    aurocs = {row["run"]: row for row in record["estimates"] if row["metric"] == "auroc"}
    (curve,) = record["label_efficiency"]
    own, random = curve["lines"]
    assert (curve["metric"], curve["no_skill"]) == ("auroc", 0.5)
    assert own["name"] == "vicreg, pretrained on a selection by dhash"
    assert random["name"] == "random weights"
    assert [point["run"] for point in own["points"]] == ["own-0.5", "main"]
    assert [point["patients"] for point in own["points"]] == [20, 40]
    for line in (own, random):
        for point in line["points"]:
            assert point["value"] == aurocs[point["run"]]["value"]
    (table,) = record["ablation"]
    assert [row["run"] for row in table["rows"]] == ["random-1", "main"]
    assert [row["against"] for row in table["rows"][1]["differences"]] == ["random-1"]
    assert table["missing"] == ["pretrained on all images", "pretrained on a random selection"]
    assert "By number of training patients" in (tmp_path / "out" / "comparison.html").read_text()


def test_runs_beside_several_runs_are_asked_for(arms_run, runs):
    both = settings_for(arms_run, runs / "plain", arms=True)
    assert compare.plan(both).runs == (
        "own/main", "own/own-0.5", "own/random-1", "own/random-0.5", "plain",
    )  # fmt: skip
    assert compare.plan(settings_for(arms_run, runs / "plain")).runs == ("own", "plain")
    named = settings_for(arms_run, names=("a", "b", "c", "d"))
    assert compare.plan(named).runs == ("a", "b", "c", "d")
    with pytest.raises(UsageError, match="2 names for 4 runs"):
        compare.plan(settings_for(arms_run, names=("a", "b")))


def test_the_same_scores_differ_by_nothing(runs, tmp_path):
    result = compare.run(settings_for(runs / "plain", runs / "again"), tmp_path / "out")
    for row in result.differences:
        assert (row.value, row.low, row.high) == (0, 0, 0)
    assert "the same" in result.report.read_text(encoding="utf-8")


def test_all_pairs_add_the_pairs_without_the_first(runs, tmp_path):
    folders = [runs / name for name in ("plain", "gradual", "again")]
    some = compare.run(settings_for(*folders, names=("a", "b", "c")), tmp_path / "some")
    every = compare.run(
        settings_for(*folders, names=("a", "b", "c"), all_pairs=True), tmp_path / "all"
    )
    found = [dict.fromkeys((r.run, r.against) for r in one.differences) for one in (some, every)]
    assert list(found[0]) == [("b", "a"), ("c", "a")]
    assert list(found[1]) == [("b", "a"), ("c", "a"), ("c", "b")]


def test_cautions_of_all_runs_stand_once_and_others_with_a_name(compared):
    result, reporter = compared
    assert tuple(reporter.warnings) == result.cautions
    (synthetic,) = (text for text in result.cautions if "Synthetic cohort" in text)
    assert synthetic.startswith("Synthetic")
    (overlap,) = (text for text in result.cautions if "also in pretraining" in text)
    assert overlap.startswith("plain: 7 of the evaluated patients")


def test_the_same_runs_give_the_same_bytes_and_the_config_repeats_them(compared, tmp_path):
    result, _ = compared
    again = resolve(CompareSettings, "compare", Sources(files=[result.folder / "config.yaml"]))
    repeated = compare.run(again, tmp_path / "again")
    for name in ("comparison.json", "comparison.html", "tables/differences.parquet"):
        assert (repeated.folder / name).read_bytes() == (result.folder / name).read_bytes()


def test_an_interrupted_comparison_is_resumed_to_the_same_bytes(compared, runs, tmp_path):
    class Interrupting(Recording):
        def note(self, text):
            raise KeyboardInterrupt(text)

    settings = settings_for(runs / "plain", runs / "gradual")
    with pytest.raises(KeyboardInterrupt, match="2 runs compared"):
        compare.run(settings, tmp_path / "out", Interrupting())
    resumed = compare.run(settings, tmp_path / "out", resume=True)
    for name in ("comparison.json", "comparison.html"):
        assert (resumed.folder / name).read_bytes() == (compared[0].folder / name).read_bytes()


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"fold_seed": 1}, "other: another split into folds"),
        ({"repeats": 1}, "other: another split into folds"),
        ({"group": "none"}, "other: another grouping: none where plain has patient"),
        ({"classes": 3}, "other: another set of classes"),
        ({"mixed": True}, "other: "),
    ],
)
def test_runs_on_other_folds_or_images_are_refused(
    runs, tmp_path, run_main, finetune_run, other, problem
):
    finetune_run(tmp_path / "other", **other)
    words = ("compare", runs / "plain", tmp_path / "other", "-o", tmp_path / "out")
    code, out, err = run_main(*words)
    assert (code, out) == (3, "")
    assert problem in err
    assert "fix: finetune both on the same archive" in err
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match=r"another|missing"):
        compare.plan(settings_for(runs / "plain", tmp_path / "other"))


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("plain",), 2, "compare needs at least two runs"),
        ((), 2, "runs is needed"),
        (("plain", "nowhere"), 4, "no run"),
        (("plain", "gradual", "--names", "a"), 2, "1 names for 2 runs"),
    ],
)
def test_wrong_arguments_are_refused(runs, tmp_path, run_main, words, code, problem):
    known = [runs / word if word in {"plain", "gradual", "nowhere"} else word for word in words]
    found, _, err = run_main("compare", *known, "-o", tmp_path / "out")
    assert (found, problem in err) == (code, True)


def test_a_dry_run_says_what_would_be_compared_and_writes_nothing(runs, tmp_path, run_main):
    folders = (runs / "plain", runs / "gradual")
    code, out, _ = run_main("compare", *folders, "--dry-run", "--smoke", "-o", tmp_path / "out")
    assert code == 0
    assert re.search(r"^pair +gradual minus plain$", out, flags=re.MULTILINE)
    assert re.search(r"^setting +schedule: full, linear_probe$", out, flags=re.MULTILINE)
    assert re.search(r"^resamples +200$", out, flags=re.MULTILINE)
    assert not (tmp_path / "out").exists()


def test_several_classes_are_compared_by_their_average_and_one_by_one(
    tmp_path, finetune_run, run_main
):
    for n, name in enumerate("ab"):
        finetune_run(tmp_path / name, classes=3, n_patients=90, repeats=1, model=n)
    out = tmp_path / "out"
    code, said, _ = run_main(
        "compare", tmp_path / "a", tmp_path / "b", "--resamples", 200, "-o", out
    )
    assert code == 0
    columns = [
        row["column"] for row in artifact.read(out)["differences"] if row["metric"] == "auroc"
    ]
    assert columns == ["macro average", "<1", "=1", ">=2"]
    average = artifact.read(out)["differences"][0]["value"]
    assert f"{average:+.3f}" in said


def test_real_runs_are_compared_from_the_command_line(pipeline, run_main, tmp_path):
    """The same cohort from pretrained and from random weights, in the same folds."""
    words = (
        "compare",
        pipeline.finetune,
        pipeline.scratch,
        "--resamples",
        200,
        "-o",
        tmp_path / "c",
    )
    code, out, err = run_main(*words)
    assert code == 0, err
    record = artifact.read(tmp_path / "c")
    assert [run["init"] for run in record["runs"]] == ["vicreg", "random"]
    assert [row["start"] for row in record["ablation"][0]["rows"]] == [
        "random weights",
        "vicreg, pretrained on a selection by dhash",
    ]
    (row,) = (row for row in record["differences"] if row["metric"] == "auroc")
    values = [line["value"] for line in record["estimates"] if line["metric"] == "auroc"]
    assert row["value"] == pytest.approx(values[1] - values[0])
    said = next(line for line in out.splitlines() if "scratch minus finetune" in line)
    assert f"{row['value']:+.3f}" in said
    code, out, _ = run_main(*words[:-1], tmp_path / "j", "--json")
    assert json.loads(out)["estimates"]["scratch"][0]["metric"] == "auroc"


def test_two_schedules_are_compared(pipeline, run_main, tmp_path):
    probe = ("finetune", pipeline.archive, "--init-from", "none", "--schedule", "linear_probe")
    small = ("--epochs", 1, "--image-size", 32, "--folds", 3, "--device", "cpu")
    code, _, err = run_main(*probe, *small, "-o", tmp_path / "probe")
    assert code == 0, err
    code, out, err = run_main(
        "compare", pipeline.scratch, tmp_path / "probe", "--smoke", "-o", tmp_path / "c"
    )
    assert code == 0, err
    made = r"^probe +schedule linear_probe, from random weights, [\d.]+ training patients$"
    assert re.search(made, out, flags=re.MULTILINE)


def test_what_several_runs_say_stands_once_with_their_names():
    said = {"a": ("all", "two", "own"), "b": ("all",), "c": ("two", "all")}
    assert compare._merged(said) == ("all", "a, c: two", "a: own")
