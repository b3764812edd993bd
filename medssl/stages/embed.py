"""`medssl embed`: the features an encoder gives the images of an archive, as a table."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from medssl.artifacts import archive, embeddings, run_folder
from medssl.artifacts.embeddings import EmbedInfo
from medssl.config.embed import EmbedSettings
from medssl.config.training import Intensity
from medssl.data import volumes
from medssl.data.opening import open_store
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import DataError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.models.reading import Reader
from medssl.training import embed, runtime, seeing
from medssl.training.encoders import Source

_PART = 2048  # rows embedded and written at a time
_TRIAL = 32  # rows embedded to say how long all of them take


@dataclass(frozen=True, kw_only=True)
class EmbedPlan:
    """What would be embedded."""

    settings: EmbedSettings
    n_rows: int
    what: str  # a row is: an image, or in 3D a series
    encoder: str
    layer: str
    feature_size: int
    shape: tuple[int, ...]  # px, of the encoder's input
    notes: tuple[str, ...]  # what is left out


@dataclass(frozen=True, kw_only=True)
class EmbedResult:
    """Where the features are, and what they are of."""

    folder: Path
    embeddings: Path
    n_rows: int
    n_patients: int
    encoder: str
    layer: str
    feature_size: int
    spatial_dims: int


@dataclass(frozen=True)
class _Ready:
    """An encoder and the rows it is to see."""

    encoder: nn.Module
    source: Source
    rows: pa.Table
    layer: str
    feature_size: int
    notes: tuple[str, ...]


def plan(settings: EmbedSettings) -> EmbedPlan:
    """Check everything, and say what `run` would do.

    Raises:
        UsageError: The encoder has no such layer.
        DataError: An encoder of series finds none in the archive.
        ArtifactError: Archive or encoder are missing or do not fit each other.
    """
    ready = _get_ready(settings)
    assert ready.source.info is not None
    return EmbedPlan(
        settings=settings,
        n_rows=ready.rows.num_rows,
        what="series" if ready.source.info.spatial_dims == 3 else "image",
        encoder=ready.source.info.encoder,
        layer=ready.layer,
        feature_size=ready.feature_size,
        shape=ready.source.info.shape,
        notes=ready.notes,
    )


def cost(settings: EmbedSettings, *, device: str = "auto") -> Cost:
    """Return what the run would take, from a few rows; writes nothing."""
    ready = _get_ready(settings)
    where = runtime.start(device, "32").device
    ready.encoder.to(where)
    few = ready.rows.slice(0, _TRIAL)
    started = time.perf_counter()
    _features(settings, ready, few, where)
    each = (time.perf_counter() - started) / few.num_rows
    return Cost(
        seconds=each * ready.rows.num_rows,
        disk_bytes=ready.rows.num_rows * (4 * ready.feature_size + 100),
        memory_bytes=peak_memory(),
        basis=f"from {few.num_rows} rows",
    )


def run(
    settings: EmbedSettings, out: Path, reporter: Reporter | None = None, *, device: str = "auto"
) -> EmbedResult:
    """Write `embeddings.parquet` and `embed.json`.

    Args:
        settings: As the user gave them.
        out: Run folder to make.
        reporter: Told about progress.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UsageError: The encoder has no such layer, or ``out`` is in use.
        DataError: An encoder of series finds none in the archive.
        ArtifactError: Archive or encoder are missing or do not fit each other.
    """
    ready = _get_ready(settings)
    info = archive.read_info(settings.archive)
    started = runtime.start(device, "32")
    ready.encoder.to(started.device)
    inputs = {"archive": info.hash, "encoder": ready.source.sha256}
    with run_folder.create(out, stage="embed", settings=settings, inputs=inputs) as folder:
        folder.environment(**started.facts())
        told = Tee(reporter or Silent(), folder.log)
        for note in ready.notes:
            told.note(note)
        parts = _parts(settings, ready, started.device, told)
        record = _record(ready, info.hash)
        embeddings.write(out, record, parts)
    return EmbedResult(
        folder=out,
        embeddings=out / "embeddings.parquet",
        n_rows=ready.rows.num_rows,
        n_patients=len(ready.rows["patient_key"].unique()),
        encoder=record.encoder,
        layer=record.layer,
        feature_size=record.feature_size,
        spatial_dims=record.spatial_dims,
    )


def _get_ready(settings: EmbedSettings) -> _Ready:
    channels = archive.read_info(settings.archive).channels
    source, factory = seeing.open_encoder(settings.encoder, channels)
    assert source.info is not None
    rows, notes = archive.read_images(settings.archive), factory.notes
    if source.info.spatial_dims == 3:
        rows, left_out = _series(rows, settings.archive)
        notes += left_out
    encoder = factory.make()
    if settings.layer is None:
        return _Ready(encoder, source, rows, factory.groups[-1], source.info.feature_size, notes)
    reader = Reader(encoder, settings.layer)
    return _Ready(reader, source, rows, settings.layer, reader.dim, notes)


def _series(images: pa.Table, archive: Path) -> tuple[pa.Table, tuple[str, ...]]:
    """Return a row for each series that is a volume, and how many series are none."""
    try:
        rows = volumes.table(images)
    except DataError as error:
        where = error.where or str(archive)
        raise DataError(error.problem, where=where, fix=error.fix) from error
    n_short = len(images["series_key"].unique()) - rows.num_rows
    if not n_short:
        return rows, ()
    return rows, (
        f"{rows.num_rows} series are embedded; {n_short} of fewer slices than "
        f"{volumes.LEAST_SLICES} are left out",
    )


def _parts(
    settings: EmbedSettings, ready: _Ready, device: torch.device, reporter: Reporter
) -> Iterator[tuple[pa.Table, NDArray[np.float32]]]:
    starts = range(0, ready.rows.num_rows, _PART)
    for start in reporter.track(starts, task="embedding", unit="rows", each=_PART):
        rows = ready.rows.slice(start, _PART)
        yield rows, _features(settings, ready, rows, device)


def _features(
    settings: EmbedSettings, ready: _Ready, rows: pa.Table, device: torch.device
) -> NDArray[np.float32]:
    info = ready.source.info
    assert info is not None
    return embed.features(
        ready.encoder,
        open_store(settings.archive, rows, info.spatial_dims),
        device=device,
        intensity=Intensity(window_hu=info.intensity["window_hu"]),
        shape=info.shape,
    )


def _record(ready: _Ready, archive_hash: str) -> EmbedInfo:
    info = ready.source.info
    assert info is not None
    return EmbedInfo(
        archive_hash=archive_hash,
        encoder=info.encoder,
        layer=ready.layer,
        feature_size=ready.feature_size,
        n_rows=ready.rows.num_rows,
        spatial_dims=info.spatial_dims,
        shape=info.shape,
        weights_sha256=ready.source.sha256,
        trained=ready.source.facts(),
    )
