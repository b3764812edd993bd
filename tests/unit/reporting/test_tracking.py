"""Trackers get the numbers and nothing else, and may fail without the run noticing."""

import socket
import sqlite3
import sys
import time
from importlib.util import find_spec

import pytest

from medssl.foundation.errors import MissingExtra, UsageError
from medssl.reporting import tracking

COURSE = {0: {"total": 2.5, "lr": 0.1}, 50: {"total": 1.25, "lr": 0.05}, 100: {"total": 0.5}}


def report(records, course=COURSE):
    for record in records:
        for step, values in course.items():
            record.metrics(step, values)
        record.pace(100, {"images_per_s": 64.0})
        record.note("reading /archive/of/jane")
        record.warn("no folder /archive/of/jane")


def failed(text):
    raise AssertionError(text)


def all_bytes(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def secrets(monkeypatch):
    """What no tracker may be told: text of notes, the user, the machine, the command line."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "canary-user")
    monkeypatch.setattr(socket, "gethostname", lambda: "canary-host")
    monkeypatch.setattr(sys, "argv", ["medssl", "canary-command"])
    return (b"jane", b"canary")


def says_nothing_else(folder, secrets):
    content = all_bytes(folder) + "".join(p.name for p in folder.rglob("*")).encode()
    assert not [secret for secret in (*secrets, bytes(folder)) if secret in content]


def test_an_unknown_tracker_is_refused():
    with pytest.raises(UsageError, match="no tracker called 'tensorbord'"):
        tracking.require(["tensorbord"])


@pytest.mark.parametrize("name", tracking.NAMES)
def test_a_missing_package_is_named_with_its_extra(name, monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="is not installed") as caught:
        tracking.require([name])
    assert caught.value.fix == f"pip install 'medssl[{name}]'"
    with pytest.raises(MissingExtra), tracking.open_trackers([name], tmp_path, "run", failed):
        pass


def test_no_trackers_are_no_records(tmp_path):
    with tracking.open_trackers([], tmp_path, "run", failed) as records:
        assert records == []
    assert list(tmp_path.iterdir()) == []


class Breaking:
    """A sink that fails at its second line."""

    def __init__(self):
        self.lines = 0

    def log(self, step, values):
        del step, values
        self.lines += 1
        if self.lines == 2:
            raise ConnectionError("https://tracker.example/jane")

    def close(self, *, finished):
        del finished
        raise AssertionError("it was left behind")


def test_a_tracker_that_fails_is_left_behind_with_one_warning(tmp_path):
    warnings, sink = [], Breaking()
    tracker = tracking.Guarded("mlflow", warnings.append)
    tracker.open(lambda *_: sink, tmp_path, "run")
    report([tracker])
    tracker.close(finished=True)
    assert sink.lines == 2
    (warning,) = warnings
    assert warning.startswith("mlflow failed (ConnectionError); the run goes on without it")


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs medssl[tensorboard]")
def test_one_that_cannot_be_opened_is_left_behind(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    warnings = []
    with tracking.open_trackers(["tensorboard"], tmp_path, "run", warnings.append) as records:
        report(records)
    assert [line.partition(";")[0] for line in warnings] == ["tensorboard failed (FileExistsError)"]


def scalars(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: {point.step: point.value for point in events.Scalars(tag)} for tag in tags}


def test_tensorboard_reads_what_was_written(tmp_path, secrets):
    pytest.importorskip("tensorboard")
    with tracking.open_trackers(["tensorboard"], tmp_path, "run", failed) as records:
        report(records)
        assert scalars(tmp_path / "tensorboard")["lr"] == pytest.approx({0: 0.1, 50: 0.05})
    assert scalars(tmp_path / "tensorboard") == {
        "total": {0: 2.5, 50: 1.25, 100: 0.5},
        "lr": pytest.approx({0: 0.1, 50: 0.05}),
        "images_per_s": {100: 64.0},
    }
    says_nothing_else(tmp_path, secrets)


def test_a_resumed_run_replaces_what_was_after_its_checkpoint(tmp_path):
    pytest.importorskip("tensorboard")
    for course in (COURSE, {100: {"total": 0.75}, 150: {"total": 0.25}}):
        with tracking.open_trackers(["tensorboard"], tmp_path, "run", failed) as records:
            for step, values in course.items():
                records[0].metrics(step, values)
    expected = {0: 2.5, 50: 1.25, 100: 0.75, 150: 0.25}
    assert scalars(tmp_path / "tensorboard")["total"] == expected


@pytest.mark.filterwarnings("default")  # its own, about SQLAlchemy
@pytest.mark.parametrize("finished", [True, False])
def test_mlflow_keeps_the_values_beside_the_run(tmp_path, monkeypatch, secrets, finished):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    try:
        with tracking.open_trackers(["mlflow"], tmp_path, "seven", failed) as records:
            report(records)
            assert finished or 1 / 0
    except ZeroDivisionError:
        pass
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        rows = database.execute("select key, step, value from metrics").fetchall()
        runs = database.execute("select name, status, source_name from runs").fetchall()
    assert {(key, step): value for key, step, value in rows if key == "total"} == {
        ("total", 0): 2.5, ("total", 50): 1.25, ("total", 100): 0.5,
    }  # fmt: skip
    assert runs == [("seven", "FINISHED" if finished else "FAILED", "")]
    assert not [secret for secret in secrets if secret in all_bytes(tmp_path)]


def test_wandb_writes_offline(tmp_path, monkeypatch, secrets):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with tracking.open_trackers(["wandb"], tmp_path, "seven", failed) as records:
        report(records)
    (written,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    for _ in range(100):  # another process writes it, and is not waited for
        content = written.read_bytes()
        if b"images_per_s" in content:
            break
        time.sleep(0.1)
    assert all(name in content for name in (b"total", b"images_per_s", b"seven"))
    assert not [secret for secret in (*secrets, bytes(tmp_path)) if secret in content]
