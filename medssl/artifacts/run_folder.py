"""A run: one folder with its settings, environment, status, metrics and log.

`config.yaml` repeats the run, `status.json` says whether it finished, and a later stage refuses
one that did not.
"""

import json
import os
import platform
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from medssl import __version__
from medssl.artifacts import records
from medssl.config.settings import Settings, relative_to, to_plain
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError, Interrupted, MedSSLError, UsageError

STATUS_SCHEMA = "medssl.status/1"
ENV_SCHEMA = "medssl.env/1"
_REMAKE = "restore the file, or run the stage again in another folder"
_ALIKE = {"finetune": ("finetune", "tune")}  # stages that leave the same files behind
LIBRARIES = (
    "lightning-fabric", "monai", "nibabel", "numpy", "pillow", "pyarrow", "pydantic", "pydicom",
    "safetensors", "scikit-learn", "scipy", "torch",
)  # fmt: skip


@dataclass(frozen=True)
class RunLog:
    """`metrics.jsonl`, `pace.jsonl` and `log.txt` of a folder (a `Record`)."""

    folder: Path

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line to `metrics.jsonl`."""
        self._append("metrics.jsonl", json.dumps({"step": step, **values}))

    def pace(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line to `pace.jsonl`."""
        self._append("pace.jsonl", json.dumps({"step": step, **values}))

    def history(self) -> list[dict[str, Any]]:
        """Return the lines of `metrics.jsonl` so far; one a kill has cut short is left out."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def note(self, text: str) -> None:
        """Append one dated line to `log.txt`."""
        self._append("log.txt", f"{_now()} {text}")

    def warn(self, text: str) -> None:
        """Append one dated line to `log.txt`, marked as a warning."""
        self._append("log.txt", f"{_now()} warning: {text}")

    def forget_after(self, step: int) -> None:
        """Drop the metrics a killed process wrote after its last checkpoint."""
        path = self.folder / "metrics.jsonl"
        if path.is_file():
            kept = [point for point in self.history() if point["step"] <= step]
            files.write_text(path, "".join(f"{json.dumps(point)}\n" for point in kept))

    def _append(self, name: str, line: str) -> None:
        path = self.folder / name
        with files.explained(path), path.open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")


@dataclass(frozen=True)
class RunFolder:
    """A run folder that is being written."""

    path: Path
    inputs: Mapping[str, str]  # what it reads -> digest
    cautions: list[str] = field(default_factory=list)  # what speaks against the result

    @property
    def log(self) -> RunLog:
        """Its metrics and its log."""
        return RunLog(self.path)

    def environment(self, **facts: object) -> None:
        """Write `env.json`: versions, device, and the inputs by digest."""
        record = {
            "medssl": __version__,
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "libraries": {name: metadata.version(name) for name in LIBRARIES},
            "inputs": dict(self.inputs),
            **facts,
        }
        records.write(self.path / "env.json", ENV_SCHEMA, record)


@contextmanager
def create(
    out: Path,
    *,
    stage: str,
    settings: Settings,
    inputs: Mapping[str, str] | None = None,
    resume: bool = False,
) -> Iterator[RunFolder]:
    """Make (or reopen) a run folder and keep its status true whatever happens inside the block.

    Args:
        out: The folder.
        stage: Which stage writes it.
        settings: With every `auto` replaced.
        inputs: Digest of everything the run reads; a resumed run must read the same.
        resume: Reopen an unfinished run.

    Raises:
        UsageError: The folder is in use, or is resumed with other settings.
        ArtifactError: There is nothing to resume, or an input has changed since.
    """
    folder = RunFolder(out, inputs or {})
    if out.is_dir():
        with files.explained(out):
            files.sweep(out)
    if resume:
        _check_resumable(folder, stage, settings)
    else:
        require_free(out)
    with files.explained(out):
        out.mkdir(parents=True, exist_ok=True)
    with _status(folder, stage):
        if not (out / "command.txt").is_file():
            plain = relative_to(out, to_plain(settings))
            files.write_text(out / "config.yaml", yaml.safe_dump(plain, sort_keys=False))
            again = f"medssl {stage} -c config.yaml -o NEW_FOLDER\n"
            files.write_text(out / "command.txt", f"# repeats this run, from this folder\n{again}")
        folder.log.note(f"medssl {__version__} {stage}{' resumed' if resume else ''}")
        yield folder


def require_free(out: Path) -> None:
    """Check that nothing is in the way of a new run.

    Raises:
        UsageError: The folder is in use.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            "the output folder is not empty",
            where=str(out),
            fix="choose another --out, or continue an unfinished run with --resume",
        )


