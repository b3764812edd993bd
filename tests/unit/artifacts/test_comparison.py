"""A comparison keeps its numbers in JSON and its two tables as Parquet; both say the same."""

import json

import pytest

from medssl.artifacts import comparison, report
from medssl.foundation.errors import ArtifactError

DIFFERENCE = {
    "run": "progressive",
    "against": "full",
    "metric": "auroc",
    "column": "finding",
    "value": 0.03,
    "low": -0.01,
    "high": 0.08,
    "undefined": 0,
    "higher_is_better": True,
}
ESTIMATES = [{"run": name, "metric": "auroc", "value": 0.7} for name in ("full", "progressive")]
COMPARISON = {
    "differences": [DIFFERENCE | {"title": "AUROC"}],
    "estimates": ESTIMATES,
    "tests": [{"metric": "auroc", "p": 0.2}],
    "trainings": [],
    "label_efficiency": [],
    "ablation": [],
}


def test_what_is_written_is_read(tmp_path):
    comparison.write(tmp_path, COMPARISON)
    assert comparison.read(tmp_path) == COMPARISON


def test_the_tables_hold_the_rows_of_the_comparison(tmp_path):
    comparison.write_tables(tmp_path, COMPARISON)
    assert comparison.read_differences(tmp_path).to_pylist() == [DIFFERENCE]
    found = report.read_estimates(tmp_path)
    assert found["run"].to_pylist() == ["full", "progressive"]
    assert found["value"].to_pylist() == [0.7, 0.7]


def test_a_report_is_no_comparison(tmp_path):
    report.write(tmp_path, {"estimates": []})
    (tmp_path / "report.json").rename(tmp_path / "comparison.json")
    with pytest.raises(ArtifactError, match=r"expected medssl.comparison/3, found medssl.report/2"):
        comparison.read(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_one_of_an_older_version_is_refused_with_the_command_that_makes_it_anew(tmp_path, version):
    known = {"schema": f"medssl.comparison/{version}", "differences": [], "estimates": []}
    (tmp_path / "comparison.json").write_text(json.dumps(known), encoding="utf-8")
    with pytest.raises(
        ArtifactError, match=f"older medssl: it has medssl.comparison/{version}"
    ) as no:
        comparison.read(tmp_path)
    assert no.value.fix == comparison.REMAKE
    assert "medssl compare RUN RUN" in no.value.fix
