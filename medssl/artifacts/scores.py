"""`scores.parquet` and `predict.json`: what the models of a site say about scans without labels."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from medssl.artifacts import records, tables
from medssl.config import task as tasks
from medssl.config.task import Task

SCHEMA = "medssl.predict/1"
SCORES_SCHEMA = "medssl.scores/1"
SCORES = pa.schema(
    [
        ("image_id", pa.string()),  # of a series its first image
        ("patient_key", pa.string()),
        ("study_key", pa.string()),
        ("series_key", pa.string()),
        ("site", pa.string()),
        ("target", pa.string()),  # or target=class, as in predictions.parquet
        ("score", pa.float64()),  # mean over the models: probability, or amount in its own unit
        ("spread", pa.float64()),  # standard deviation over the models
        ("distance", pa.float64()),  # from the training images; 1 is usual; null: not known
        ("rarity", pa.float64()),  # share of held-out images at least as far away
        ("unusual", pa.bool_()),  # unlike the cohort: the score is not to be relied on; null: not
        # known
    ]
)


@dataclass(frozen=True, kw_only=True)
class PredictInfo:
    """Which models spoke, and about what."""

    task: Task
    archive_hash: str
    models_sha256: str  # over the weights of all models
    n_models: int
    n_rows: int  # images, or series
    n_patients: int
    n_unusual: int | None  # None: the run has no gate, or one that can mark nothing
    unusual: float  # share of usual images that may be marked
    n_held_out: int | None = None  # images that a new one is ranked among; None: no gate
    n_too_short: int = 0  # series that were not scored, as one image is no volume
    known_patients: int | None  # of the archive, whom the models learned from; None: not known


def write(folder: Path, table: pa.Table) -> None:
    """Write `scores.parquet`."""
    tables.write(folder / "scores.parquet", SCORES_SCHEMA, table.select(SCORES.names))


def read(folder: Path) -> pa.Table:
    """Return `scores.parquet`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "scores.parquet", SCORES_SCHEMA, SCORES)


def write_info(folder: Path, info: PredictInfo) -> None:
    """Write `predict.json`, last of all."""
    records.write(folder / "predict.json", SCHEMA, asdict(info))


def read_info(folder: Path) -> PredictInfo:
    """Return `predict.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    path = folder / "predict.json"
    record = records.read(path, SCHEMA)
    return records.fill(PredictInfo, record | {"task": tasks.from_record(record["task"])}, path)
