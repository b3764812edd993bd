"""Tables as CSV and LaTeX: every number comes back, and no text acts on its reader."""

import csv
import io
import math
import re

import pytest

from medssl.artifacts import report_tables

HOSTILE = '50% & a_b #1 \\input{x} ~^$ <|> [2pt]* "q" ≥ −'
ESTIMATE = {
    "metric": "auroc", "title": "AUROC", "column": "finding", "threshold": None,
    "value": 0.1 + 0.2, "low": 0.25, "high": 1 / 3, "interval": "bca", "no_skill": 0.5,
    "ideal": None, "n_patients": 16, "n_units": 20, "n_events": 7,
}  # fmt: skip
CALLED = ESTIMATE | {"metric": "ppv", "title": "PPV", "threshold": 0.5, "value": 0.75}
POINT = {
    "column": "finding", "threshold": 0.5, "true_positives": 6, "false_negatives": 1,
    "false_positives": 2, "true_negatives": 11,
    "predictive": [
        {"metric": "npv", "prevalence": 0.05, "value": 0.99, "low": 0.9, "high": 1.0,
         "interval": "wilson"},
    ],
}  # fmt: skip
FOLD = {"column": "finding", "repeat": 0, "fold": 1, "n_units": 8, "n_events": 0, "auroc": math.nan}
VALUE = {
    "metric": "auroc", "title": "AUROC", "value": 2 / 3, "low": 0.5, "high": 0.75,
    "interval": "percentile", "undefined": 1,
}  # fmt: skip
GROUP = {
    "column": "finding", "name": "north × AP", "n_patients": 30, "n_units": 33, "n_events": 12,
    "patients_with": 11, "patients_without": 19, "too_few": False,
    "values": [VALUE, VALUE | {"metric": "sensitivity", "title": "Sensitivity", "value": 1.0,
                               "interval": "wilson"}],
}  # fmt: skip
FEW = {"name": "north × PA", "patients_with": 1, "too_few": True, "values": []}
GAP = {
    "column": "finding", "metric": "auroc", "title": "AUROC", "worst": "north × PA",
    "best": "north × AP", "n_groups": 2, "value": 0.125, "low": -0.5, "high": 0.25,
    "interval": "percentile",
}  # fmt: skip
REPORT = {
    "estimates": [ESTIMATE, CALLED],
    "folds": {"drift": [], "rows": [FOLD]},
    "operating_points": [POINT],
    "subgroups": [
        {"attribute": "sex", "reason": "not known of any image", "n_unknown": 16, "n_several": 0,
         "calls": "threshold", "groups": [], "gaps": [], "accuracies": None},
        {"attribute": "site*view", "reason": "", "n_unknown": 0, "n_several": 0,
         "calls": "chosen_thresholds", "accuracies": None,
         "groups": [GROUP, GROUP | FEW], "gaps": [GAP]},
    ],
}  # fmt: skip


def read(folder, name):
    with (folder / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def cells(latex):
    """The cells of the body; one line of the table is one line of the file."""
    body = latex.split("\\hline\n")[2]
    assert all(line.endswith(r" \\") for line in body.splitlines())
    return [line.removesuffix(r" \\").split(" & ") for line in body.splitlines()]


def test_csv_keeps_every_digit_and_leaves_out_what_is_none(tmp_path):
    report_tables.write(tmp_path, REPORT)
    rows = read(tmp_path, "estimates")
    assert [float(row["value"]) for row in rows] == [0.1 + 0.2, 0.75]
    assert float(rows[0]["high"]) == 1 / 3
    assert rows[0]["threshold"] == rows[0]["ideal"] == ""
    assert read(tmp_path, "folds")[0]["auroc"] == ""


def test_an_operating_point_has_its_counts_and_all_that_follows_from_them(tmp_path):
    report_tables.write(tmp_path, REPORT)
    ppv, npv = read(tmp_path, "operating_points")
    calls = int(ppv["true_positives"]) / (int(ppv["true_positives"]) + int(ppv["false_positives"]))
    assert float(ppv["value"]) == calls == 0.75
    assert (ppv["prevalence"], npv["prevalence"], npv["metric"]) == ("", "0.05", "npv")


def test_groups_have_a_row_for_each_metric_and_one_where_there_is_none(tmp_path):
    report_tables.write(tmp_path, REPORT)
    unknown, auroc, sensitivity, few = read(tmp_path, "subgroups")
    assert (unknown["attribute"], unknown["group"]) == ("sex", "")
    assert unknown["not_assessed"] == "not known of any image"
    assert (auroc["group"], auroc["n_patients"], auroc["n_events"]) == ("north × AP", "30", "12")
    assert float(auroc["value"]) == 2 / 3
    assert (auroc["calls"], sensitivity["calls"]) == ("", "chosen_thresholds")
    assert (few["metric"], few["value"]) == ("", "")
    assert few["not_assessed"] == "too few patients: 1 positive, 19 negative"
    (gap,) = read(tmp_path, "subgroup_gaps")
    assert (gap["attribute"], gap["worst"], float(gap["low"])) == ("site*view", "north × PA", -0.5)
    for name in ("subgroups", "subgroup_gaps"):
        latex = (tmp_path / "tables" / f"{name}.tex").read_text(encoding="utf-8")
        assert {len(row) for row in cells(latex)} == {latex.splitlines()[2].count("&") + 1}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", " =1", "\t=1"])
def test_a_text_in_csv_is_no_formula_and_a_negative_number_stays_one(text):
    shown = report_tables.as_csv([{"a": text, "b": -1.5}], ("a", "b"))
    (row,) = list(csv.DictReader(io.StringIO(shown)))
    assert row == {"a": f"'{text}", "b": "-1.5"}


def test_latex_sets_text_that_would_act(tmp_path):
    report_tables.write(tmp_path, REPORT | {"estimates": [ESTIMATE | {"column": HOSTILE}]})
    latex = (tmp_path / "tables" / "estimates.tex").read_text(encoding="utf-8")
    (row,) = cells(latex)
    assert len(row) == latex.splitlines()[2].count("&") + 1
    assert len(re.search(r"\{tabular\}\{(\w+)\}", latex)[1]) == len(row)
    known = r"\\(?:textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar)\{\}"
    left = re.sub(known + r"|\\[{}$&#%_]|\$(?:\\geq|-)\$|\\char34\{\}|\{[\[\]*]\}", " ", row[1])
    assert not re.search(r"[\\{}$&#%_^~<>|\"\[\]*]", left)
    assert re.findall(r"\w+", left) == ["50", "a", "b", "1", "input", "x", "2pt", "q"]


def test_latex_shows_three_digits_and_what_to_compare_with():
    rows = [CALLED | {"ideal": 1.0, "value": -0.12345}, CALLED | {"low": None, "value": math.nan}]
    shown = cells(report_tables.as_latex(rows, ("title", "threshold", "value", "low to high",
                                                "compared", "n_units")))  # fmt: skip
    assert shown[0] == ["PPV", "0.5", "$-$0.123", "0.250 to 0.333", "1.000", "20"]
    assert shown[1] == ["PPV", "0.5", "--", "--", "0.500", "20"]
