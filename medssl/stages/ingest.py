"""`medssl ingest`: from a folder of DICOM, NIfTI, picture and NumPy files to an archive.

Every file found is either in the archive or in the quarantine table with a code. Nothing that tells
who a patient is leaves the archive's `private/` folder.
"""

import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import yaml

from medssl import __version__
from medssl.artifacts import archive as formats
from medssl.artifacts import quarantine, source_paths, tables, unmatched_labels
from medssl.artifacts.archive import ArchiveInfo
from medssl.config.ingest import IngestSettings
from medssl.config.settings import relative_to, to_plain
from medssl.foundation import files
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import DataError, PartialResult, UsageError
from medssl.foundation.reporting import Recording, Reporter, Silent, Tee
from medssl.ingestion import identity, survey, writing
from medssl.ingestion import workers as processes
from medssl.ingestion.codes import FIXES, MEANINGS, Code
from medssl.ingestion.decoding import Job
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.joining import Joined
from medssl.ingestion.survey import Reject, Survey
from medssl.ingestion.workers import Workers
from medssl.ingestion.writing import Written

_ROW_BYTES = 1000  # of the tables, per image
VOLUME_SLICES = 4  # fewer slices with positions are not counted as a volume


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
        return [("archive", str(self.archive)), *counts, *self._targets()]

    def _targets(self) -> list[tuple[str, str]]:
        return [
            (f"target {name}", ", ".join(f"{value} {n:,}" for value, n in values.items()))
            for name, values in self.info.targets.items()
        ]


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
    workers: int | None = None,
) -> IngestResult:
    """Write an archive.

    Args:
        settings: What to ingest and how.
        out: Archive folder to create; must be absent or empty.
        reporter: Where progress goes.
        workers: Processes; None for one per core where it is worth it. The result is the same.

    Raises:
        UsageError: A source is missing, the output is not empty, or a setting is wrong.
        DataError: No file could be ingested, or the label table is refused.
        ResourceError: The disk is full or not writable, or no worker process can start.
    """
    record = Recording()
    reporter = Tee(reporter or Silent(), record)
    _check_output(out)
    found = survey.find(settings, out)
    key, is_new = identity.load_or_create(_key_path(settings))
    if is_new:
        reporter.note("key: made the institution's key; keep a copy, it links later ingests")
    with Workers(processes.count(workers, len(found))) as pool:
        seen = survey.look(found, settings, key, reporter, pool)
        _require_images(len(seen.series), seen.rejects)
        with files.explained(out):
            out.mkdir(parents=True, exist_ok=True)
            private = source_paths.folder(out)
        written = writing.write(out, seen, key, reporter, pool)
    _require_images(written.images.num_rows, written.rejects)
    spatial_dims = _spatial_dims(seen.joined.settings, written, reporter)
    info = _write_tables(out, seen, written, key, spatial_dims)
    _write_unmatched(out, seen.joined, reporter)
    _tell_fixes(info, reporter)
    _write_private(private, seen, info, record)
    formats.write_info(out, info)
    return IngestResult(
        archive=out,
        info=info,
        flow=_flow(info),
        notes=(*record.notes, *record.warnings),
        problem=_problem(info, out, settings.max_rejects),
    )


def plan(
    settings: IngestSettings, reporter: Reporter | None = None, *, workers: int | None = None
) -> IngestPlan:
    """Say what `run` would do, from headers and a few decoded series; writes nothing, makes no key.

    Raises:
        UsageError: A source is missing or a setting is wrong.
        DataError: The label table is refused.
    """
    record = Recording()
    reporter = Tee(reporter or Silent(), record)
    found = survey.find(settings)
    key = identity.load(_key_path(settings)) or SiteKey(secrets.token_bytes(identity.KEY_BYTES))
    started = time.perf_counter()
    with Workers(processes.count(workers, len(found))) as pool:
        seen = survey.look(found, settings, key, reporter, pool)
        looking = time.perf_counter() - started
        jobs = [job for _, job in writing.order(seen.series, _size(settings))]
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
            disk_bytes=_bytes(jobs),
            memory_bytes=peak_memory(),
            basis=f"all headers and {timed} of {len(jobs)} series",
        ),
    )


def _bytes(jobs: Sequence[Job]) -> int:
    """Return the size of the pixels and the tables on disk."""
    pixels = sum(
        len(job.sources) * int(np.prod(writing.shape(job))) * np.dtype(job.dtype).itemsize
        for job in jobs
    )
    return pixels + _ROW_BYTES * sum(len(job.sources) for job in jobs)


def _check_output(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            "the output folder is not empty", where=str(out), fix="choose another --out"
        )


def _require_images(count: int, rejects: Mapping[Path, Reject]) -> None:
    if count:
        return
    codes = Counter(reject.code for reject in rejects.values()).most_common(3)
    told = "; ".join(f"{n} x {code.value}: {MEANINGS[code].rstrip('.')}" for code, n in codes)
    has_died = any(reject.code is Code.WORKER_DIED for reject in rejects.values())
    raise DataError(
        f"none of the {len(rejects)} files could be ingested ({told or 'the folder is empty'})",
        fix=""
        if has_died
        else "give a folder with DICOM, NIfTI, PNG, JPEG, TIFF or MedMNIST files",
    )


