"""From the files of an ingest to the patients of a report: nobody is lost on the way unseen."""

import importlib.util
import itertools
import json

import pytest

from medssl.artifacts import archive, report


@pytest.fixture(scope="module")
def record(pipeline):
    return report.read(pipeline.evaluate)


def test_every_step_is_the_one_before_less_what_it_left_out(pipeline, record):
    flow, info = record["cohort_flow"], archive.read_info(pipeline.archive)
    assert (flow["reason"], flow["problems"]) == ("", [])
    steps = flow["steps"]
    assert steps[0]["files"] == info.files_found
    for before, after in itertools.pairwise(steps):
        left = after["left_out"]
        unit = left["counted"] if left else "files"
        if before[unit] is not None and after[unit] is not None:
            assert before[unit] - (left["count"] if left else 0) == after[unit]
        if left:
            assert left["count"] == sum(row["count"] for row in left["codes"])
    named = {step["step"]: step for step in steps}
    assert named["written"]["images"] == info.images
    assert named["labelled"]["left_out"]  # the CT slices of the phantoms have no finding
    assert named["analysed"]["patients"] == record["cohort"]["patients"]
    assert named["analysed"]["images"] == record["cohort"]["images"]


def test_table_one_holds_everybody_who_is_judged(record):
    table = record["table_one"]
    for row in table["rows"]:
        assert sum(row["by_fold"]) == row["count"]
        assert sum(row["total_by_fold"]) == row["total"]
    (patients,) = [row for row in table["rows"] if row["variable"] == "patients"]
    assert patients["count"] == record["cohort"]["patients"]


def test_the_page_draws_the_flow_and_names_the_models(pipeline, record):
    page = (pipeline.evaluate / "report.html").read_text(encoding="utf-8")
    assert 'aria-label="Flow of the cohort"' in page
    models = record["provenance"]["models"]
    assert models["n_models"] == 3
    assert models["weights_sha256"] in page
    status = json.loads((pipeline.finetune / "status.json").read_text(encoding="utf-8"))
    assert (models["started"], models["finished"]) == (status["started"], status["updated"])


def test_a_pdf_that_cannot_be_made_is_refused_before_anything_is_computed(
    pipeline, run_main, tmp_path
):
    if importlib.util.find_spec("weasyprint"):
        pytest.skip("WeasyPrint is installed")
    code, out, err = run_main("evaluate", pipeline.finetune, "--pdf", "-o", tmp_path / "out")
    assert (code, out) == (5, "")
    assert "pip install 'medssl[pdf]'" in err
    assert not (tmp_path / "out").exists()


def test_a_pdf_stands_beside_the_page(pipeline, run_main, tmp_path):
    pytest.importorskip("weasyprint")
    words = ("--resamples", 100, "--pdf", "-o", tmp_path / "out")
    assert run_main("evaluate", pipeline.finetune, *words)[0] == 0
    assert (tmp_path / "out" / "report.pdf").read_bytes().startswith(b"%PDF-")
