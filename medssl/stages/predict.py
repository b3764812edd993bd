"""`medssl predict`: what the models of a site say about new scans."""

import csv
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from medssl.artifacts import archive, run_folder, scores, splits
from medssl.artifacts.archive import ArchiveInfo
from medssl.artifacts.scores import PredictInfo
from medssl.config.predict import PredictSettings
from medssl.config.task import Task
from medssl.data import volumes
from medssl.foundation import files
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import ArtifactError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.foundation.wording import counted
from medssl.training import ensemble, runtime
from medssl.training.ensemble import Ensemble, Said

_TRIAL = 32  # rows scored to say how long all of them take
_ROW_BYTES = 150  # of a row of scores, generously
_KEYS = ("image_id", "patient_key", "study_key", "series_key", "site")


@dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """What would be scored, and by what."""

    settings: PredictSettings
    target: str
    n_models: int
    n_rows: int
    what: str  # a row is: an image or a series
    n_patients: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PredictResult:
    """Where the scores are, and what to know before using them."""

    folder: Path
    scores: Path
    table: Path  # one line per patient
    target: str
    n_models: int
    n_rows: int
    what: str
    n_patients: int
    n_unusual: int | None  # None: the run has no gate
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Ready:
    models: Ensemble
    rows: pa.Table
    info: ArchiveInfo
    what: str
    known_patients: int | None  # of the archive, whom the models learned from; None: not known
    notes: tuple[str, ...]


def plan(settings: PredictSettings) -> PredictPlan:
    """Check everything, and say what `run` would do.

    Raises:
        ArtifactError: Archive or run are missing or do not fit each other.
        DataError: The models judge series, and the archive has none.
    """
    ready = _get_ready(settings)
    return PredictPlan(
        settings=settings,
        target=ready.models.info.task.name,
        n_models=len(ready.models.folds),
        n_rows=ready.rows.num_rows,
        what=ready.what,
        n_patients=len(ready.rows["patient_key"].unique()),
        notes=ready.notes,
    )


def cost(settings: PredictSettings, *, device: str = "auto") -> Cost:
    """Return what the run would take, from a few rows and one model; writes nothing."""
    ready = _get_ready(settings)
    few = ready.rows.slice(0, _TRIAL)
    started = time.perf_counter()
    ready.models.say(runtime.start(device, "32"), settings.archive, few, ready.models.folds[:1])
    each = (time.perf_counter() - started) / few.num_rows
    n = ready.rows.num_rows
    return Cost(
        seconds=each * n * len(ready.models.folds),
        disk_bytes=n * len(ready.models.info.task.columns) * _ROW_BYTES,
        memory_bytes=peak_memory(),
        basis=f"{few.num_rows} rows, one model of {len(ready.models.folds)}",
    )


def run(
    settings: PredictSettings, out: Path, reporter: Reporter | None = None, *, device: str = "auto"
) -> PredictResult:
    """Write `scores.parquet`, `scores.csv` with a line per patient, and `predict.json`.

    Args:
        settings: As the user gave them.
        out: Run folder to make.
        reporter: Told about progress.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UsageError: ``out`` is in use.
        ArtifactError: Archive or run are missing or do not fit each other.
        DataError: The models judge series, and the archive has none.
    """
    ready = _get_ready(settings)
    models, task = ready.models, ready.models.info.task
    weights = files.sha256_text(
        "".join(files.sha256(folder / "model.safetensors") for folder in models.folds)
    )
    started = runtime.start(device, "32")
    inputs = {"archive": ready.info.hash, "models": weights}
    with run_folder.create(out, stage="predict", settings=settings, inputs=inputs) as folder:
        folder.environment(**started.facts())
        told = Tee(reporter or Silent(), folder.log)
        for note in ready.notes:
            told.note(note)
        tracked = told.track(models.folds, task="models", unit="models")
        said = models.say(started, settings.archive, ready.rows, tracked)
        table = _table(ready.rows, said, task, settings.unusual)
        n_unusual = None if said.rarity is None else int((said.rarity <= settings.unusual).sum())
        record = PredictInfo(
            task=task,
            archive_hash=ready.info.hash,
            models_sha256=weights,
            n_models=said.n_models,
            n_rows=ready.rows.num_rows,
            n_patients=len(ready.rows["patient_key"].unique()),
            n_unusual=n_unusual,
            unusual=settings.unusual,
            known_patients=ready.known_patients,
        )
        files.write_text(out / "scores.csv", _by_patient(table, task))
        scores.write(out, table)
        scores.write_info(out, record)
    return PredictResult(
        folder=out,
        scores=out / "scores.parquet",
        table=out / "scores.csv",
        target=task.name,
        n_models=said.n_models,
        n_rows=record.n_rows,
        what=ready.what,
        n_patients=record.n_patients,
        n_unusual=n_unusual,
        notes=ready.notes,
    )