def require_finished(run: Path, stage: str | None = None) -> None:
    """Check that ``run`` is a finished run of ``stage``.

    Raises:
        ArtifactError: There is no such run, it did not finish, or it belongs to another stage.
    """
    wanted = f"medssl {stage}" if stage else "a stage"
    if not (run / "status.json").is_file():
        raise ArtifactError("no run", where=str(run), fix=f"give a folder written by `{wanted}`")
    status = read_status(run)
    if stage and status["stage"] not in _ALIKE.get(stage, (stage,)):
        raise ArtifactError(
            f"not a {stage} run but one of {status['stage']}",
            where=str(run),
            fix=f"give a folder written by `{wanted}`",
        )
    if status["status"] != "finished":
        raise ArtifactError(
            f"the run is unfinished (status: {status['status']})",
            where=str(run),
            fix=f"finish it with `medssl {status['stage']} … -o {run} --resume`",
        )


def read_status(run: Path) -> dict[str, Any]:
    """Return `status.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read(run / "status.json", STATUS_SCHEMA)


def read_config(run: Path) -> dict[str, Any]:
    """Return `config.yaml` as plain values; its paths are relative to the run.

    Raises:
        ArtifactError: The file is missing or damaged.
    """
    path = run / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError("cannot be read", where=str(path), fix=_REMAKE) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArtifactError("not a YAML file", where=str(path), fix=_REMAKE) from error
    if not isinstance(values, dict):
        raise ArtifactError("holds no settings", where=str(path), fix=_REMAKE)
    return values


@contextmanager
def _status(folder: RunFolder, stage: str) -> Iterator[None]:
    started = _now()

    def say(status: str, error: str = "") -> None:
        record: dict[str, object] = {
            "stage": stage,
            "status": status,
            "started": started,
            "updated": _now(),
            "inputs": dict(folder.inputs),
        }
        record |= {"pid": os.getpid()} if status == "running" else {}
        record |= {"error": error} if error else {}
        record |= {"cautions": list(folder.cautions)} if folder.cautions else {}
        records.write(folder.path / "status.json", STATUS_SCHEMA, record)

    say("running")
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        say("interrupted")
        raise
    except MedSSLError as error:
        say("failed", f"{type(error).__name__}: {error.problem}")
        raise
    except BaseException as error:  # a bug or a signal: keep the place, never the values
        place = traceback.extract_tb(error.__traceback__)[-1]
        say("failed", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}")
        raise
    say("finished")


def _check_resumable(folder: RunFolder, stage: str, settings: Settings) -> None:
    out = folder.path
    if not (out / "status.json").is_file():
        raise ArtifactError("nothing to resume", where=str(out), fix="start it without --resume")
    status = read_status(out)
    if status["stage"] != stage:
        raise UsageError(
            f"this is a {status['stage']} run, not {stage}",
            where=str(out),
            fix=f"continue it with `medssl {status['stage']} … --resume`, or choose another --out",
        )
    if status["status"] == "finished":
        raise UsageError(
            "the run is finished", where=str(out), fix="start a new one in another folder"
        )
    changed = [k for k, digest in folder.inputs.items() if status["inputs"].get(k) != digest]
    if changed:
        raise ArtifactError(
            f"the run was started on another {' and '.join(changed)}",
            where=str(out),
            fix="start a new run in another folder",
        )
    if not (out / "command.txt").is_file():  # killed before the settings were written
        return
    before = read_config(out)
    now = relative_to(out, to_plain(settings))
    differing = [key for key in now if now[key] != before.get(key)]
    if differing:
        raise UsageError(
            f"the run was started with other values of {', '.join(differing)}",
            where=str(out / "config.yaml"),
            fix=f"resume with `medssl {stage} -c {out / 'config.yaml'} -o {out} --resume`",
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
