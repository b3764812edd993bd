"""Splits, seen from the command line: what they refuse, and that a report takes what they test."""

import json

import pytest

from medssl.artifacts import predictions, splits
from medssl.artifacts.split_tables import IDS

SMALL = ("--init-from", "none", "--schedule", "linear_probe", "--epochs", 1, "--image-size", 16,
         "--device", "cpu", "--workers", 1)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--split", "sites"), 2, "split.by"),
        (("--split", "hold_out"), 2, "--split hold_out --hold-out SITE"),
        (("--split", "site", "--repeats", 2), 2, "nothing to draw anew in 2 repeats"),
        (("--split", "site", "--preset", "bpd2025"), 2, "nothing to draw anew in 6 repeats"),
        (("--split", "time"), 2, "an archive keeps no dates"),
        (("--split", "file", "--set", "split.file=absent.csv"), 3, "no such file"),
        (("--split", "hold_out", "--hold-out", "sout"), 3, "did you mean 'south'?"),
        (("--split", "time", "--set", "split.time_target=year"), 3, "no label column called"),
        (("--set", "split.balanced_test=true", "--folds", 9), 3, "use at most 4 folds"),
        (("--folds", 5), 3, "use at most 4 folds"),
        (("--inner", 0, "--patience", 2), 2, "nobody is set apart"),
        (("--inner", 1), 2, "inner.share"),
        (("--fractions", "0.5,2"), 2, "fractions"),
    ],
)
def test_a_split_that_cannot_be_is_refused_before_anything_is_written(
    cli, tiny_archive, tmp_path, words, code, said
):
    given = ("finetune", tiny_archive, *SMALL, *words, "-o", tmp_path / "run")
    found, out, err = cli(*given)
    assert found == code, (out, err)
    assert said in err
    assert not (tmp_path / "run").exists()


def _run(cli, *words):
    code, out, err = cli(*words, "--json")
    assert code == 0, (out, err)
    return json.loads(out)


def test_a_report_takes_what_a_split_tests(cli, tiny_archive, tmp_path):
    """Two sites, one of them held out, and the folds of the first run given to another."""
    words = ("finetune", tiny_archive, *SMALL, "--set", "inner.share=0")
    by_site = ("--split", "site")
    again = ("--split", "file", "--set", f"split.file={tmp_path / 'site'}")
    held = ("--split", "hold_out", "--hold-out", "south")
    for name, more in (("site", by_site), ("again", again), ("held", held)):
        _run(cli, *words, *more, "-o", tmp_path / name)
    plans = {name: splits.read(tmp_path / name / "splits.json") for name in ("site", "again")}
    assert plans["site"].names == ("north", "south")
    assert plans["again"].digest == plans["site"].digest
    report = _run(cli, "compare", tmp_path / "site", tmp_path / "again", "--resamples", 100,
                  "-o", tmp_path / "compared")  # fmt: skip
    assert {row["value"] for row in report["differences"]} == {0.0}

    tested = predictions.read(tmp_path / "held" / "predictions.parquet")
    assert set(tested["site"].to_pylist()) == {"south"}
    judged = _run(cli, "evaluate", tmp_path / "held", "--resamples", 100, "-o", tmp_path / "judged")
    assert judged["n_patients"] == len(set(tested["patient_key"].to_pylist())) == 3
    page = (tmp_path / "judged" / "report.html").read_text(encoding="utf-8")
    assert "1 fold\n" in page
    assert str(tmp_path) not in page


def test_a_report_names_no_table_of_folds(cli, tiny_archive, tmp_path):
    rows = [f"patient{p:02d},{p // 4}" for p in range(8)]
    table = tmp_path / "meier-splits.csv"
    table.write_text("\n".join([f"{IDS[1]},fold", *rows]), encoding="utf-8")
    run = tmp_path / "run"
    _run(cli, "finetune", tiny_archive, *SMALL, "--split", "file", "--set", f"split.file={table}",
         "-o", run)  # fmt: skip
    _run(cli, "evaluate", run, "--resamples", 100, "-o", tmp_path / "judged")
    for name in ("report.html", "report.json"):
        assert "meier" not in (tmp_path / "judged" / name).read_text(encoding="utf-8")
