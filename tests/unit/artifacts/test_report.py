"""A report keeps its numbers in JSON and its two tables as Parquet; both say the same."""

import math

from medssl.artifacts import report

ESTIMATE = {
    "run": None,
    "metric": "auroc",
    "column": "finding",
    "threshold": None,
    "value": 0.75,
    "low": 0.6,
    "high": 0.875,
    "interval": "percentile",
    "undefined": 0,
    "no_skill": 0.5,
    "ideal": None,
    "n_patients": 16,
    "n_units": 16,
    "n_events": None,
}
FOLD = {"column": "finding", "repeat": 0, "fold": 1, "n_units": 8, "n_events": 3, "auroc": 0.8}
REPORT = {
    "estimates": [ESTIMATE | {"title": "AUROC"}],
    "folds": {"drift": [], "rows": [FOLD]},
    "operating_points": [],
}


def test_what_is_written_is_read(tmp_path):
    report.write(tmp_path, REPORT)
    assert report.read(tmp_path) == REPORT


def test_the_tables_hold_the_rows_of_the_report(tmp_path):
    report.write_tables(tmp_path, REPORT)
    assert report.read_estimates(tmp_path).to_pylist() == [ESTIMATE]
    assert report.read_folds(tmp_path).to_pylist() == [FOLD]


def test_a_fold_without_a_class_is_null_in_json_and_not_a_number_in_the_table(tmp_path):
    lacking = REPORT | {
        "estimates": [],
        "folds": {"drift": [], "rows": [FOLD | {"auroc": math.nan}]},
    }
    report.write(tmp_path, lacking)
    report.write_tables(tmp_path, lacking)
    assert report.read(tmp_path)["folds"]["rows"][0]["auroc"] is None
    assert math.isnan(report.read_folds(tmp_path)["auroc"][0].as_py())
