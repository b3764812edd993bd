"""Decode all series and write their pixels; gather the rows of the tables meanwhile."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from medssl.artifacts import tables
from medssl.artifacts.archive import IMAGES, LABELS
from medssl.foundation.reporting import Reporter
from medssl.ingestion import catalogue, decoding, intensity, shards
from medssl.ingestion.codes import Code
from medssl.ingestion.decoding import Decoded, Job, Source
from medssl.ingestion.grouping import Series
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.survey import Reject, Survey
from medssl.ingestion.workers import WorkerDied, Workers

Batch = tuple[Series, ...]  # what is decoded together: one series, or those of one container

_BATCH = 8192  # rows turned into a table at a time
_CHUNK = 32  # images decoded per task, where series are short
_TRIAL = 16  # series decoded to say how long all of them take


@dataclass(kw_only=True, repr=False)
class Written:
    """What became of the files; grows while pixels are written."""

    image_tables: list[pa.Table] = field(default_factory=list)
    label_tables: list[pa.Table] = field(default_factory=list)
    images_of: dict[Path, list[tuple[str, int]]] = field(default_factory=dict)  # file: id, frame
    rejects: dict[Path, Reject] = field(default_factory=dict)

    @property
    def images(self) -> pa.Table:
        """Rows of `images.parquet`."""
        return pa.concat_tables([*self.image_tables, IMAGES.empty_table()])

    @property
    def labels(self) -> pa.Table:
        """Rows of `labels.parquet`."""
        return pa.concat_tables([*self.label_tables, LABELS.empty_table()])


def order(series: Iterable[Series], size: int | None) -> list[tuple[Batch, Job]]:
    """Return what to decode together, images of one dtype and shape side by side.

    Args:
        series: All series.
        size: Longest side of a stored image, px; None for native shapes.
    """
    series = list(series)
    largest = max(
        (max(one.first.header.rows, one.first.header.columns) for one in series), default=0
    )
    side = None if size is None else min(size, largest)
    jobs = [(batch, _job(batch, side, size)) for batch in _batches(series)]
    return sorted(jobs, key=lambda pair: (pair[1].dtype, shape(pair[1])))


def shape(job: Job) -> tuple[int, int]:
    """Return rows and columns of the images a job yields, padding included."""
    header = job.sources[0].header
    return (job.side, job.side) if job.side else (header.rows, header.columns)


def seconds(jobs: Sequence[Job], workers: Workers) -> tuple[float, int]:
    """Return how long decoding takes, judged from a few jobs spread over all, and how many these.

    Args:
        jobs: All of them.
        workers: Where they would be decoded.
    """
    few = [jobs[k] for k in np.unique(np.linspace(0, len(jobs) - 1, _TRIAL).astype(int))]
    started = time.perf_counter()
    decoded = workers.run(decoding.decode, few, chunk=1)
    timed = sum(len(job.sources) for job, _ in zip(few, decoded, strict=True))
    pace = (time.perf_counter() - started) / timed
    return pace * sum(len(job.sources) for job in jobs), len(few)


def write(
    archive: Path, survey: Survey, key: SiteKey, reporter: Reporter, workers: Workers
) -> Written:
    """Write the pixel shards of an archive and return the rows that describe them.

    Holds at most one shard and a few series in memory.

    Args:
        archive: Archive folder.
        survey: What was found.
        key: The institution's key.
        reporter: Where progress goes.
        workers: Where series are decoded.
    """
    size = survey.joined.settings.size
    jobs = order(survey.series, None if size == "keep" else size)
    written = Written(rejects=dict(survey.rejects))
    days = catalogue.first_days(survey.entries)
    seen: set[tuple[str, int, str]] = set()
    image_rows: list[catalogue.Row] = []
    label_rows: list[catalogue.Row] = []
    decoded = _decoded(jobs, written, reporter, workers)
    for batch, images, place in shards.pack(archive, decoded):
        for row, piece, image in catalogue.image_rows(batch, images, place, days, seen, key):
            image_id = str(row["image_id"])
            image_rows.append(row)
            label_rows.extend(catalogue.label_rows(image_id, piece.entry, survey.joined.targets))
            written.images_of.setdefault(image.path, []).append((image_id, piece.number))
        if len(image_rows) >= _BATCH:
            _flush(written, image_rows, label_rows)
    _flush(written, image_rows, label_rows)
    return written


def _decoded(
    jobs: Sequence[tuple[Batch, Job]], written: Written, reporter: Reporter, workers: Workers
) -> Iterator[tuple[Batch, Decoded]]:
    """Yield the series that have at least one image, and note what was rejected."""
    n_images = sum(len(job.sources) for _, job in jobs)
    chunk = max(1, _CHUNK * len(jobs) // max(1, n_images))
    todo = [job for _, job in jobs]
    results = workers.run(decoding.decode, todo, chunk=chunk)
    tracked = reporter.track(results, task="decoding", total=len(jobs), unit="series")
    for (batch, job), result in zip(jobs, tracked, strict=True):
        if isinstance(result, WorkerDied):
            rejected = dict.fromkeys(_paths(job), Code.WORKER_DIED)
        else:
            rejected = dict(result.rejected)
        patients = {series.first.patient_key for series in batch}
        patient = patients.pop() if len(patients) == 1 else None
        written.rejects |= {
            path: Reject("decode", code, patient) for path, code in rejected.items()
        }
        if not isinstance(result, WorkerDied) and result.images:
            yield batch, result


def _batches(series: Iterable[Series]) -> list[Batch]:
    """Return each series alone, but those of one container together: it is read only once."""
    found: dict[object, list[Series]] = {}
    for one in series:
        files = {piece.entry.file.path for piece in one.slices if piece.entry.number is not None}
        name = files.pop() if len(files) == 1 else one.key
        found.setdefault(name, []).append(one)
    return [tuple(batch) for batch in found.values()]


def _job(batch: Batch, side: int | None, largest: int | None) -> Job:
    sources = tuple(
        Source(
            path=piece.entry.file.path,
            header=piece.entry.header,
            number=piece.number,
            copies=tuple((copy.file.path, copy.header) for copy in piece.copies),
        )
        for series in batch
        for piece in series.slices
    )
    dtype = intensity.policy([source.header for source in sources]).dtype
    return Job(sources=sources, dtype=dtype, side=side, largest=largest)


def _paths(job: Job) -> list[Path]:
    return [
        path
        for source in job.sources
        for path in (source.path, *(copy for copy, _ in source.copies))
    ]


def _flush(
    written: Written, image_rows: list[catalogue.Row], label_rows: list[catalogue.Row]
) -> None:
    written.image_tables.append(tables.build(image_rows, IMAGES))
    written.label_tables.append(tables.build(label_rows, LABELS))
    image_rows.clear()
    label_rows.clear()
