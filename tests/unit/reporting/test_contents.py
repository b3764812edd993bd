import json
from dataclasses import asdict

import numpy as np
import pytest

from medssl.artifacts import report as reports
from medssl.artifacts.origin import Origin
from medssl.artifacts.site_models import FinetuneInfo
from medssl.config.task import Task
from medssl.evaluation.provenance import Provenance
from medssl.reporting import page

INFO = {
    "archive_hash": "ff00",
    "task": Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1"),
    "encoder": "resnet18",
    "encoder_options": {},
    "in_channels": 1,
    "spatial_dims": 2,
    "shape": (64, 64),
    "pooling": "none",
    "slices": 0,
    "intensity": {},
    "dropout": 0.1,
    "schedule": "full",
    "init": {},
    "n_images": 60,
    "n_patients": 60,
    "group": "patient",
    "synthetic": False,
    "notes": ("positive class: 1",),
}


def test_the_record_survives_writing_and_reading(report, tmp_path):
    reports.write(tmp_path, report)
    assert reports.read(tmp_path) == report


def test_tables_repeat_the_record(report, tmp_path):
    reports.write_tables(tmp_path, report)
    estimates = reports.read_estimates(tmp_path).to_pylist()
    assert [row["value"] for row in estimates] == [row["value"] for row in report["estimates"]]
    folds = reports.read_folds(tmp_path).to_pylist()
    assert folds == report["folds"]["rows"]
    assert {row["fold"] for row in folds} == {0, 1, 2}


def test_it_counts_the_cohort(report):
    assert report["cohort"]["patients"] == report["cohort"]["images"] == 60
    (event,) = report["cohort"]["events"]
    assert (event["column"], event["units"], event["patients"]) == ("finding", 30, 30)
    assert (event["labelled_units"], event["labelled_patients"]) == (60, 60)
    assert report["cohort"]["sites"] == ["north", "south"]
    assert report["unit"]["aggregate"] is None  # one image per patient: nothing to combine
    assert report["splits"]["repeats"] == 1


def test_no_patient_and_no_path_is_named(report):
    text = json.dumps(report)
    assert "secret" not in text
    assert "somewhere" not in text
    assert "../weights" not in text
    assert report["provenance"]["training"] == {
        "optim.lr": 0.001,
        "init_from": "pretrained weights",
    }


def test_a_foreign_table_has_its_digest_only(foreign_report):
    assert foreign_report["source"] == "table of predictions"
    assert foreign_report["splits"] is None
    assert foreign_report["provenance"] == {
        "predictions_sha256": "cd" * 32,
        "training": {},
        "inputs": {},
        "versions": {},
        "notes": [],
        "models": asdict(Provenance()),
    }


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ({}, {"weights.method": "random"}),
        (
            {"method": "vicreg", "seeds": [1, 2], "digests": list("abcdef"), "key": None},
            {"weights.method": "vicreg", "weights.seeds": "1, 2"},
        ),
        (
            {"file": "Jane_Doe.safetensors", "weights_sha256": "ee", "overlap_patients": None},
            {
                "weights.method": "unknown, a weight file without a record",
                "weights.weights_sha256": "ee",
            },
        ),
    ],
)
def test_inputs_say_where_the_weights_came_from(
    compose, findings_of, splits, settings, init, expected
):
    models = FinetuneInfo(**{**INFO, "init": init})
    origin = Origin(predictions_sha256="ab", splits=splits, models=models)
    provenance = compose(findings_of(), origin, settings)["provenance"]
    shared = {"archive": "ff00", "images": 60, "patients": 60}
    assert provenance["inputs"] == shared | expected
    assert provenance["notes"] == ["positive class: 1"]


def test_trainings_from_several_seeds_are_told_from_new_divisions(
    compose, findings_of, splits, settings
):
    origin = Origin(predictions_sha256="ab", splits=splits, settings={"seeds": 2})
    record = compose(findings_of(), origin, settings)
    assert record["splits"]["seeds"] == 2
    assert "each trained from 2 seeds" in page.render(json.loads(json.dumps(record)))


def test_the_threshold_says_who_chose_it(compose, report, findings_of, splits, settings):
    assert report["threshold"] == {"value": 0.5, "chosen": "default"}
    origin = Origin(predictions_sha256="ab", splits=splits)
    for threshold, expected in ((0.3, {"value": 0.3, "chosen": "given"}), ("none", None)):
        other = settings.model_copy(update={"threshold": threshold})
        assert compose(findings_of(), origin, other)["threshold"] == expected


def test_an_operating_point_adds_up(report):
    (point,) = report["operating_points"]
    counts = [value for key, value in point.items() if key.endswith(("positives", "negatives"))]
    assert sum(counts) == report["cohort"]["units"]
    assert [row["metric"] for row in point["predictive"]] == ["ppv", "npv"]
    values = {row["metric"]: row["value"] for row in report["estimates"]}
    assert values["sensitivity"] == point["true_positives"] / 30


def test_curves_are_plain_lists(report):
    (roc,) = report["curves"]["roc"]
    assert roc["false_positive_rate"][0] == 0
    assert len(roc["grid"]) == len(roc["low"]) == len(roc["high"])
    area = np.trapezoid(roc["sensitivity"], roc["false_positive_rate"])
    (risks,) = report["curves"]["risks"]
    assert sum(risks["positives"]) == sum(risks["negatives"]) == 30
    assert area == pytest.approx(report["estimates"][0]["value"], abs=1e-4)