def _get_ready(settings: PredictSettings) -> _Ready:
    run_folder.require_finished(settings.run, "finetune")
    models = ensemble.open_run(settings.run)
    info = archive.read_info(settings.archive)
    expected = models.info.in_channels
    if info.channels != expected:
        raise ArtifactError(
            f"its images have {counted(info.channels, 'channel')}, the models read {expected}",
            where=str(settings.archive),
            fix=f"ingest with --colour {'keep' if expected > 1 else 'gray'}",
        )
    whole = models.info.spatial_dims == 3 or models.info.pooling != "none"
    rows = archive.read_images(settings.archive)
    least = volumes.LEAST_SLICES if models.info.pooling == "none" else 1
    rows = volumes.table(rows, least=least) if whole else rows
    known = _known_patients(settings, models.info.key_id, info, rows)
    return _Ready(
        models=models,
        rows=rows,
        info=info,
        what="series" if whole else "image",
        known_patients=known,
        notes=tuple(_notes(known)),
    )


def _known_patients(
    settings: PredictSettings, key_id: str, info: ArchiveInfo, rows: pa.Table
) -> int | None:
    """Return how many patients the models have learned from; None where keys cannot be compared."""
    plan = splits.read(settings.run / "splits.json")
    if info.key_id != key_id or plan.group == "none":
        return None
    learned = {key for tested in plan.test_fold for key in tested}
    return len(learned & set(rows["patient_key"].to_pylist()))


def _notes(known: int | None) -> Iterator[str]:
    if known is None:
        yield "overlap with the patients of the cohort: unknown"
    elif known:
        yield (
            f"{counted(known, 'patient')} of this archive are in the cohort the models learned "
            "from: their scores are too good"
        )


def _table(rows: pa.Table, said: Said, task: Task, unusual: float) -> pa.Table:
    keys = rows.select(_KEYS)
    beside = {
        "distance": _nullable(said.distance, rows.num_rows),
        "rarity": _nullable(said.rarity, rows.num_rows),
        "unusual": pa.nulls(rows.num_rows, pa.bool_())
        if said.rarity is None
        else pa.array(said.rarity <= unusual),
    }
    parts = []
    for k, column in enumerate(task.columns):
        part = keys.append_column("target", pa.array([column] * rows.num_rows, pa.string()))
        part = part.append_column("score", pa.array(said.score[:, k]))
        part = part.append_column("spread", pa.array(said.spread[:, k]))
        for name, values in beside.items():
            part = part.append_column(name, values)
        parts.append(part)
    return pa.concat_tables(parts).select(scores.SCORES.names).cast(scores.SCORES)


def _nullable(values: np.ndarray | None, n: int) -> pa.Array:
    return pa.nulls(n, pa.float64()) if values is None else pa.array(values)


def _by_patient(table: pa.Table, task: Task) -> str:
    """Return a CSV table of patients: the mean score of their images, and how many are unusual."""
    patients: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    columns = (table[name].to_pylist() for name in ("patient_key", "target", "score", "unusual"))
    for key, target, score, odd in zip(*columns, strict=True):
        patients.setdefault((key, target), []).append((score, bool(odd)))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["patient_key", "n", "n_unusual", *task.columns])
    for key in sorted({key for key, _ in patients}):
        found = [patients[key, column] for column in task.columns]
        means = [f"{np.mean([score for score, _ in rows]):.6g}" for rows in found]
        writer.writerow([key, len(found[0]), sum(odd for _, odd in found[0]), *means])
    return stream.getvalue()