def _write_tables(
    out: Path, seen: Survey, written: Written, key: SiteKey, spatial_dims: int
) -> ArchiveInfo:
    """Write the tables and return what `archive.json` will say."""
    images = written.images
    assert pc.count_distinct(images["image_id"]).as_py() == images.num_rows
    ids = {file.path: _file_id(file, key) for file in seen.files}
    rejects = {ids[path]: reject for path, reject in written.rejects.items()}
    formats.write_images(out, images)
    formats.write_labels(out, written.labels)
    rows: list[dict[str, object]] = [
        {"file_id": file_id, "stage": r.stage, "code": r.code.value, "patient_key": r.patient_key}
        for file_id, r in sorted(rejects.items())
    ]
    quarantine.write(out, tables.build(rows, quarantine.QUARANTINE))
    source_paths.write(out, tables.build(_path_rows(seen, written, ids), source_paths.PATHS))
    size = _size(seen.joined.settings)
    return ArchiveInfo(
        medssl=__version__,
        size=size,
        spatial_dims=spatial_dims,
        key_id=key.key_id,
        files_found=len(seen.files),
        files_written=len(written.images_of),
        quarantined=dict(sorted(Counter(r.code.value for r in rejects.values()).items())),
        images=images.num_rows,
        series=pc.count_distinct(images["series_key"]).as_py(),
        studies=pc.count_distinct(images["study_key"]).as_py(),
        patients=pc.count_distinct(images["patient_key"]).as_py(),
        sites=tuple(sorted(name for name in images["site"].unique().to_pylist() if name)),
        targets=_target_counts(written),
        label_rows=_label_rows(seen.joined),
        hash=formats.content_hash(out),
    )


def _path_rows(seen: Survey, written: Written, ids: Mapping[Path, str]) -> list[dict[str, object]]:
    return [
        {"file_id": ids[file.path], "path": _as_text(file.path), "image_id": image, "frame": frame}
        for file in seen.files
        for image, frame in written.images_of.get(file.path, [(None, None)])
    ]


def _label_rows(joined: Joined) -> dict[str, int]:
    if not joined.n_table_rows:
        return {}
    n_files = sum(left.path is not None for left in joined.unmatched)
    return {
        "table_rows": joined.n_table_rows,
        "rows_without_file": len(joined.unmatched) - n_files,
        "files_without_row": n_files,
    }


def _write_unmatched(out: Path, joined: Joined, reporter: Reporter) -> None:
    """Write what labels and files have not in common, if there is anything."""
    if not joined.unmatched:
        return
    rows: list[dict[str, object]] = [
        {
            "table": None if left.table is None else _as_text(left.table),
            "line": left.line,
            "key": left.key,
            "path": None if left.path is None else _as_text(left.path),
        }
        for left in joined.unmatched
    ]
    unmatched_labels.write(out, tables.build(rows, unmatched_labels.UNMATCHED))
    counts = _label_rows(joined)
    reporter.note(
        f"labels: private/{unmatched_labels.NAME} lists {counts['rows_without_file']} rows without "
        f"a file and {counts['files_without_row']} files without a row"
    )


def _tell_fixes(info: ArchiveInfo, reporter: Reporter) -> None:
    for code, fix in FIXES.items():
        if (n := info.quarantined.get(code.value, 0)) > 0:
            reporter.warn(f"{code.value}: {n} files; {fix}")


def _write_private(private: Path, seen: Survey, info: ArchiveInfo, record: Recording) -> None:
    """Write the settings with their paths, and what was said; both stay in `private/`."""
    resolved = seen.joined.settings.model_copy(update={"spatial_dims": info.spatial_dims})
    plain = relative_to(private, to_plain(resolved))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [*record.notes, *(f"warning: {text}" for text in record.warnings)]
    for name, text in (
        ("config.yaml", yaml.safe_dump(plain, sort_keys=False)),
        ("log.txt", "".join(f"{now} {line}\n" for line in lines)),
    ):
        files.write_text(private / name, text)
        (private / name).chmod(0o600)


def _spatial_dims(settings: IngestSettings, written: Written, reporter: Reporter) -> int:
    """Return 3 where most images lie in series of several slices with positions, else 2."""
    if settings.spatial_dims != "auto":
        return settings.spatial_dims
    images = written.images
    placed = images.filter(pc.is_valid(images["affine"]))
    lengths = placed.group_by("series_key").aggregate([("image_id", "count")])["image_id_count"]
    in_volumes = sum(n for n in lengths.to_pylist() if n >= VOLUME_SLICES)
    found = 3 if 2 * in_volumes > images.num_rows else 2
    reporter.note(
        f"spatial_dims {found} (auto: {in_volumes} of {images.num_rows} images lie in volumes)"
    )
    return found


def _target_counts(written: Written) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    columns = written.labels.select(["target", "value"]).to_pydict()
    for target, value in zip(columns["target"], columns["value"], strict=True):
        counts.setdefault(target, Counter()).update([] if value is None else [value])
    return {target: dict(sorted(values.items())) for target, values in counts.items()}


def _flow(info: ArchiveInfo) -> tuple[tuple[str, int], ...]:
    skipped = {code: n for code, n in info.quarantined.items() if Code(code).is_skip}
    rejected = {code: n for code, n in info.quarantined.items() if code not in skipped}
    return (
        ("files found", info.files_found),
        ("not images", sum(skipped.values())),
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
        f"{rejected} of {considered} image files were rejected, more than {max_rejects:.0%}",
        where=str(out),
        fix="see quarantine.parquet for the codes; accept them with --set max_rejects=1",
    )


def _size(settings: IngestSettings) -> int | None:
    return None if settings.size == "keep" else settings.size


def _key_path(settings: IngestSettings) -> Path:
    return (settings.key_file or identity.default_key_path()).expanduser()


def _file_id(file: SourceFile, key: SiteKey) -> str:
    return key.file(str(file.source), file.relative)


def _as_text(path: Path) -> str:
    """Return a path as valid UTF-8, whatever bytes its name has."""
    return str(path).encode("utf-8", "backslashreplace").decode()
