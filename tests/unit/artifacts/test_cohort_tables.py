"""Table 1 as CSV, every count with what it is of, and as LaTeX with folds side by side."""

import csv

import pytest

from medssl.artifacts import cohort_tables

TABLE = {
    "folds": ["fold 1", "north & south"],
    "rows": [
        {"variable": "patients", "category": "", "counted": "patients", "count": 5, "total": 5,
         "by_fold": [2, 3], "total_by_fold": [2, 3]},
        {"variable": "age_band", "category": "6-12", "counted": "patients", "count": 2, "total": 5,
         "by_fold": [0, 2], "total_by_fold": [2, 3]},
    ],
    "amounts": [
        {"column": "volume", "mean": 12.34, "sd": 1.26, "mean_by_fold": [12.0, None],
         "sd_by_fold": [float("nan"), None]},
    ],
}  # fmt: skip


@pytest.fixture
def written(tmp_path):
    (tmp_path / "tables").mkdir()
    cohort_tables.write(tmp_path, {"table_one": TABLE})
    return tmp_path / "tables"


def test_the_csv_has_a_row_for_all_and_for_each_fold(written):
    with (written / "table_one.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * (len(TABLE["rows"]) + 2)
    assert rows[3] == {
        "variable": "age_band", "category": "6-12", "counted": "patients", "fold": "",
        "count": "2", "total": "5",
    }  # fmt: skip
    assert [(row["fold"], row["count"], row["total"]) for row in rows[4:6]] == [
        ("fold 1", "0", "2"), ("north & south", "2", "3"),
    ]  # fmt: skip
    amounts = [(row["category"], row["fold"], row["count"]) for row in rows[6:]]
    assert amounts[0] == ("mean", "", "12.34")
    assert amounts[2] == ("mean", "north & south", "")
    assert amounts[4] == ("standard deviation", "fold 1", "")


def test_the_latex_has_a_column_for_all_and_for_each_fold(written):
    lines = (written / "table_one.tex").read_text(encoding="utf-8").splitlines()
    assert lines[0] == r"\begin{tabular}{llrrr}"
    assert lines[2] == r" &  & All & fold 1 & north \& south \\"
    assert lines[4] == r"patients &  & 5 & 2 & 3 \\"
    assert lines[5] == r"age band, patients & 6-12 & 2 (40.0 \%) & 0 (0.0 \%) & 2 (66.7 \%) \\"
    assert lines[6] == r"volume & mean (standard deviation) & 12.3 (1.3) & 12.0 & -- \\"


@pytest.mark.parametrize("name", ["all", "All", "variable", "category", "low to high", "compared"])
def test_a_fold_may_have_any_name(tmp_path, name):
    (tmp_path / "tables").mkdir()
    cohort_tables.write(tmp_path, {"table_one": TABLE | {"folds": ["fold 1", name]}})
    lines = (tmp_path / "tables" / "table_one.tex").read_text(encoding="utf-8").splitlines()
    assert lines[4] == r"patients &  & 5 & 2 & 3 \\"
    with (tmp_path / "tables" / "table_one.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["count"] for row in rows if row["variable"] == "patients"] == ["5", "2", "3"]
