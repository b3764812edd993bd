"""Repeat, resume, kill: the same bytes every time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from medssl.artifacts import predictions, records, run_folder

from .conftest import FINETUNE, PRETRAIN


def weights_of(folder):
    return (folder / "export" / "encoder.safetensors").read_bytes()


def test_a_run_repeats_from_its_config(pipeline, run_main, tmp_path):
    words = ("pretrain", "-c", pipeline.pretrain / "config.yaml", "--device", "cpu")
    assert run_main(*words, "-o", tmp_path / "again")[0] == 0
    assert weights_of(tmp_path / "again") == weights_of(pipeline.pretrain)


def test_a_finetune_run_repeats_from_its_config(pipeline, run_main, tmp_path):
    words = ("finetune", "-c", pipeline.scratch / "config.yaml", "--device", "cpu")
    assert run_main(*words, "-o", tmp_path / "again")[0] == 0
    first, second = (
        predictions.read(folder / "predictions.parquet")
        for folder in (pipeline.scratch, tmp_path / "again")
    )
    assert first.equals(second)


def test_another_seed_gives_other_weights_and_other_folds(pipeline, run_main, tmp_path):
    words = ("pretrain", "-c", pipeline.pretrain / "config.yaml", "--device", "cpu", "--seed", 1)
    assert run_main(*words, "-o", tmp_path / "other")[0] == 0
    assert weights_of(tmp_path / "other") != weights_of(pipeline.pretrain)


def pretrain(pipeline, out, *more):
    words = ("pretrain", pipeline.archive, "--selection", pipeline.reduce, *PRETRAIN, "-o", out)
    return (*words, *more)


def test_interrupted_between_epochs_and_resumed_equals_uninterrupted(
    pipeline, run_main, tmp_path, monkeypatch
):
    from medssl.training import checkpoint

    real = checkpoint.save

    def save_then_stop(folder, state):
        real(folder, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_then_stop)
    code, _, err = run_main(*pretrain(pipeline, tmp_path / "run"))
    assert code == 130
    assert "stopped by Ctrl-C" in err
    assert "--resume" in err
    assert run_folder.read_status(tmp_path / "run")["status"] == "interrupted"
    monkeypatch.undo()
    code, _, err = run_main(*pretrain(pipeline, tmp_path / "run", "--resume"))
    assert code == 0
    assert "continuing after step" in err
    assert weights_of(tmp_path / "run") == weights_of(pipeline.pretrain)
    assert metrics(tmp_path / "run") == metrics(pipeline.pretrain)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_resuming_with_other_settings_is_refused(pipeline, run_main, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(pipeline.pretrain, run)
    status = run_folder.read_status(run)
    records.write(run / "status.json", run_folder.STATUS_SCHEMA, {**status, "status": "running"})
    words = ("pretrain", "-c", pipeline.pretrain / "config.yaml", "--epochs", 3, "--device", "cpu")
    code, _, err = run_main(*words, "--resume", "-o", run)
    assert code == 2
    assert "the run was started with other values of" in err
    assert "epochs" in err.partition("fix:")[0]


def test_a_finished_run_is_never_resumed(pipeline, run_main):
    code, _, err = run_main(*pretrain(pipeline, pipeline.pretrain, "--resume"))
    assert code == 2
    assert "the run is finished" in err
    assert run_folder.read_status(pipeline.pretrain)["status"] == "finished"


@pytest.mark.parametrize("stage", ["reduce", "pretrain", "scratch"])
def test_resuming_on_a_changed_archive_is_refused(pipeline, run_main, tmp_path, stage):
    run = tmp_path / "run"
    shutil.copytree(pipeline.root / stage, run)
    status = run_folder.read_status(run)
    changed = {**status, "status": "running", "inputs": {**status["inputs"], "archive": "other"}}
    records.write(run / "status.json", run_folder.STATUS_SCHEMA, changed)
    before = sorted((f, f.read_bytes()) for f in run.rglob("*.json"))
    words = (status["stage"], "-c", pipeline.root / stage / "config.yaml", "--resume", "-o", run)
    code, _, err = run_main(*words)
    assert code == 4
    assert "the run was started on another archive" in err
    assert sorted((f, f.read_bytes()) for f in run.rglob("*.json")) == before


def test_a_run_killed_before_it_wrote_its_settings_can_be_resumed(pipeline, run_main, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    status = {**run_folder.read_status(pipeline.pretrain), "status": "running"}
    records.write(run / "status.json", run_folder.STATUS_SCHEMA, status)
    (run / "config.yaml").write_text("epo")
    assert run_main(*pretrain(pipeline, run, "--resume"))[0] == 0
    assert weights_of(run) == weights_of(pipeline.pretrain)


def test_nothing_to_resume_is_said(pipeline, run_main, tmp_path):
    code, _, err = run_main(*pretrain(pipeline, tmp_path / "new", "--resume"))
    assert code == 4
    assert "nothing to resume" in err


def test_a_finetune_run_resumes_at_the_fold_it_was_in(pipeline, run_main, tmp_path, monkeypatch):
    from medssl.training import cross_validate

    real, done = cross_validate.run_fold, []

    def second_fold_fails(runtime, recipe, fold, reporter):
        if fold.fold == 1:
            (fold.folder).mkdir(parents=True)
            (fold.folder / "model.safetensors").write_bytes(b"half")
            raise KeyboardInterrupt
        done.append(fold.fold)
        real(runtime, recipe, fold, reporter)

    words = ("finetune", pipeline.archive, "--init-from", "none", *FINETUNE, "-o", tmp_path / "run")
    monkeypatch.setattr(cross_validate, "run_fold", second_fold_fails)
    assert run_main(*words)[0] == 130
    monkeypatch.undo()
    assert run_main(*words, "--resume")[0] == 0
    assert done == [0]
    first, second = (
        predictions.read(folder / "predictions.parquet")
        for folder in (pipeline.scratch, tmp_path / "run")
    )
    assert first.equals(second)


def test_a_finetune_run_killed_after_its_last_fold_still_gets_its_figure(
    pipeline, run_main, tmp_path, monkeypatch
):
    from medssl.training import cross_validate

    real = cross_validate.run_fold

    def stop_after_the_last(runtime, recipe, fold, reporter):
        real(runtime, recipe, fold, reporter)
        if fold.fold == 2:
            raise KeyboardInterrupt

    words = ("finetune", pipeline.archive, "--init-from", "none", *FINETUNE, "-o", tmp_path / "run")
    monkeypatch.setattr(cross_validate, "run_fold", stop_after_the_last)
    assert run_main(*words)[0] == 130
    monkeypatch.undo()
    assert run_main(*words, "--resume")[0] == 0
    for name in ("progress.png", "schedule.png", "predictions.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (pipeline.scratch / name).read_bytes()


@pytest.mark.slow
def test_killed_with_signal_9_and_resumed_equals_uninterrupted(pipeline, tmp_path):
    """A real process, killed at random moments until it gets through."""
    config = ("--epochs", "12", "--image-size", "32", "--batch-size", "16", "--device", "cpu")
    words = ("pretrain", pipeline.archive, "--selection", pipeline.reduce, *config)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(out, *more):
        argv = [sys.executable, "-m", "medssl", *map(str, words), "-o", str(out), *more]
        with (tmp_path / "said.txt").open("ab") as said:
            return subprocess.Popen(argv, env=environment, stdout=said, stderr=said)

    def said():
        return (tmp_path / "said.txt").read_text()

    whole = start(tmp_path / "whole")
    assert whole.wait() == 0, said()
    killed = tmp_path / "killed"
    process, kills = start(killed), 0
    for after in (1, 5, 9):  # lines of metrics: three different epochs
        while process.poll() is None and lines(killed) < after:
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert run_folder.read_status(killed)["status"] == "running"
            process = start(killed, "--resume")
    assert process.wait() == 0, said()
    assert kills >= 2
    assert weights_of(killed) == weights_of(tmp_path / "whole")
    assert metrics(killed) == metrics(tmp_path / "whole")


def lines(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0
