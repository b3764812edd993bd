"""Decode all series and write their pixels; gather the rows of the tables meanwhile."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from medssl.artifacts import pixels, tables
from medssl.artifacts.archive import IMAGES, LABELS
from medssl.artifacts.journal import SeriesRow
from medssl.config.ingest import IngestSettings
from medssl.foundation.reporting import Reporter
from medssl.ingestion import books as bookkeeping
from medssl.ingestion import catalogue, decoding, grouping, intensity, resampled, shards
from medssl.ingestion.books import Books
from medssl.ingestion.codes import Code
from medssl.ingestion.decoding import Copy, Job, Opened, Source
from medssl.ingestion.geometry import Stack
from medssl.ingestion.grouping import Series
from medssl.ingestion.header import Reading
from medssl.ingestion.shards import Packed
from medssl.ingestion.slices import Slice
from medssl.ingestion.storing import Decoded, Outcome
from medssl.ingestion.survey import Reject, Survey
from medssl.ingestion.workers import Lost, Pool, Work

_BATCH = 8192  # rows turned into a table at a time
_CHUNK = 32  # images decoded per task, where series are short
_ROW_BYTES = 3000  # of the tables and the journal, per image
_FIXED_BYTES = 2**16  # of everything else
_TRIAL = 16  # series decoded to say how long all of them take


@dataclass(frozen=True, slots=True, repr=False)
class Batch:
    """Series that are decoded together: one, or all of one file, which is read only once."""

    series: tuple[Series, ...]
    job: Job
    digest: str = ""  # what the journal knows it by
    rejects_gaps: bool = False  # series that lack slices are left out
    min_slices: int = 1  # of a volume; shorter ones are left out

    @property
    def patient(self) -> str | None:
        """The patient, if it is one."""
        patients = {series.first.patient_key for series in self.series}
        return patients.pop() if len(patients) == 1 else None


@dataclass(frozen=True, slots=True)
class Part:
    """A share of the series, for several ingests of the same files side by side."""

    number: int = 1  # from 1
    of: int = 1

    def __str__(self) -> str:
        """Return it as users write it."""
        return f"{self.number}/{self.of}"

    def has(self, digest: str) -> bool:
        """Return whether a batch belongs to it."""
        return int(digest[:12], 16) % self.of == self.number - 1


WHOLE = Part()


@dataclass(kw_only=True, repr=False)
class Written:
    """What became of the files; grows while pixels are written."""

    image_tables: list[pa.Table] = field(default_factory=list)
    label_tables: list[pa.Table] = field(default_factory=list)
    images_of: dict[Path, list[tuple[str, int]]] = field(default_factory=dict)  # file: id, frame
    rejects: dict[Path, Reject] = field(default_factory=dict)
    stacks: dict[str, Stack] = field(default_factory=dict)  # series key: its geometry
    channels: int = 1

    @property
    def images(self) -> pa.Table:
        """Rows of `images.parquet`."""
        return pa.concat_tables([*self.image_tables, IMAGES.empty_table()])

    @property
    def labels(self) -> pa.Table:
        """Rows of `labels.parquet`."""
        return pa.concat_tables([*self.label_tables, LABELS.empty_table()])


def order(series: Iterable[Series], settings: IngestSettings, how: Reading) -> list[Batch]:
    """Return what to decode together, images of one dtype and shape side by side.

    Args:
        series: All series.
        settings: Of the ingest.
        how: How files are read.
    """
    series = list(series)
    headers = [one.first.header for one in series]
    grid = resampled.grid(settings)
    largest = max((max(header.rows, header.columns) for header in headers), default=0)
    if grid is not None:  # slices may become rows or columns
        largest = max([largest, *(len(one.slices) for one in series)])
    size = None if settings.size == "keep" else settings.size
    side = None if size is None else min(size, largest)
    channels = max((header.channels for header in headers), default=1)
    like = Job(
        volumes=(),
        dtype="",
        side=side,
        largest=size,
        channels=channels,
        how=how,
        grid=grid,
        splits_gaps=settings.gaps == "single",
    )
    batches = [Batch(found, _job(found, like)) for found in _together(series)]
    return sorted(batches, key=lambda batch: (batch.job.dtype, batch.job.shape))


def seconds(jobs: Sequence[Job], pool: Pool) -> tuple[float, int]:
    """Return how long decoding takes, judged from a few jobs spread over all, and how many these.

    Args:
        jobs: All of them.
        pool: Where they would be decoded.
    """
    few = [jobs[k] for k in np.unique(np.linspace(0, len(jobs) - 1, _TRIAL).astype(int))]
    started = time.perf_counter()
    decoded = pool.run(decoding.decode, few, _work(1))
    timed = sum(len(job.sources) for job, _ in zip(few, decoded, strict=True))
    pace = (time.perf_counter() - started) / timed
    return pace * sum(len(job.sources) for job in jobs), len(few)


def disk_bytes(jobs: Sequence[Job]) -> int:
    """Return the size of the pixels and the tables on disk."""
    n_images = [len(job.sources) for job in jobs]
    sizes = [math.prod(job.shape) * np.dtype(job.dtype).itemsize + _ROW_BYTES for job in jobs]
    return _FIXED_BYTES + sum(n * size for n, size in zip(n_images, sizes, strict=True))


def write(
    folder: Path,
    survey: Survey,
    books: Books,
    reporter: Reporter,
    pool: Pool,
    part: Part = WHOLE,
) -> Written:
    """Write the pixel shards of an archive and return the rows that describe them.

    Holds a few series in memory. Each shard is journaled when it is on disk.

    Args:
        folder: Where the pixels go.
        survey: What was found.
        books: What is done already, and where to note what is done now.
        reporter: Where progress goes.
        pool: Where series are decoded.
        part: Which share of the series.
    """
    written = Written(rejects=dict(survey.rejects))
    file_ids = {file.path: books.file_id(file) for file in survey.files}
    batches = [batch for batch in _known_as(survey, books, file_ids) if part.has(batch.digest)]
    books.want(batch.digest for batch in batches)
    n_shards = 0
    days = catalogue.first_days(survey.entries)
    seen: set[tuple[str, int, str]] = set()
    rows: tuple[list[catalogue.Row], list[catalogue.Row]] = ([], [])
    waiting: list[SeriesRow] = []  # of which no image could be decoded
    decoded = _decoded(batches, books, reporter, pool, written, waiting)
    for shard in shards.pack(folder, decoded, books.replaces):
        for one in shard:
            batch = one.owner
            paths, sources = batch.job.paths, batch.job.sources
            found = catalogue.image_rows(
                batch.series, one.outcome, one.place, days, seen, books.key
            )
            for row, piece, image in found:
                image_id = str(row["image_id"])
                rows[0].append(row)
                rows[1].extend(catalogue.label_rows(image_id, piece.entry, survey.joined.targets))
                for source, file in image.origins:
                    images_of = written.images_of.setdefault(paths[file], [])
                    images_of.append((image_id, sources[source].number))
        if len(rows[0]) >= _BATCH:
            _flush(written, rows)
        done = [*waiting, *map(_series_row, shard)]
        _commit(books, done, [one.owner for one in shard], file_ids, written)
        waiting.clear()
        written.channels = batch.job.channels
        n_shards += 1
    _flush(written, rows)
    _commit(books, waiting, [], file_ids, written)
    pixels.drop_from(folder, n_shards)
    for path in written.images_of:  # of a file of which a part was left out, the rest is there
        written.rejects.pop(path, None)
    return written


def _known_as(survey: Survey, books: Books, file_ids: Mapping[Path, str]) -> Iterator[Batch]:
    """Yield all batches with what the journal knows them by."""
    settings = survey.joined.settings
    for batch in order(survey.series, settings, survey.how):
        yield replace(
            batch,
            digest=books.digest(batch.job, file_ids),
            rejects_gaps=settings.gaps == "reject",
            min_slices=settings.min_slices,
        )


def _decoded(
    batches: Sequence[Batch],
    books: Books,
    reporter: Reporter,
    pool: Pool,
    written: Written,
    failed: list[SeriesRow],
) -> Iterator[tuple[Batch, Decoded]]:
    """Yield the batches that have at least one image, and note what was rejected."""
    known = {batch.digest for batch in batches if books.knows(batch.digest)}
    todo = [batch.job for batch in batches if batch.digest not in known]
    n_images = sum(len(job.sources) for job in todo)
    chunk = max(1, _CHUNK * len(todo) // max(1, n_images))
    results = pool.run(decoding.decode, todo, _work(chunk))
    tracked = reporter.track(batches, task="decoding", total=len(batches), unit="series")
    for batch in tracked:
        found: Decoded | Outcome
        if batch.digest in known:
            found = books.known(batch.digest)
        else:
            result = next(results)
            assert not isinstance(result, Opened), "such a job needs a pool that resamples"
            found = _lost(batch.job, result) if isinstance(result, Lost) else result
        outcome = found if isinstance(found, Outcome) else found.outcome
        if (code := _unwanted(batch, outcome)) is not None:
            found = outcome = _without_any(batch.job, outcome, code)
        paths, patient = batch.job.paths, batch.patient
        written.rejects |= {
            paths[file]: Reject("decode", code, patient) for file, code in outcome.rejected
        }
        stacks = zip(batch.series, outcome.stacks, strict=True)
        written.stacks |= {series.key: stack for series, stack in stacks if stack is not None}
        if isinstance(found, Outcome) or not found.outcome.images:
            failed.append(SeriesRow(batch.digest, "work", 0, 0, 0, bookkeeping.dumped(outcome)))
        else:
            yield batch, found


def _lost(job: Job, lost: Lost) -> Outcome:
    """Return the outcome of a job that no process has survived, whatever file was left out."""
    rejected = tuple((file, lost.code) for file in range(len(job.paths)))
    return Outcome(images=(), stacks=(None,) * len(job.volumes), rejected=rejected)


def _unwanted(batch: Batch, outcome: Outcome) -> Code | None:
    """Return why series that lost slices when they were decoded are left out; None: they stay."""
    if not outcome.images:
        return None
    left = {source for image in outcome.images for source, _ in image.origins}
    first, short = 0, []
    for series in batch.series:
        n_slices = len(left.intersection(range(first, first + len(series.slices))))
        short.append(grouping.has_become_short(series, n_slices, batch.min_slices))
        first += len(series.slices)
    if all(short):
        return Code.SKIPPED_SHORT_SERIES
    has_gap = any(stack and stack.has_gap for stack in outcome.stacks)
    return Code.GAP if batch.rejects_gaps and has_gap else None


def _without_any(job: Job, outcome: Outcome, code: Code) -> Outcome:
    """Return the outcome of series of which nothing is kept."""
    told = dict(outcome.rejected)
    rejected = tuple((file, told.get(file, code)) for file in range(len(job.paths)))
    return Outcome(images=(), stacks=(None,) * len(job.volumes), rejected=rejected)


def _series_row(one: Packed[Batch]) -> SeriesRow:
    outcome = bookkeeping.dumped(one.outcome)
    return SeriesRow(one.owner.digest, "work", one.place.shard, one.place.row, one.count, outcome)


def _commit(
    books: Books,
    series: Sequence[SeriesRow],
    batches: Sequence[Batch],
    file_ids: Mapping[Path, str],
    written: Written,
) -> None:
    """Journal what is on disk now."""
    paths = [path for batch in batches for path in batch.job.paths]
    done = [file_ids[path] for path in paths if path in written.images_of]
    rejects = {
        file_ids[path]: (reject.stage, reject.code.value)
        for path, reject in written.rejects.items()
        if reject.stage == "decode" and path not in written.images_of
    }
    books.wrote(series, done, rejects)


def _together(series: Iterable[Series]) -> list[tuple[Series, ...]]:
    """Return each series alone, but those that lie in one file together: it is read only once."""
    found: dict[object, list[Series]] = {}
    for one in series:
        paths = {piece.entry.file.path for piece in one.slices}
        name = paths.pop() if len(paths) == 1 else one.key
        found.setdefault(name, []).append(one)
    return [tuple(batch) for batch in found.values()]


def _job(batch: Sequence[Series], like: Job) -> Job:
    """Return a job for some series; all else is as in another."""
    headers = [piece.entry.header for series in batch for piece in series.slices]
    return replace(
        like,
        volumes=tuple(tuple(map(_source, series.slices)) for series in batch),
        dtype=intensity.policy(headers).dtype,
    )


def _source(piece: Slice) -> Source:
    copies = tuple(
        Copy(
            path=copy.entry.file.path,
            header=copy.entry.header,
            number=copy.number,
            otherwise=copy.otherwise,
        )
        for copy in piece.copies
    )
    entry = piece.entry
    return Source(path=entry.file.path, header=entry.header, number=piece.number, copies=copies)


def _work(chunk: int) -> Work[Job]:
    return Work(chunk=chunk, claims=decoding.claims, without=decoding.without)


def _flush(written: Written, rows: tuple[list[catalogue.Row], list[catalogue.Row]]) -> None:
    image_rows, label_rows = rows
    written.image_tables.append(tables.build(image_rows, IMAGES))
    written.label_tables.append(tables.build(label_rows, LABELS))
    image_rows.clear()
    label_rows.clear()
