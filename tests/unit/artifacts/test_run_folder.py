"""A run folder says truthfully how far it came, repeats itself, and resumes only what it was."""

import json
from pathlib import Path

import pytest
import yaml

from medssl import __version__
from medssl.artifacts import records, run_folder
from medssl.config.settings import Settings
from medssl.foundation import files
from medssl.foundation.errors import (
    ArtifactError,
    Interrupted,
    ResourceError,
    TrainingError,
    UsageError,
)


class Example(Settings):
    archive: Path = Path("arc")
    epochs: int = 3
    lr: float = 1e-5


def start(out: Path, *, resume: bool = False, error: BaseException | None = None, **changed):
    settings = Example(**changed)
    with run_folder.create(out, stage="pretrain", settings=settings, resume=resume) as folder:
        assert run_folder.read_status(out)["status"] == "running"
        if error:
            raise error
    return folder


def test_a_new_run_leaves_exactly_these_files(tmp_path):
    folder = start(tmp_path / "runs" / "a")
    folder.environment(device="cpu")
    folder.log.metrics(1, {"loss": 0.5})
    folder.log.note("a note")
    assert sorted(entry.name for entry in folder.path.iterdir()) == [
        "command.txt",
        "config.yaml",
        "env.json",
        "log.txt",
        "metrics.jsonl",
        "status.json",
    ]


def test_what_a_killed_start_left_is_swept_and_nothing_else(tmp_path):
    """Killed while the first file was being written: there is no status yet, and no run."""
    out = tmp_path / "run"
    out.mkdir()
    (out / f"{files.TEMP_PREFIX}status.json").write_text("{")
    start(out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="not empty"):
        start(other)
    assert (other / "mine.txt").read_text() == "kept"


def test_config_holds_every_setting_with_paths_relative_to_the_run(tmp_path):
    start(tmp_path / "runs" / "a", archive=tmp_path / "arc")
    config = yaml.safe_load((tmp_path / "runs" / "a" / "config.yaml").read_text())
    assert config == {"archive": "../../arc", "epochs": 3, "lr": 1e-5}
    assert "medssl pretrain -c config.yaml" in (tmp_path / "runs/a/command.txt").read_text()


def test_config_is_read_back(tmp_path):
    start(tmp_path / "a", archive=tmp_path / "arc")
    config = run_folder.read_config(tmp_path / "a")
    assert config == {"archive": "../arc", "epochs": 3, "lr": 1e-5}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        (b"epochs: [3", "not a YAML file"),
        (b"\xff\xfe\x00", "not a YAML file"),
        (b"", "holds no settings"),
        (b"- 3\n", "holds no settings"),
    ],
)
def test_a_damaged_config_is_named(tmp_path, content, problem):
    with pytest.raises(Interrupted, match="stop"):
        start(tmp_path / "a", error=Interrupted("stop"))
    path = tmp_path / "a" / "config.yaml"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=problem) as caught:
        run_folder.read_config(tmp_path / "a")
    assert caught.value.where == str(path)
    assert caught.value.fix
    with pytest.raises(ArtifactError, match=problem):
        start(tmp_path / "a", resume=True)


def test_environment_names_versions_and_facts(tmp_path):
    folder = start(tmp_path / "a")
    folder.environment(device="cpu", inputs={"archive": "ab"})
    env = records.read(tmp_path / "a" / "env.json", run_folder.ENV_SCHEMA)
    assert env["device"] == "cpu"
    assert env["inputs"] == {"archive": "ab"}
    assert {"torch", "monai", "numpy"} <= set(env["libraries"])
    assert all(version[0].isdigit() for version in env["libraries"].values())


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, "finished", None),
        (Interrupted("stop asked for"), "interrupted", None),
        (KeyboardInterrupt("stop asked for"), "interrupted", None),
        (TrainingError("loss became nan"), "failed", "TrainingError: loss became nan"),
    ],
)
def test_status_says_how_it_ended(tmp_path, error, status, said):
    if error is None:
        start(tmp_path / "a")
    else:
        with pytest.raises(type(error), match=r"stop asked for|loss became nan"):
            start(tmp_path / "a", error=error)
    found = run_folder.read_status(tmp_path / "a")
    assert found["status"] == status
    assert found["stage"] == "pretrain"
    assert found["started"] <= found["updated"]
    assert found.get("error") == said
    assert "pid" not in found


def test_a_bug_is_told_by_its_place_and_never_by_its_values(tmp_path):
    with pytest.raises(ValueError, match="Phantom"):
        start(tmp_path / "a", error=ValueError("could not parse 'Phantom^PX0001'"))
    said = run_folder.read_status(tmp_path / "a")["error"]
    assert said.startswith("ValueError at test_run_folder.py:")
    assert "Phantom" not in (tmp_path / "a" / "status.json").read_text()


def test_a_folder_in_use_is_refused_and_untouched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="the output folder is not empty") as caught:
        start(tmp_path)
    assert "--resume" in caught.value.fix
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UsageError, match="the output folder is not empty"):
        start(tmp_path / "notes.txt")


