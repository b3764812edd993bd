import json

import pytest

from medssl.artifacts import comparison as artifact
from medssl.artifacts.origin import Origin
from medssl.artifacts.site_models import FinetuneInfo
from medssl.config.task import Task
from medssl.reporting import side_by_side


def origin_of(settings=None, environment=None, init=None, **changes):
    facts = {
        "archive_hash": "ab" * 32,
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
        "init": init or {},
        "n_images": 60,
        "n_patients": 60,
        "group": "patient",
        "synthetic": False,
    }
    return Origin(
        predictions_sha256="cd" * 32,
        settings=settings or {},
        environment=environment or {},
        models=FinetuneInfo(**(facts | changes)),
    )


def test_the_record_and_its_tables_survive_writing_and_reading(comparison_of, tmp_path):
    record = comparison_of(every=True)
    artifact.write(tmp_path, record)
    artifact.write_tables(tmp_path, record)
    assert artifact.read(tmp_path) == json.loads(json.dumps(record))
    found = artifact.read_differences(tmp_path).to_pylist()
    assert [row["value"] for row in found] == [row["value"] for row in record["differences"]]
    assert {row["run"] for row in record["estimates"]} == {"plain", "slow & <sure>"}


def test_only_what_differs_is_listed():
    one = origin_of({"epochs": 20, "seed": 0, "optim": {"lr": 0.1}, "batch_size": 4})
    other = origin_of({"epochs": 30, "seed": 0, "optim": {"lr": 0.2}}, schedule="progressive")
    found = {row["setting"]: row["values"] for row in side_by_side.differing([one, other])}
    assert found == {
        "epochs": ["20", "30"],
        "optim.lr": ["0.1", "0.2"],
        "batch_size": ["4", ""],
    }


def test_no_path_is_named_and_a_digest_is_short():
    one = origin_of(
        {"archive": "../a", "init_from": "../DOE"},
        init={"weights_sha256": "ef" * 32, "key_id": "0"},
    )
    other = origin_of({"archive": "../b", "init_from": "none"}, archive_hash="12" * 32)
    found = {row["setting"]: row["values"] for row in side_by_side.differing([one, other])}
    assert found == {
        "archive": ["abababababab", "121212121212"],
        "weights.method": ["unknown, a weight file without a record", "random"],
        "weights.weights_sha256": ["efefefefefef", ""],
    }


def test_versions_and_devices_are_settings_too():
    one = origin_of(environment={"medssl": "1", "libraries": {"torch": "2"}, "device": "cpu"})
    other = origin_of(environment={"medssl": "1", "libraries": {"torch": "3"}, "device": "cuda"})
    found = {row["setting"]: row["values"] for row in side_by_side.differing([one, other])}
    assert found == {"version of torch": ["2", "3"], "device": ["cpu", "cuda"]}


def test_equal_runs_differ_in_nothing():
    assert side_by_side.differing([origin_of({"epochs": 3}), origin_of({"epochs": 3})]) == []


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (origin_of(), ("full", "random")),
        (origin_of(init={"method": "vicreg"}, schedule="lp_ft"), ("lp_ft", "vicreg")),
        (Origin(predictions_sha256=""), ("unknown", "pretrained weights")),
        (
            Origin(predictions_sha256="", settings={"schedule": "full", "init_from": "none"}),
            ("full", "random"),
        ),
    ],
)
def test_how_a_run_was_made(origin, expected):
    assert (side_by_side.schedule(origin), side_by_side.init(origin)) == expected
