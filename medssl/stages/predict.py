"""`medssl predict`: what the models of a site say about new scans."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from medssl.artifacts import archive, report_tables, run_folder, scores
from medssl.artifacts.archive import ArchiveInfo
from medssl.artifacts.scores import PredictInfo
from medssl.config.ingest import IngestSettings
from medssl.config.predict import PredictSettings
from medssl.config.task import Task
from medssl.data import volumes
from medssl.foundation import files
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import ArtifactError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.foundation.wording import counted, verb
from medssl.training import ensemble, runtime, scoring
from medssl.training.ensemble import Ensemble, Known

_TRIAL = 32  # rows scored to say how long all of them take
_ROW_BYTES = 150  # of a row of scores, generously


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
    n_unusual: int | None  # None: the run has no gate, or one that can mark nothing
    n_held_out: int | None  # images that a new one is ranked among; None: the run has no gate
    n_too_short: int  # series that were not scored, as one image is no volume
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Ready:
    models: Ensemble
    rows: pa.Table
    info: ArchiveInfo
    what: str
    known: Known
    known_patients: int | None  # of the archive, whom the models learned from; None: not known
    n_too_short: int
    notes: tuple[str, ...]


def ingestion(run: Path, scans: Sequence[Path]) -> IngestSettings:
    """Return how scans are ingested for the models of a run, which are looked at first.

    Raises:
        ArtifactError: There is no such run, a model is missing or damaged, or none can read what
            `medssl ingest` makes of scans.
    """
    run_folder.require_finished(run, "finetune")
    models = ensemble.open_run(run)
    for folder in models.folds:
        models.load(folder)
    models.known()
    channels = models.info.in_channels
    if channels not in (1, 3):
        raise ArtifactError(
            f"the models read {counted(channels, 'channel')}, and scans are ingested with 1 or 3",
            where=str(run),
            fix="give an archive made as that of the cohort was",
        )
    return IngestSettings(
        sources=tuple(scans),
        size=models.info.stored_size or "keep",
        colour="keep" if channels == 3 else "gray",
    )


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
    weights = scoring.weights_sha256(models)
    started = runtime.start(device, "32")
    inputs = {"archive": ready.info.hash, "models": weights}
    with run_folder.create(out, stage="predict", settings=settings, inputs=inputs) as folder:
        folder.environment(**started.facts())
        told = Tee(reporter or Silent(), folder.log)
        for note in ready.notes:
            told.note(note)
        tracked = told.track(models.folds, task="models", unit="models")
        said = models.say(started, settings.archive, ready.rows, tracked)
        unusual = scoring.marked(said, ready.known, settings.unusual)
        table = scoring.table(ready.rows, said, task, unusual)
        n_unusual = None if unusual is None else int(unusual.sum())
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
            n_held_out=ready.known.n_held_out,
            n_too_short=ready.n_too_short,
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
        n_held_out=ready.known.n_held_out,
        n_too_short=ready.n_too_short,
        notes=ready.notes,
    )


def _get_ready(settings: PredictSettings) -> _Ready:
    run_folder.require_finished(settings.run, "finetune")
    models = ensemble.open_run(settings.run)
    info = archive.read_info(settings.archive)
    scoring.require_channels(models, info, settings.archive)
    rows, n_too_short = _rows(settings.archive, models)
    known = models.known()
    learned = scoring.learned_from(models, known, info)
    seen = None if learned is None else len(learned & set(rows["patient_key"].to_pylist()))
    return _Ready(
        models=models,
        rows=rows,
        info=info,
        what=scoring.what(models),
        known=known,
        known_patients=seen,
        n_too_short=n_too_short,
        notes=(
            *scoring.trial(settings.run),
            *_left_out(n_too_short),
            *_overlap(seen),
            *scoring.limits(known, settings.unusual),
        ),
    )


def _rows(folder: Path, models: Ensemble) -> tuple[pa.Table, int]:
    """Return the images or series to score, and how many series are too short to be scored."""
    images, least = archive.read_images(folder), scoring.least_slices(models)
    if not least:
        return images, 0
    rows = volumes.table(images, least=least)
    return rows, len(images["series_key"].unique()) - len(rows)


def _left_out(n_too_short: int) -> Iterator[str]:
    if n_too_short:
        yield (
            f"{n_too_short} series {verb(n_too_short, 'were')} not scored: one image is no volume"
        )


def _overlap(seen: int | None) -> Iterator[str]:
    if seen is None:
        yield "overlap with the patients of the cohort: unknown"
    elif seen:
        yield (
            f"a model learned from {counted(seen, 'patient')} of this archive: "
            "their scores are too good"
        )


def _by_patient(table: pa.Table, task: Task) -> str:
    """Return a CSV table of patients: the mean score of their images, and how many are unusual."""
    patients: dict[tuple[str, str], list[tuple[float, bool | None]]] = {}
    columns = (table[name].to_pylist() for name in ("patient_key", "target", "score", "unusual"))
    for key, target, score, odd in zip(*columns, strict=True):
        patients.setdefault((key, target), []).append((score, odd))
    rows = []
    for key in sorted({key for key, _ in patients}):
        found = {column: patients[key, column] for column in task.columns}
        marks = [odd for _, odd in found[task.columns[0]]]
        row = {"patient_key": key, "n": len(marks)}
        row["n_unusual"] = None if None in marks else sum(map(bool, marks))
        means = {k: f"{np.mean([score for score, _ in v]):.6g}" for k, v in found.items()}
        rows.append(row | means)
    return report_tables.as_csv(rows, ("patient_key", "n", "n_unusual", *task.columns))