def test_an_empty_folder_may_be_used(tmp_path):
    assert start(tmp_path).path == tmp_path


def test_resume_continues_with_the_same_settings(tmp_path):
    with pytest.raises(Interrupted, match="stop"):
        start(tmp_path / "a", error=Interrupted("stop"))
    before = (tmp_path / "a" / "config.yaml").read_bytes()
    (tmp_path / "a" / ".partial-x.json").write_text("torn by a kill")
    start(tmp_path / "a", resume=True)
    assert (tmp_path / "a" / "log.txt").read_text().endswith(" pretrain resumed\n")
    assert run_folder.read_status(tmp_path / "a")["status"] == "finished"
    assert (tmp_path / "a" / "config.yaml").read_bytes() == before
    assert not (tmp_path / "a" / ".partial-x.json").exists()


def test_a_finished_run_is_never_continued(tmp_path):
    start(tmp_path / "a")
    with pytest.raises(UsageError, match="the run is finished"):
        start(tmp_path / "a", resume=True)


def test_resume_with_other_settings_is_refused_by_name(tmp_path):
    with pytest.raises(Interrupted, match="stop"):
        start(tmp_path / "a", error=Interrupted("stop"))
    with pytest.raises(UsageError, match="other values of epochs, lr") as caught:
        start(tmp_path / "a", resume=True, epochs=4, lr=1.0)
    assert caught.value.where.endswith("config.yaml")
    assert "--resume" in caught.value.fix
    assert run_folder.read_status(tmp_path / "a")["status"] == "interrupted"


def test_there_must_be_something_of_the_same_stage_to_resume(tmp_path):
    with pytest.raises(ArtifactError, match="nothing to resume"):
        start(tmp_path / "a", resume=True)
    start(tmp_path / "a")
    resumed = run_folder.create(tmp_path / "a", stage="reduce", settings=Example(), resume=True)
    with pytest.raises(UsageError, match="this is a pretrain run, not reduce"), resumed:
        pass


def test_a_later_stage_takes_finished_runs_of_the_right_stage_only(tmp_path):
    with pytest.raises(ArtifactError, match="no run") as caught:
        run_folder.require_finished(tmp_path / "a", "pretrain")
    assert caught.value.fix == "give a folder written by `medssl pretrain`"
    with pytest.raises(TrainingError, match="diverged"):
        start(tmp_path / "a", error=TrainingError("diverged"))
    with pytest.raises(ArtifactError, match=r"unfinished \(status: failed\)") as caught:
        run_folder.require_finished(tmp_path / "a", "pretrain")
    assert "--resume" in caught.value.fix

    start(tmp_path / "b")
    run_folder.require_finished(tmp_path / "b", "pretrain")
    run_folder.require_finished(tmp_path / "b")
    with pytest.raises(ArtifactError, match="not a finetune run but one of pretrain"):
        run_folder.require_finished(tmp_path / "b", "finetune")


def test_a_killed_run_still_says_running_and_is_refused(tmp_path):
    creating = run_folder.create(tmp_path / "a", stage="pretrain", settings=Example())
    creating.__enter__()  # and then the process dies
    status = run_folder.read_status(tmp_path / "a")
    assert (status["status"], type(status["pid"])) == ("running", int)
    with pytest.raises(ArtifactError, match=r"unfinished \(status: running\)"):
        run_folder.require_finished(tmp_path / "a")


def test_metrics_after_the_last_checkpoint_are_forgotten(tmp_path):
    log = start(tmp_path / "a").log
    log.forget_after(5)  # nothing there yet
    for step in (1, 2, 3):
        log.metrics(step, {"loss": 1 / step})
    path = tmp_path / "a" / "metrics.jsonl"
    with path.open("a") as stream:
        stream.write('{"step": 4, "lo')  # torn by a kill
    log.forget_after(2)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    log.metrics(3, {"loss": 0.25})
    assert len(path.read_text().splitlines()) == 3


def test_the_log_is_dated_and_marks_warnings(tmp_path):
    log = start(tmp_path / "a").log
    log.note("read 3 images")
    log.warn("no patient key")
    first, second, third = (tmp_path / "a" / "log.txt").read_text().splitlines()
    assert first.endswith(f"+00:00 medssl {__version__} pretrain")
    assert second.endswith("+00:00 read 3 images")
    assert third.endswith("+00:00 warning: no patient key")


def test_a_full_disk_is_a_resource_error(tmp_path, monkeypatch):
    log = start(tmp_path / "a").log

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        log.metrics(1, {"loss": 1.0})


def test_cautions_are_kept_with_the_status(tmp_path):
    with run_folder.create(tmp_path / "a", stage="pretrain", settings=Example()) as folder:
        folder.cautions.append("worse than before")
    assert run_folder.read_status(tmp_path / "a")["cautions"] == ["worse than before"]
    start(tmp_path / "b")
    assert "cautions" not in run_folder.read_status(tmp_path / "b")
