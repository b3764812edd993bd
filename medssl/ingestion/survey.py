"""Look at everything before a pixel is decoded: which files, whose they are, which series."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from medssl.artifacts import journal as journals
from medssl.config.ingest import IngestSettings
from medssl.foundation.errors import UsageError
from medssl.foundation.reporting import Reporter
from medssl.foundation.wording import counted, verb
from medssl.ingestion import (
    assignment,
    decoding,
    discover,
    grouping,
    joining,
    overlooked,
    resampled,
    roles,
)
from medssl.ingestion.assignment import Entry, Rules
from medssl.ingestion.books import Books
from medssl.ingestion.codes import Code
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.grouping import Series
from medssl.ingestion.header import Header, Reading
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.joining import Joined
from medssl.ingestion.workers import Lost, Pool, Work

SMOKE_FILES = 64
_CHUNK = 32  # headers read per task
_JOURNALED = 2048  # headers read between two entries in the journal
_SNIFFED = frozenset(
    {Code.SKIPPED_TEXT, Code.SKIPPED_OTHER, Code.EMPTY_FILE, Code.UNREADABLE, Code.VANISHED,
     Code.UNSUPPORTED_FORMAT, Code.ARRAY_LAYOUT, Code.SKIPPED_LINK, Code.SKIPPED_SPECIAL,
     Code.SKIPPED_EXCLUDED, Code.ENCRYPTED, Code.NESTED_ARCHIVE}
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
    recognised: Sequence[Entry]  # everything with a header
    entries: Sequence[Entry]  # of that, what goes into the archive if it can be decoded
    series: Sequence[Series]
    joined: Joined  # with the labels
    how: Reading


def find(
    settings: IngestSettings, out: Path | None = None, remembered: Sequence[SourceFile] = ()
) -> list[SourceFile]:
    """Return the files below the sources.

    Args:
        settings: Of the ingest.
        out: The archive to come; left out where it lies inside a source.
        remembered: Files that an earlier ingest of the archive found, and those sources, may be
            gone by now.

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
        if (root / "private" / journals.NAME).is_file():
            raise UsageError(
                "the source is an archive, or a part of one",
                where=str(source),
                fix="--merge parts; name an archive to add files to with -o and --append",
            )
    expendable = {file.source for file in remembered}
    numbers = [
        number
        for number, source in enumerate(settings.sources)
        if number not in expendable or source.expanduser().exists()
    ]
    walked = discover.walk([settings.sources[number] for number in numbers], exclude=target)
    files = [
        replace(file, source=numbers[file.source], code=file.code or _excluded(file, settings))
        for file in walked
    ]
    here = {(file.source, file.relative) for file in files}
    folders = {file.path.parent for file in walked}
    within = {parent for folder in folders for parent in (folder, *folder.parents)}  # a ZIP by now
    files += [
        file
        for file in remembered
        if (file.source, file.relative) not in here and file.path not in within
    ]
    files.sort(key=lambda file: (file.source, os.fsencode(file.relative)))
    if settings.smoke and len(files) > SMOKE_FILES:
        return [files[n * len(files) // SMOKE_FILES] for n in range(SMOKE_FILES)]
    return files


def _excluded(file: SourceFile, settings: IngestSettings) -> Code | None:
    """Return the code of files that the user wants to be left out; `*` fits any part of a path."""
    path = f"/{file.relative}"
    is_left_out = any(  # */masks/* is meant to hold at the top as well
        fnmatchcase(path, pattern) or fnmatchcase(path, f"/{pattern.lstrip('/')}")
        for pattern in settings.exclude
    )
    return Code.SKIPPED_EXCLUDED if is_left_out else None


def reading(settings: IngestSettings) -> Reading:
    """Return how files are read."""
    return Reading(colour=settings.colour, four_d=settings.four_d)


def look(
    files: Sequence[SourceFile],
    settings: IngestSettings,
    key: SiteKey,
    reporter: Reporter,
    pool: Pool,
    books: Books | None = None,
) -> Survey:
    """Read all headers, join the labels, and gather the images into series.

    Args:
        files: What was found.
        settings: Of the ingest.
        key: The institution's key.
        reporter: Where progress goes.
        pool: Where headers are read.
        books: Where what was found is remembered; None to leave no trace.

    Raises:
        UsageError: A rule for patient, site or series is wrong.
        DataError: The label table is refused.
    """
    rules = Rules(settings.patient, settings.site, settings.series, settings.patient_scope)
    assignment.check(rules)
    how = reading(settings)
    headers, rejects = _headers(files, how, reporter, pool, books)
    _tell_about_files(files, reporter)
    readable = [file for file in files if file.path in headers]
    items = [item for file in readable for item in assignment.items(file, headers[file.path])]
    overlooked.tell(files, items, settings, reporter)
    joined = joining.join(items, settings, reporter)
    entries = assignment.assign(items, joined.rows, rules, key)
    rejects |= _left_out(entries, settings)
    accepted = [entry for entry in entries if entry.file.path not in rejects]
    gathered = grouping.gather(accepted, key, gaps=settings.gaps, min_slices=settings.min_slices)
    resampled.check_labels(gathered.series, joined)
    patients = {entry.file.path: entry.patient_key for entry in accepted}
    rejects |= {
        path: Reject("geometry", code, patients[path]) for path, code in gathered.rejected.items()
    }
    accepted = [entry for entry in accepted if entry.file.path not in rejects]
    _tell_what_auto_meant(accepted, rules, reporter)
    _tell_about_patients(accepted, rules, reporter)
    _tell_about_copies(gathered.series, joined.targets, reporter)
    if books is not None:
        codes = {file: rejects[file.path] for file in files if file.path in rejects}
        books.grouped(
            (file for file in files if file.path not in rejects),
            {file: (reject.stage, reject.code) for file, reject in codes.items()},
        )
    return Survey(
        files=files,
        rejects=rejects,
        recognised=entries,
        entries=accepted,
        series=gathered.series,
        joined=joined,
        how=how,
    )


def _left_out(entries: Sequence[Entry], settings: IngestSettings) -> dict[Path, Reject]:
    """Return the images that are not asked for, and those of which it is unclear whose they are."""
    found = {}
    mixed = assignment.mixed_studies(entries)
    codes = [roles.rejection(entry.header.roles, settings.include) for entry in entries]
    originals = {
        (entry.study_key, entry.facts.modality)
        for entry, code in zip(entries, codes, strict=True)
        if code is None
    }
    for entry, code in zip(entries, codes, strict=True):
        has_original = (entry.study_key, entry.facts.modality) in originals
        if code is Code.SKIPPED_REFORMAT and not has_original:
            code = None  # it is all there is of the scan
        if code is not None:
            found[entry.file.path] = Reject("header", code, entry.patient_key)
        elif entry.study_key in mixed:
            found[entry.file.path] = Reject("group", Code.MIXED_PATIENTS, entry.patient_key)
    return found


def _headers(
    files: Sequence[SourceFile],
    how: Reading,
    reporter: Reporter,
    pool: Pool,
    books: Books | None,
) -> tuple[dict[Path, Header], dict[Path, Reject]]:
    headers: dict[Path, Header] = {}
    rejects = {file.path: Reject("sniff", file.code) for file in files if file.code is not None}
    found = {file: books.header(file) for file in files if file.code is None} if books else {}
    todo = [file for file in files if file.code is None and found.get(file) is None]
    task = partial(decoding.header, how)
    results = pool.run(task, [file.path for file in todo], Work(chunk=_CHUNK))
    tracked = reporter.track(results, task="reading headers", total=len(todo), unit="files")
    news: list[tuple[SourceFile, Header | Code, str]] = []
    for file, result in zip(todo, tracked, strict=True):
        read = result.code if isinstance(result, Lost) else result
        found[file] = read
        news.append((file, read, _stage(read)))
        if books and len(news) >= _JOURNALED:
            books.read(news)
            news = []
    if books:
        books.read(news)
    for file, header in found.items():
        if isinstance(header, Header):
            headers[file.path] = header
        elif header is not None:
            rejects[file.path] = Reject(_stage(header), header)
    return headers, rejects


def _stage(found: Header | Code) -> str:
    if found is Code.NO_ORIENTATION:
        return "geometry"
    return "sniff" if isinstance(found, Code) and found in _SNIFFED else "header"


def _tell_about_files(files: Sequence[SourceFile], reporter: Reporter) -> None:
    closed = sum(file.code is Code.UNREADABLE for file in files)
    if closed:
        reporter.warn(
            f"files: {counted(closed, 'folder or file' if closed == 1 else 'folders or files')} "
            "cannot be opened; what lies in there is missing, and private/paths.parquet says where"
        )


def _tell_what_auto_meant(entries: Sequence[Entry], rules: Rules, reporter: Reporter) -> None:
    told = {
        "patient": Counter(assignment.patient_from(entry) for entry in entries),
        "site": Counter(assignment.site_from(entry) for entry in entries),
        "series": Counter(assignment.series_from(entry) for entry in entries),
    }
    for name, counts in told.items():
        if getattr(rules, name) == "auto" and entries:
            parts = [
                f"{place} of {assignment.counted(n, entries)}"
                for place, n in sorted(counts.items())
            ]
            reporter.note(f"{name} auto: {', '.join(parts)}")


def _tell_about_patients(entries: Sequence[Entry], rules: Rules, reporter: Reporter) -> None:
    unnamed = sum("no_patient" in entry.flags for entry in entries)
    if unnamed:
        reporter.warn(
            f"patients: {unnamed:,} of {assignment.counted(len(entries), entries)} "
            f"{verb(unnamed, 'name')} no patient; each study or loose image of them counts as a "
            "patient of its own"
        )
    several = assignment.ids_of_several_people(entries)
    if several:
        reporter.warn(
            f"patients: {counted(several, 'patient id')} {verb(several, 'belong')} to images of "
            "women and of men or to several dates of birth, as an id that stands for nobody does; "
            "take the patients from a table with --patient col:NAME"
        )
    shared = assignment.shared_ids(entries) if rules.scope == "key" else 0
    if shared:
        reporter.warn(
            f"patients: {counted(shared, 'patient id')} {verb(shared, 'occur')} at more than one "
            f"site and {verb(shared, 'count')} as one person each; if ids are given out per site, "
            "use --set patient_scope=site"
        )


def _tell_about_copies(
    series: Sequence[Series], targets: Sequence[str], reporter: Reporter
) -> None:
    disagreeing = sum(
        bool(copy.entry.row) and copy.entry.row.get(name) != piece.entry.row.get(name)
        for one in series
        for piece in one.slices
        for copy in piece.copies
        for name in targets
    )
    if disagreeing:
        reporter.warn(
            f"labels: {counted(disagreeing, 'label')} of duplicate files "
            f"{verb(disagreeing, 'differ')} from the label of the copy that is kept (the first by "
            "path)"
        )
