"""Trackers of experiments: TensorBoard, MLflow and Weights & Biases as `Record`s.

They get names of measured values, numbers and the name of the run; no settings, no paths and, as
far as they can be kept from it, nothing about the machine. `metrics.jsonl` has the same values with
or without them, so a tracker that fails is left behind.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from medssl.foundation.errors import MissingExtra, UsageError
from medssl.foundation.reporting import Record

NAMES = ("tensorboard", "mlflow", "wandb")  # of the extras and of the packages to import
PROJECT = "medssl"


class Sink(Protocol):
    """A tracker that may fail."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Store values."""
        ...

    def close(self, *, finished: bool) -> None:
        """Write what is left, and whether the run finished."""
        ...


def require(names: Sequence[str]) -> None:
    """Check that trackers are known and installed, before anything long begins.

    Raises:
        UsageError: There is no tracker of that name.
        MissingExtra: Its package is not installed.
    """
    for name in names:
        if name not in NAMES:
            raise UsageError(f"no tracker called {name!r}", fix=f"choose from {', '.join(NAMES)}")
        if find_spec(name) is None:
            raise MissingExtra(f"{name} is not installed", fix=f"pip install 'medssl[{name}]'")


@contextmanager
def open_trackers(
    names: Sequence[str], folder: Path, run_name: str, warn: Callable[[str], None]
) -> Iterator[list[Record]]:
    """Yield records that pass values on to trackers, and close those at the end.

    A tracker that cannot be opened or fails later is named in one warning and left out from then
    on; the run does not notice.

    Args:
        names: Of `NAMES`.
        folder: Of the run; TensorBoard writes to `tensorboard/` in it, W&B to `wandb/` unless
            WANDB_MODE says otherwise, MLflow to `mlflow.db` unless MLFLOW_TRACKING_URI does.
        run_name: What the run is called there.
        warn: Told about failures.

    Raises:
        UsageError: There is no tracker of that name.
        MissingExtra: Its package is not installed.
    """
    require(names)
    guarded = [Guarded(name, warn) for name in names]
    for tracker in guarded:
        tracker.open(_SINKS[tracker.name], folder, run_name)
    finished = False
    try:
        yield list(guarded)
        finished = True
    finally:
        for tracker in guarded:
            tracker.close(finished=finished)


class Guarded:
    """A tracker whose failures end in one warning (a `Record`).

    Args:
        name: Of the tracker.
        warn: Told about the first failure.
    """

    def __init__(self, name: str, warn: Callable[[str], None]) -> None:
        self.name = name
        self._warn = warn
        self._sink: Sink | None = None

    def open(self, make: Callable[[Path, str], Sink], folder: Path, run_name: str) -> None:
        """Open the tracker."""
        with self._left_behind_if_it_fails():
            self._sink = make(folder, run_name)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the values on."""
        if self._sink is not None:
            with self._left_behind_if_it_fails():
                self._sink.log(step, values)

    def pace(self, step: int, values: Mapping[str, float]) -> None:
        """Pass the values on."""
        self.metrics(step, values)

    def note(self, text: str) -> None:
        """Ignore the text: it may name paths."""

    def warn(self, text: str) -> None:
        """Ignore the text: it may name paths."""

    def close(self, *, finished: bool) -> None:
        """Close the tracker."""
        if self._sink is not None:
            with self._left_behind_if_it_fails():
                self._sink.close(finished=finished)
        self._sink = None

    @contextmanager
    def _left_behind_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the run is worth more
            self._sink = None
            self._warn(
                f"{self.name} failed ({type(error).__name__}); the run goes on without it, "
                "metrics.jsonl has everything"
            )


class _TensorBoard:
    """Scalars in one event file; its name says nothing about the machine, as TensorBoard's does."""

    def __init__(self, folder: Path, run_name: str) -> None:
        del run_name  # TensorBoard shows the folder's
        from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: PLC0415
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415

        self._events, self._summaries = event_pb2, summary_pb2
        place = folder / "tensorboard"
        place.mkdir(parents=True, exist_ok=True)
        self._continues = any(place.iterdir())
        name = f"events.out.tfevents.{time.time_ns():020d}.{PROJECT}"
        self._stream = (place / name).open("xb")
        self._writer = RecordWriter(self._stream)
        self._write(file_version="brain.Event:2")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._continues:  # lines after the last checkpoint, of a process that was killed, go
            started = self._events.SessionLog(status=self._events.SessionLog.START)
            self._write(step=step, session_log=started)
            self._continues = False
        value = self._summaries.Summary.Value
        shown = [value(tag=name, simple_value=number) for name, number in values.items()]
        self._write(step=step, summary=self._summaries.Summary(value=shown))
        self._stream.flush()

    def close(self, *, finished: bool) -> None:
        del finished
        self._stream.close()

    def _write(self, **content: Any) -> None:  # noqa: ANN401 - fields of an event
        event = self._events.Event(wall_time=time.time(), **content)
        self._writer.write(event.SerializeToString())


class _MLflow:
    """One run of the experiment `medssl`, without the tags MLflow's own start of a run writes."""

    def __init__(self, folder: Path, run_name: str) -> None:
        from mlflow.tracking import MlflowClient  # noqa: PLC0415

        for library in ("mlflow", "alembic"):
            logging.getLogger(library).setLevel(logging.WARNING)
        own = "" if os.environ.get("MLFLOW_TRACKING_URI") else (folder / "mlflow.db").resolve()
        self._client = MlflowClient(f"sqlite:///{own}" if own else None)
        found = self._client.get_experiment_by_name(PROJECT)
        # There are no artifacts; left to itself, MLflow would write down a folder for them.
        place = f"mlflow-artifacts:/{PROJECT}" if own else None
        number = found.experiment_id if found else self._client.create_experiment(PROJECT, place)
        self._run = self._client.create_run(number, run_name=run_name).info.run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415

        now = time.time_ns() // 1_000_000
        rows = [Metric(name, number, now, step) for name, number in values.items()]
        self._client.log_batch(self._run, metrics=rows)

    def close(self, *, finished: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if finished else "FAILED")


class _WandB:
    """One run of the project `medssl`, offline unless WANDB_MODE is set."""

    _SILENT: Mapping[str, object] = {
        "console": "off", "disable_code": True, "disable_git": True, "host": "", "program": "",
        "save_code": False, "silent": True, "x_disable_machine_info": True, "x_disable_meta": True,
        "x_disable_stats": True,
    }  # fmt: skip

    def __init__(self, folder: Path, run_name: str) -> None:
        import wandb  # noqa: PLC0415

        known = wandb.Settings.model_fields
        self._run = wandb.init(
            project=PROJECT,
            name=run_name,
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(**{k: v for k, v in self._SILENT.items() if k in known}),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        # Its own counter cannot go back or meet a step twice, so the step is one more value.
        self._run.log({"trainer/step": step, **values})

    def close(self, *, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


_SINKS: Mapping[str, Callable[[Path, str], Sink]] = {
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _WandB,
}
