"""What a run says about its predictions, and what a foreign table does."""

import pytest

from medssl.artifacts import foreign_predictions, origin, run_folder, splits
from medssl.config.finetune import FinetuneSettings
from medssl.config.task import Task
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError
from medssl.ingestion.identity import SiteKey

PLAN = splits.Splits(
    task=Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1"),
    seed=0,
    group="patient",
    by="folds",
    n_folds=2,
    test_fold=({"a": 0, "b": 1},),
)


def make_run(folder):
    settings = FinetuneSettings(archive=folder / "archive", init_from="none", epochs=3)
    with run_folder.create(folder, stage="finetune", settings=settings) as run:
        run.environment(device="cpu")
        (folder / origin.PREDICTIONS).write_bytes(b"rows")
        splits.write(folder / "splits.json", PLAN)


def test_a_run_tells_its_folds_settings_and_environment(tmp_path):
    make_run(tmp_path / "run")
    found = origin.of_run(tmp_path / "run")
    assert found.predictions_sha256 == files.sha256_text("rows")
    assert found.splits.digest == PLAN.digest
    assert (found.settings["epochs"], found.environment["device"]) == (3, "cpu")
    assert found.models is None  # no finetune.json was written


def test_a_table_tells_its_digest_only(tmp_path):
    text = "patient_id,label,score\na,1,0.5\nb,0,0.1\n"
    (tmp_path / "other.csv").write_text(text)
    foreign = foreign_predictions.read(tmp_path / "other.csv", lambda: SiteKey(bytes(32)))
    found = origin.of_table(tmp_path / "other.csv", foreign)
    assert found == origin.Origin(predictions_sha256=files.sha256_text(text), foreign=foreign)
    assert found.grouped


def test_no_run_is_said_to_be_none(tmp_path):
    with pytest.raises(ArtifactError, match="no run"):
        origin.of_run(tmp_path)


@pytest.mark.parametrize("name", [origin.PREDICTIONS, "splits.json", "env.json", "config.yaml"])
def test_a_run_that_lost_a_file_is_refused(tmp_path, name):
    make_run(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(ArtifactError) as caught:
        origin.of_run(tmp_path / "run")
    assert caught.value.where.endswith(name)
