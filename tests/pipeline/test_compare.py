"""`medssl compare` on run folders made by hand, down to the files it leaves, and on real runs."""

import json
import re

import pytest

from medssl.artifacts import comparison as artifact
from medssl.artifacts import report, run_folder
from medssl.config.compare import CompareSettings
from medssl.config.evaluate import EvaluateSettings
from medssl.config.loading import Sources, resolve
from medssl.foundation.errors import DataError
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
        "2 runs compared on the same folds; no correction for choosing among them"
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


def test_no_test_over_folds_is_made(compared):
    """Nor any p-value: an interval of a difference is what there is."""
    result, _ = compared
    for row in artifact.read(result.folder)["differences"]:
        assert set(row) == {
            "run", "against", "metric", "title", "column", "value", "low", "high", "undefined",
            "higher_is_better",
        }  # fmt: skip
    assert "no test over folds" in result.report.read_text(encoding="utf-8")


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
    assert re.search(r"^probe +schedule linear_probe, encoder random$", out, flags=re.MULTILINE)


def test_what_several_runs_say_stands_once_with_their_names():
    said = {"a": ("all", "two", "own"), "b": ("all",), "c": ("two", "all")}
    assert compare._merged(said) == ("all", "a, c: two", "a: own")
