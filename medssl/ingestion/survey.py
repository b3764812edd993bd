"""Look at everything before a pixel is decoded: which files, whose they are, which series."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.config.ingest import IngestSettings
from medssl.foundation.errors import UsageError
from medssl.foundation.reporting import Reporter
from medssl.ingestion import assignment, discover, grouping, joining, sniff
from medssl.ingestion.assignment import Entry, Rules
from medssl.ingestion.codes import Code
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.grouping import Series
from medssl.ingestion.header import Header
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.joining import Joined
from medssl.ingestion.workers import Workers

SMOKE_FILES = 64
_CHUNK = 32  # headers read per task
_SNIFFED = frozenset(
    {Code.SKIPPED_TEXT, Code.SKIPPED_OTHER, Code.EMPTY_FILE, Code.UNREADABLE,
     Code.UNSUPPORTED_FORMAT, Code.ARRAY_LAYOUT, Code.SKIPPED_LINK, Code.SKIPPED_SPECIAL}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a file is not in the archive, and at which step that was found."""

    stage: str  # sniff, header, group, geometry, decode
    code: Code
    patient_key: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Survey:
    """What was found."""

    files: Sequence[SourceFile]
    rejects: Mapping[Path, Reject]
    entries: Sequence[Entry]  # readable and accepted
    series: Sequence[Series]
    joined: Joined  # with the labels


def find(settings: IngestSettings, out: Path | None = None) -> list[SourceFile]:
    """Return the files below the sources.

    Args:
        settings: Of the ingest.
        out: The archive to come; left out where it lies inside a source.

    Raises:
        UsageError: A source does not exist, or lies inside the output.
        DataError: A source cannot be listed.
    """
    target = out.expanduser().resolve() if out is not None else None
    for source in settings.sources:
        root = source.expanduser().resolve()
        if target is not None and (root == target or target in root.parents):
            raise UsageError(
                "the source lies inside the output", where=str(source), fix="choose another --out"
            )
    files = discover.walk(settings.sources, exclude=target)
    if settings.smoke and len(files) > SMOKE_FILES:
        return [files[n * len(files) // SMOKE_FILES] for n in range(SMOKE_FILES)]
    return files


def look(
    files: Sequence[SourceFile],
    settings: IngestSettings,
    key: SiteKey,
    reporter: Reporter,
    workers: Workers,
) -> Survey:
    """Read all headers, join the labels, and gather the images into series.

    Raises:
        UsageError: A rule for patient, site or series is wrong.
        DataError: The label table is refused.
    """
    rules = Rules(settings.patient, settings.site, settings.series, settings.patient_scope)
    assignment.check(rules)
    headers, rejects = _headers(files, reporter, workers)
    _tell_about_files(files, reporter)
    readable = [file for file in files if file.path in headers]
    items = [item for file in readable for item in assignment.items(file, headers[file.path])]
    joined = joining.join(items, settings, reporter)
    entries = assignment.assign(items, joined.rows, rules, key)
    mixed = assignment.mixed_studies(entries)
    rejects |= {
        entry.file.path: Reject("group", Code.MIXED_PATIENTS, entry.patient_key)
        for entry in entries
        if entry.study_key in mixed
    }
    accepted = [entry for entry in entries if entry.study_key not in mixed]
    series = grouping.gather(accepted, key)
    _tell_what_auto_meant(accepted, rules, reporter)
    _tell_about_patients(accepted, rules, reporter)
    _tell_about_copies(series, joined.targets, reporter)
    return Survey(
        files=files,
        rejects=rejects,
        entries=accepted,
        series=series,
        joined=joined,
    )


def _headers(
    files: Sequence[SourceFile], reporter: Reporter, workers: Workers
) -> tuple[dict[Path, Header], dict[Path, Reject]]:
    headers: dict[Path, Header] = {}
    rejects = {file.path: Reject("sniff", file.code) for file in files if file.code is not None}
    paths = [file.path for file in files if file.code is None]
    results = workers.run(sniff.read_header, paths, chunk=_CHUNK)
    tracked = reporter.track(results, task="reading headers", total=len(paths), unit="files")
    for path, result in zip(paths, tracked, strict=True):
        if isinstance(result, Header):
            headers[path] = result
        else:
            code = result if isinstance(result, Code) else Code.WORKER_DIED
            rejects[path] = Reject(_stage(code), code)
    return headers, rejects


def _stage(code: Code) -> str:
    if code is Code.NO_ORIENTATION:
        return "geometry"
    return "sniff" if code in _SNIFFED else "header"


def _tell_about_files(files: Sequence[SourceFile], reporter: Reporter) -> None:
    closed = sum(file.code is Code.UNREADABLE for file in files)
    if closed:
        reporter.warn(
            f"files: {closed} folders or files cannot be opened; what lies in them is missing, and "
            "private/paths.parquet names them"
        )


def _tell_what_auto_meant(entries: Sequence[Entry], rules: Rules, reporter: Reporter) -> None:
    told = {
        "patient": Counter(assignment.patient_from(entry) for entry in entries),
        "site": Counter(assignment.site_from(entry) for entry in entries),
        "series": Counter(assignment.series_from(entry) for entry in entries),
    }
    for name, counts in told.items():
        if getattr(rules, name) == "auto" and entries:
            of = assignment.counted(entries)
            parts = ", ".join(f"{place} of {n} {of}" for place, n in sorted(counts.items()))
            reporter.note(f"{name} auto: {parts}")


def _tell_about_patients(entries: Sequence[Entry], rules: Rules, reporter: Reporter) -> None:
    unnamed = sum("no_patient" in entry.flags for entry in entries)
    if unnamed:
        reporter.warn(
            f"patients: {unnamed} of {len(entries)} {assignment.counted(entries)} name no "
            "patient; each study or loose image of them counts as a patient of its own"
        )
    shared = assignment.shared_ids(entries) if rules.scope == "key" else 0
    if shared:
        reporter.warn(
            f"patients: {shared} patient ids occur at more than one site and count as one person "
            "each; if ids are given out per site, use --set patient_scope=site"
        )


def _tell_about_copies(
    series: Sequence[Series], targets: Sequence[str], reporter: Reporter
) -> None:
    disagreeing = sum(
        bool(copy.row) and copy.row.get(name) != piece.entry.row.get(name)
        for one in series
        for piece in one.slices
        for copy in piece.copies
        for name in targets
    )
    if disagreeing:
        reporter.warn(
            f"labels: {disagreeing} labels of duplicate files differ from those of the copy that "
            "is kept (the first by path)"
        )
