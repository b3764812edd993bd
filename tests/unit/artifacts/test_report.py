"""A report keeps its numbers in JSON and its two tables as Parquet; both say the same."""

import json
import math

import pytest

from medssl.artifacts import report
from medssl.foundation.errors import ArtifactError

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
GROUP = {
    "column": "finding",
    "n_patients": 40,
    "n_units": 41,
    "n_events": 12,
    "patients_with": 11,
    "patients_without": 29,
}
VALUE = {
    "metric": "sensitivity",
    "title": "Sensitivity",
    "value": 0.75,
    "low": 0.5,
    "high": 0.875,
    "interval": "percentile",
    "undefined": 0,
}
GAP = {
    "column": "finding",
    "metric": "auroc",
    "title": "AUROC",
    "worst": "F",
    "best": "M",
    "n_groups": 2,
    "value": 0.1,
    "low": -0.1,
    "high": 0.2,
    "interval": "percentile",
}
REPORT = {
    "estimates": [ESTIMATE | {"title": "AUROC"}],
    "folds": {"drift": [], "rows": [FOLD]},
    "operating_points": [],
    "table_one": {"folds": [], "rows": [], "amounts": []},
    "subgroups": [
        {
            "attribute": "sex",
            "reason": "",
            "calls": "threshold",
            "gaps": [GAP],
            "groups": [
                GROUP | {"name": "F", "too_few": False, "values": [VALUE]},
                GROUP | {"name": "M", "too_few": True, "values": []},
            ],
        }
    ],
}


def test_what_is_written_is_read(tmp_path):
    report.write(tmp_path, REPORT)
    assert report.read(tmp_path) == REPORT


def test_the_tables_hold_the_rows_of_the_report(tmp_path):
    report.write_tables(tmp_path, REPORT)
    assert report.read_estimates(tmp_path).to_pylist() == [ESTIMATE]
    assert report.read_folds(tmp_path).to_pylist() == [FOLD]
    judged, few = report.read_subgroups(tmp_path).to_pylist()
    assert judged == GROUP | VALUE | {
        "attribute": "sex", "group": "F", "calls": "threshold", "not_assessed": None,
    }  # fmt: skip
    assert few["not_assessed"] == "too few patients: 11 positive, 29 negative"
    assert (few["group"], few["metric"], few["value"]) == ("M", None, None)
    assert report.read_gaps(tmp_path).to_pylist() == [{"attribute": "sex"} | GAP]


def test_a_fold_without_a_class_is_null_in_json_and_not_a_number_in_the_table(tmp_path):
    lacking = REPORT | {
        "estimates": [],
        "folds": {"drift": [], "rows": [FOLD | {"auroc": math.nan}]},
    }
    report.write(tmp_path, lacking)
    report.write_tables(tmp_path, lacking)
    assert report.read(tmp_path)["folds"]["rows"][0]["auroc"] is None
    assert math.isnan(report.read_folds(tmp_path)["auroc"][0].as_py())


def test_one_of_version_1_is_refused_with_the_command_that_makes_it_anew(tmp_path):
    known = json.dumps({"schema": "medssl.report/1", "splits": {"digest": "0"}})
    (tmp_path / "report.json").write_text(known, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"older medssl: it has medssl\.report/1") as refused:
        report.read(tmp_path)
    assert "medssl evaluate RUN" in refused.value.fix
