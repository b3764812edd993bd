"""`medssl ingest`: from a folder of DICOM, NIfTI, picture and NumPy files to an archive.

Every file found is either in the archive or in the quarantine table with a code. Nothing that tells
who a patient is leaves the archive's `private/` folder. An ingest can be stopped anywhere: what is
on disk is journaled, and the archive appears when it is whole.
"""

import secrets
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medssl.artifacts import archive as formats
from medssl.artifacts import ingest_report, quarantine, source_paths, tables
from medssl.artifacts.archive import ArchiveInfo
from medssl.config.ingest import IngestSettings
from medssl.config.settings import to_plain
from medssl.foundation import files, garbage
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import DataError, PartialResult, ResourceError
from medssl.foundation.reporting import Recording, Reporter, Silent, Tee
from medssl.foundation.wording import counted, verb
from medssl.ingestion import (
    accounting,
    advice,
    archive_tables,
    cluster,
    identity,
    libraries,
    making,
    survey,
    writing,
)
from medssl.ingestion import workers as processes
from medssl.ingestion.accounting import Account
from medssl.ingestion.books import Books
from medssl.ingestion.codes import FIXES, MEANINGS, Code
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.making import Making, Mode
from medssl.ingestion.resampled import Resampling
from medssl.ingestion.survey import Reject, Survey
from medssl.ingestion.workers import GIB, Budget, Pool, Workers
from medssl.ingestion.writing import Part, Written
from medssl.reporting import contact_sheet, intake


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """What an ingest wrote."""

    archive: Path
    info: ArchiveInfo
    flow: tuple[tuple[str, int], ...]  # what was counted and how many, from files to patients
    notes: tuple[str, ...]
    problem: PartialResult | None  # too many files were rejected; the archive is usable

    def rows(self) -> list[tuple[str, str]]:
        """Return what the command line shows."""
        counts = [(name, f"{count:,}") for name, count in self.flow]
        report = ("report", str(self.archive / "report.html"))
        return [("archive", str(self.archive)), *counts, *self._targets(), report]

    def _targets(self) -> list[tuple[str, str]]:
        return [
            (f"target {name}", ", ".join(f"{value} {n:,}" for value, n in values.items()) or "none")
            for name, values in self.info.targets.items()
        ]


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What one of several ingests of the same files wrote."""

    folder: Path
    part: Part
    files_found: int
    images: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class IngestPlan:
    """What an ingest would write."""

    files_found: int
    kinds: Mapping[str, int]  # reader, or code of what would be rejected -> files
    images: int
    series: int
    patients: int
    settings: IngestSettings  # with the key of the label table as found
    notes: tuple[str, ...]
    cost: Cost


def run(
    settings: IngestSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    workers: int | str | None = None,
    mode: Mode = "new",
) -> IngestResult:
    """Write an archive.

    Args:
        settings: What to ingest and how.
        out: Archive folder; a new one must be absent or empty.
        reporter: Where progress goes.
        workers: Processes, or the address of a Dask scheduler; None for one process per core. The
            result is the same.
        mode: new; resume, to go on with an unfinished one; append, to add files to a finished one.
            Whichever way an archive came about, it is the same as from one ingest of all files.

    Raises:
        UsageError: A source is missing, the output is not empty, in use or made with other
            settings, or a setting is wrong.
        DataError: No file could be ingested, or the label table is refused.
        ArtifactError: There is nothing to resume or to append to.
        ResourceError: The disk is full or not writable, a source has vanished, or no worker
            process can start.
    """
    record = Recording()
    with _pool(settings, workers) as pool, making.opened(out, mode) as made:
        if not made.is_made:
            with made.begun(settings, mode, reporter or Silent()) as books:
                _make(settings, made, books, (reporter or Silent(), record), pool)
        made.publish()
    return _result(out, settings, record)


def run_part(
    settings: IngestSettings,
    out: Path,
    part: Part,
    reporter: Reporter | None = None,
    *,
    workers: int | str | None = None,
    mode: Mode = "new",
) -> PartResult:
    """Decode a share of the series, for `merge`; run one such ingest for each share.

    Every one of them reads all headers, since only they tell which files belong together.

    Raises:
        MedSSLError: As `run` does.
    """
    record = Recording()
    said = Tee(reporter or Silent(), record)
    with _pool(settings, workers) as pool, making.opened(out, mode) as made:
        with made.begun(settings, mode, reporter or Silent(), part=part) as books:
            seen = _look(settings, out, books, said, pool)
            written = writing.write(made.work, seen, books, said, pool, part)
            _require_sources(settings, out, seen, written, books)
        made.finish_part()
    return PartResult(
        folder=out,
        part=part,
        files_found=len(seen.files),
        images=written.images.num_rows,
        notes=(*record.notes, *record.warnings),
    )


def merge(
    parts: Sequence[Path],
    out: Path,
    reporter: Reporter | None = None,
    *,
    workers: int | str | None = None,
) -> IngestResult:
    """Write an archive from all parts that `run_part` has made of the same files.

    Raises:
        UsageError: A part is missing, comes twice, or has other settings.
        ArtifactError: One is no part or is unfinished.
        ResourceError: The disk is full or not writable.
    """
    record = Recording()
    with making.parts(parts) as others:
        settings = making.check_complete(others)
        with _pool(settings, workers) as pool, making.opened(out, "new") as made:
            with made.begun(settings, "new", reporter or Silent(), others=others) as books:
                _make(settings, made, books, (reporter or Silent(), record), pool)
            made.publish()
    return _result(out, settings, record)


def plan(
    settings: IngestSettings, reporter: Reporter | None = None, *, workers: int | str | None = None
) -> IngestPlan:
    """Say what `run` would do, from headers and a few decoded series; writes nothing, makes no key.

    Raises:
        UsageError: A source is missing or a setting is wrong.
        DataError: The label table is refused.
    """
    record = Recording()
    reporter = Tee(reporter or Silent(), record)
    found = survey.find(settings)
    path = identity.key_path(settings.key_file)
    key = identity.load(path) or SiteKey(secrets.token_bytes(identity.KEY_BYTES))
    started = time.perf_counter()
    with _pool(settings, workers) as pool:
        seen = survey.look(found, settings, key, reporter, pool)
        looking = time.perf_counter() - started
        if settings.resamples:
            reporter.note("resampling: images and disk are those of the files as they are")
        jobs = [batch.job for batch in writing.order(seen.series, settings, seen.how)]
        decoding, timed = writing.seconds(jobs, pool) if jobs else (0.0, 0)
    readers = {entry.file.path: entry.header.reader for entry in seen.entries}
    kinds = Counter(readers.values())
    kinds.update(reject.code.value for reject in seen.rejects.values())
    return IngestPlan(
        files_found=len(found),
        kinds=dict(sorted(kinds.items())),
        images=sum(len(job.sources) for job in jobs),
        series=len(seen.series),
        patients=len({entry.patient_key for entry in seen.entries}),
        settings=seen.joined.settings,
        notes=(*record.notes, *record.warnings),
        cost=Cost(
            seconds=looking + decoding,
            disk_bytes=writing.disk_bytes(jobs),
            memory_bytes=peak_memory(),
            basis=f"all headers and {timed} of {len(jobs)} series",
        ),
    )


def _make(
    settings: IngestSettings,
    made: Making,
    books: Books,
    reporters: tuple[Reporter, Recording],
    pool: Pool,
) -> None:
    """Write everything of an archive to where it is made."""
    said, record = Tee(*reporters), reporters[1]
    seen = _look(settings, made.out, books, said, pool)
    written = writing.write(made.work, seen, books, said, pool)
    _require_sources(settings, made.out, seen, written, books)
    _require_images(written.images.num_rows, written.rejects)
    spatial_dims = archive_tables.spatial_dims(seen.joined.settings, written, said)
    info = archive_tables.write(made.work, seen, written, books, spatial_dims)
    archive_tables.require_labels(made.out, settings, info)
    archive_tables.write_unmatched(made.work, seen.joined, said)
    for line in advice.remedies(info.quarantined):
        said.warn(line)
    resolved = seen.joined.settings.model_copy(update={"spatial_dims": spatial_dims})
    archive_tables.write_settings(made.work, made.out, resolved)
    told = [*record.notes, *(f"warning: {text}" for text in record.warnings)]
    archive_tables.write_log(made.work, told)
    _write_report(made.work, resolved, seen, written, (info, record.warnings))
    formats.write_info(made.work, info)


def _write_report(
    work: Path,
    settings: IngestSettings,
    seen: Survey,
    written: Written,
    told: tuple[ArchiveInfo, Sequence[str]],
) -> None:
    """Write `report.json` and the page that draws it.

    Warnings on label tables quote the names of tables and columns: they stay in `private/`.
    """
    info, warnings = told
    account = accounting.compose(
        Account(
            info=info,
            images=written.images,
            labels=written.labels,
            quarantine=quarantine.read(work),
            steps=accounting.steps(seen.recognised, seen.entries, seen.series),
            findings=accounting.findings(written.stacks),
            decoders=libraries.decoders(written.images),
            settings=to_plain(settings),
            warnings=[text for text in warnings if not text.startswith("labels:")],
        )
    )
    ingest_report.write(work, account)
    sheet = contact_sheet.draw(work, written.images) if settings.thumbnails else ()
    files.write_text(work / "report.html", intake.render(account, sheet))


def _look(settings: IngestSettings, out: Path, books: Books, said: Reporter, pool: Pool) -> Survey:
    found = survey.find(settings, out, books.remembered())
    books.see(found)
    tables.get_ready()  # while processes load
    seen = survey.look(found, settings, books.key, said, pool, books)
    _require_images(len(seen.series), seen.rejects)
    return seen


@contextmanager
def _pool(settings: IngestSettings, workers: int | str | None) -> Iterator[Pool]:
    """Yield where tasks run: processes, or a cluster with processes for what it loses."""
    budget = Budget(settings.file_seconds, int(settings.file_memory_gib * GIB))
    n_processes = processes.count(workers if isinstance(workers, int) else None)
    with garbage.kept_longer(), Workers(n_processes, budget) as pool:
        if isinstance(workers, str):
            with cluster.connected(workers, budget, pool) as remote:
                yield _resampling(settings, remote)
        else:
            yield _resampling(settings, pool.get_ready())


def _resampling(settings: IngestSettings, pool: Pool) -> Pool:
    """Return a pool that resamples what it has decoded, where that is asked for."""
    if not settings.resamples:
        return pool
    from medssl.data import resampling  # noqa: PLC0415 - torch takes seconds to load

    return Resampling(pool, resampling.resample)


def _result(out: Path, settings: IngestSettings, record: Recording) -> IngestResult:
    info = formats.read_info(out)
    return IngestResult(
        archive=out,
        info=info,
        flow=_flow(info),
        notes=(*record.notes, *record.warnings),
        problem=_problem(info, out, settings.max_rejects),
    )


def _require_sources(
    settings: IngestSettings, out: Path, seen: Survey, written: Written, books: Books
) -> None:
    """Stop where files could not be read that were there before."""
    codes = {path: reject.code for path, reject in written.rejects.items()}
    gone = [file for file in seen.files if codes.get(file.path) is Code.VANISHED]
    if not gone:
        return
    if (out / "archive.json").is_file():
        had = {row["file_id"] for row in source_paths.read(out).to_pylist() if row["image_id"]}
        if n := sum(books.file_id(file) in had for file in gone):
            raise DataError(
                f"{counted(n, 'file')} of the archive {verb(n, 'are')} gone and would have to be "
                "read again, as a series got new slices or larger images changed the stored size",
                where=str(out),
                fix="bring them back, or ingest what there is into another folder",
            )
    roots = [source for source in settings.sources if not source.expanduser().exists()]
    if roots:
        raise ResourceError(
            "the source has vanished while it was read",
            where=str(roots[0]),
            fix="bring it back, then continue with --resume",
        )


def _require_images(count: int, rejects: Mapping[Path, Reject]) -> None:
    if count:
        return
    codes = Counter(reject.code for reject in rejects.values()).most_common(3)
    told = "; ".join(f"{n} x {code.value}: {MEANINGS[code].rstrip('.')}" for code, n in codes)
    fixes = [FIXES[code] for code, _ in codes if code in FIXES]
    raise DataError(
        f"none of {counted(len(rejects), 'file')} could be ingested "
        f"({told or 'the folder is empty'})",
        fix=(fixes or ["give a folder with DICOM, NIfTI, PNG, JPEG, TIFF or MedMNIST files"])[0],
    )


def _flow(info: ArchiveInfo) -> tuple[tuple[str, int], ...]:
    skipped = {code: n for code, n in info.quarantined.items() if Code(code).is_skip}
    rejected = {code: n for code, n in info.quarantined.items() if code not in skipped}
    return (
        ("files found", info.files_found),
        ("left out by rule", sum(skipped.values())),
        *((f"  {code}", n) for code, n in skipped.items()),
        ("rejected", sum(rejected.values())),
        *((f"  {code}", n) for code, n in rejected.items()),
        ("files written", info.files_written),
        ("images", info.images),
        ("series", info.series),
        ("studies", info.studies),
        ("patients", info.patients),
    )


def _problem(info: ArchiveInfo, out: Path, max_rejects: float) -> PartialResult | None:
    rejected = sum(n for code, n in info.quarantined.items() if not Code(code).is_skip)
    considered = rejected + info.files_written
    if rejected <= max_rejects * considered:
        return None
    return PartialResult(
        f"{rejected:,} of {counted(considered, 'image file')} {verb(rejected, 'were')} rejected, "
        f"more than {max_rejects:.0%}",
        where=str(out),
        fix=f"list them with `medssl info {shlex.quote(str(out))} --quarantined`; "
        "accept them with --max-rejects 1",
    )
