"""Models of a run before an archive: whether they can read it, whom they know, what they find odd.

What `medssl predict` says of new scans and `medssl evaluate --on` of labelled ones starts here.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.artifacts import fold_models, run_folder, scores
from medssl.artifacts.archive import ArchiveInfo
from medssl.config.task import Task
from medssl.data import volumes
from medssl.evaluation import gate
from medssl.foundation.errors import ArtifactError
from medssl.foundation.wording import counted
from medssl.training.ensemble import Ensemble, Known, Said

KEYS = ("image_id", "patient_key", "study_key", "series_key", "site")


def require_channels(models: Ensemble, info: ArchiveInfo, archive: Path) -> None:
    """Check that the models read images with as many channels as an archive has.

    Raises:
        ArtifactError: They do not.
    """
    expected = models.info.in_channels
    if info.channels != expected:
        raise ArtifactError(
            f"its images have {counted(info.channels, 'channel')}, the models read {expected}",
            where=str(archive),
            fix=f"ingest with --colour {'keep' if expected > 1 else 'gray'}",
        )


def least_slices(models: Ensemble) -> int:
    """Return how many images a series needs to be a row that the models judge; 0: an image is."""
    info = models.info
    if info.spatial_dims == 3:
        return volumes.LEAST_SLICES
    return 1 if info.judges_series else 0


def what(models: Ensemble) -> str:
    """Return what a row is called that the models judge."""
    return "series" if models.info.judges_series else "image"


def learned_from(models: Ensemble, known: Known, info: ArchiveInfo) -> frozenset[str] | None:
    """Return the patients a model has learned from, by the keys of an archive.

    None where nobody knows: they are not recorded, or keys cannot be compared.
    """
    comparable = info.key_id == models.info.key_id and models.info.group != "none"
    return known.learned if comparable else None


def weights_sha256(models: Ensemble) -> str:
    """Return a digest of the weights of all models."""
    return fold_models.weights_sha256([folder / "model.safetensors" for folder in models.folds])


def can_mark(known: Known, unusual: float) -> bool:
    """Say whether any image could come out as unlike the cohort."""
    return known.n_held_out is not None and known.n_held_out >= gate.needed(unusual)


def marked(said: Said, known: Known, unusual: float) -> NDArray[np.bool_] | None:
    """Return which rows are unlike the cohort, shape (N,); None where that cannot be told."""
    if said.rarity is None or not can_mark(known, unusual):
        return None
    return np.asarray(said.rarity <= unusual)


def trial(run: Path) -> Iterator[str]:
    """Say where the models were trained for two steps only."""
    if run_folder.read_config(run).get("smoke"):
        yield "the models come from a smoke run: they were trained for two steps"


def limits(known: Known, unusual: float) -> Iterator[str]:
    """Say where too few images were held out to mark any as unlike the cohort."""
    if known.n_held_out is not None and not can_mark(known, unusual):
        yield (
            f"nothing can be marked as unusual: that needs "
            f"{counted(gate.needed(unusual), 'test image')} for {unusual * 100:.4g} %, and the run "
            f"has {known.n_held_out:,}"
        )


def table(rows: pa.Table, said: Said, task: Task, unusual: NDArray[np.bool_] | None) -> pa.Table:
    """Return what was said of N rows, as `scores.parquet` has it.

    Args:
        rows: Of `images.parquet`, or of series as `volumes.table` has them.
        said: About them.
        task: What was asked.
        unusual: From `marked`.
    """
    n = rows.num_rows
    beside = {
        "distance": _nullable(said.distance, n),
        "rarity": _nullable(said.rarity, n),
        "unusual": pa.nulls(n, pa.bool_()) if unusual is None else pa.array(unusual),
    }
    parts = []
    for k, column in enumerate(task.columns):
        part = rows.select(KEYS).append_column("target", pa.array([column] * n, pa.string()))
        part = part.append_column("score", pa.array(said.score[:, k]))
        part = part.append_column("spread", pa.array(said.spread[:, k]))
        for name, values in beside.items():
            part = part.append_column(name, values)
        parts.append(part)
    return pa.concat_tables(parts).select(scores.SCORES.names).cast(scores.SCORES)


def _nullable(values: NDArray[np.float64] | None, n: int) -> pa.Array:
    return pa.nulls(n, pa.float64()) if values is None else pa.array(values)
