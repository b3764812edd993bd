"""What a run records of the making of its models; nothing is made up where it records nothing."""

import hashlib

import pytest

from medssl.artifacts import records, run_folder
from medssl.artifacts.origin import Origin
from medssl.evaluation import provenance


@pytest.fixture
def run(tmp_path):
    """A run of twelve folds, so that their order is not that of their names."""
    for k in range(12):
        folder = tmp_path / "folds" / str(k)
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(f"weights {k}".encode())
    status = {"stage": "finetune", "status": "finished", "started": "A", "updated": "B"}
    records.write(tmp_path / "status.json", run_folder.STATUS_SCHEMA, status)
    return tmp_path


def test_one_digest_stands_for_the_weights_of_all_folds_in_order(run):
    each = [hashlib.sha256(f"weights {k}".encode()).hexdigest() for k in range(12)]
    found = provenance.find(Origin(predictions_sha256="", run=run))
    assert found.weights_sha256 == hashlib.sha256("".join(each).encode()).hexdigest()
    assert (found.n_models, found.no_digest) == (12, "")
    assert (found.started, found.finished) == ("A", "B")
    (run / "folds" / "3" / "model.safetensors").write_bytes(b"other")
    again = provenance.find(Origin(predictions_sha256="", run=run))
    assert again.weights_sha256 != found.weights_sha256


def test_weights_that_are_too_many_or_gone_have_no_digest_and_a_reason(run, monkeypatch):
    source = Origin(predictions_sha256="", run=run)
    monkeypatch.setattr(provenance, "MOST_BYTES", 10)
    found = provenance.find(source)
    assert found.weights_sha256 is None
    assert "too much to read" in found.no_digest
    for path in run.glob("folds/*/model.safetensors"):
        path.unlink()
    found = provenance.find(source)
    assert (found.n_models, found.no_digest) == (None, "the weights are not in the run")


def test_the_machine_is_told_and_energy_only_where_it_was_read(run):
    environment = {"cores": 2, "device": "cpu", "libraries": {"numpy": "2"}, "inputs": {}}
    found = provenance.find(Origin(predictions_sha256="", run=run, environment=environment))
    assert found.hardware == {"cores": 2, "device": "cpu"}
    assert found.energy_joules is None
    read = environment | {"energy_joules": 1.5e6}
    found = provenance.find(Origin(predictions_sha256="", run=run, environment=read))
    assert found.energy_joules == 1.5e6


def test_a_table_of_another_tool_has_none():
    assert provenance.find(Origin(predictions_sha256="ab")) == provenance.Provenance()
