"""What an ingest has done so far, so that nothing is done twice: the journal in ingest's words.

Headers and decoded series are remembered for files that have not changed since. A series is known
by a digest over its files and over all that decides how its pixels are stored.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, ValidationError

from medssl.artifacts import building, pixels
from medssl.artifacts.journal import FileRow, Journal, SeriesRow
from medssl.foundation.errors import ArtifactError
from medssl.ingestion import vocabulary
from medssl.ingestion.codes import Code
from medssl.ingestion.decoding import Job
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.header import VERSION, Header
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.shards import Known, Place
from medssl.ingestion.storing import Outcome

_HEADER = TypeAdapter(Header)
_OUTCOME = TypeAdapter(Outcome)
_READ = frozenset({"sniff", "header"})  # stages that look at one file alone
_NEVER_OPENED = frozenset({Code.SKIPPED_LINK, Code.SKIPPED_SPECIAL, Code.SKIPPED_EXCLUDED})
_WORTH_ANOTHER_TRY = frozenset(
    {Code.NO_DECODER, Code.UNREADABLE, Code.VANISHED, Code.WORKER_DIED, Code.TIMED_OUT,
     Code.OUT_OF_MEMORY}
)  # fmt: skip
_LONGEST_SHIFT = 365_000  # days
_LAST_DAY = date.max.toordinal()


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a file is still the same."""

    size: int | None
    changed: int | None  # ns


class Books:
    """The journal of an archive that is being written, and those of parts of it.

    Args:
        journal: Of this archive.
        key: The institution's key.
        places: Archives with their journals, this one's included, whose pixels may be used.
    """

    def __init__(
        self, journal: Journal, key: SiteKey, places: Sequence[tuple[Path, Journal]]
    ) -> None:
        self._journal = journal
        self.key = key
        self._shift = key.days(_LONGEST_SHIFT)
        same = [(folder, other) for folder, other in places if _is_readable(other)]
        self._rows = {row.file_id: row for _, other in same for row in other.files()}
        self._known: dict[str, tuple[Path, SeriesRow]] = {
            row.digest: (folder if row.area == "archive" else building.folder(folder), row)
            for folder, other in same
            for row in other.series().values()
            if not any(f'"{code}"' in row.outcome for code in _WORTH_ANOTHER_TRY)
        }
        self._stamps: dict[str, Stamp] = {}
        self._ids: dict[tuple[int, str], str] = {}
        self._shards: dict[tuple[Path, int], NDArray[np.generic]] = {}

    def file_id(self, file: SourceFile) -> str:
        """Return the id of a file."""
        name = (file.source, file.relative)
        if name not in self._ids:
            self._ids[name] = self.key.file(str(file.source), file.relative)
        return self._ids[name]

    def remembered(self) -> list[SourceFile]:
        """Return the files of an archive that is being added to; they may be gone by now."""
        n_sources = int(self._journal.facts().get("kept_sources", "0"))
        return [
            SourceFile(
                path=Path(os.fsdecode(row.path)),
                source=row.source,
                relative=os.fsdecode(row.relative),
                code=Code(row.code) if row.code in _NEVER_OPENED else None,
            )
            for row in self._rows.values()
            if row.source < n_sources
        ]

    def see(self, files: Iterable[SourceFile]) -> None:
        """Journal every file before any is opened."""
        new = []
        for file in files:
            name = self.file_id(file)
            before = self._rows.get(name)
            stamp = _stamp(file.path)
            if stamp.size is None and before is not None:  # gone: it is known as it was
                stamp = Stamp(before.size, before.changed)
            self._stamps[name] = stamp
            if before is not None and not _is_same(before, file, stamp):
                del self._rows[name]
            new.append(self._rows.get(name) or self._row(file))
        with self._journal.transaction():
            self._journal.put_files(new)

    def header(self, file: SourceFile) -> Header | Code | None:
        """Return what reading a file's header gave, None where it has to be read."""
        row = self._rows.get(self.file_id(file))
        if row is None:
            return None
        if row.header is None and row.code is not None and row.stage in _READ:
            return None if row.code in _WORTH_ANOTHER_TRY else Code(row.code)
        header = None if row.header is None else _loaded(row.header)
        return None if header is None else self._shifted(header, -self._shift)

    def read(self, found: Sequence[tuple[SourceFile, Header | Code, str]]) -> None:
        """Journal headers, or why there are none, with the stage where that was found."""
        rows = []
        for file, result, stage in found:
            row = self._row(file)
            if isinstance(result, Code):
                row = replace(row, state="quarantined", stage=stage, code=result.value)
            else:
                text = _dumped(self._shifted(result, self._shift))
                row = replace(row, state="header", header=text)
            rows.append(row)
        with self._journal.transaction():
            self._journal.put_files(rows)

    def grouped(
        self, accepted: Iterable[SourceFile], rejected: Mapping[SourceFile, tuple[str, Code]]
    ) -> None:
        """Journal which files belong to a series whose geometry is known, and which do not."""
        codes = {self.file_id(f): (stage, code.value) for f, (stage, code) in rejected.items()}
        with self._journal.transaction():
            self._journal.move("grouped", map(self.file_id, accepted))
            self._journal.quarantine(codes)

    def want(self, digests: Iterable[str]) -> None:
        """Say which series the archive will have, before any shard in the making is replaced.

        What the others would need is forgotten; what is known stays readable until the end.
        """
        wanted = set(digests)
        stale = [digest for digest in self._known if digest not in wanted]
        with self._journal.transaction():
            self._journal.forget(stale)
        self._known = {digest: self._known[digest] for digest in self._known.keys() & wanted}
        for place, row in self._known.values():
            if row.count and (place, row.shard) not in self._shards:
                self._shards[place, row.shard] = pixels.read(place, row.shard)

    def replaces(self, shard: int) -> None:
        """Say that a shard in the making is about to be replaced."""
        with self._journal.transaction():
            self._journal.forget_shard(shard)

    def knows(self, digest: str) -> bool:
        """Return whether series have been decoded."""
        return digest in self._known

    def known(self, digest: str) -> Known | Outcome:
        """Return decoded series; an outcome alone where none of them could be decoded."""
        place, row = self._known[digest]
        outcome = _OUTCOME.validate_json(row.outcome)
        if not row.count:
            return outcome
        stored = self._shards[place, row.shard][row.row : row.row + row.count]
        if len(stored) != row.count:
            raise ArtifactError(
                "the journal and the pixels disagree",
                where=str(pixels.shard_path(place, row.shard)),
                fix="ingest into a new folder",
            )
        return Known(pixels=stored, outcome=outcome, folder=place, place=Place(row.shard, row.row))

    def wrote(
        self,
        series: Iterable[SeriesRow],
        written: Iterable[str],
        rejected: Mapping[str, tuple[str, str]],
    ) -> None:
        """Commit a pixel shard that is on disk, and what became of the files of its series."""
        with self._journal.transaction():
            self._journal.put_series(series)
            self._journal.move("written", written)
            self._journal.quarantine(rejected)

    def digest(self, job: Job, file_ids: Mapping[Path, str]) -> str:
        """Return what a job is known by."""
        how = (
            VERSION, job.dtype, job.side, job.largest, job.channels, job.how, job.splits_gaps,
        )  # fmt: skip
        lines = [repr(how if job.grid is None else (*how, job.grid))]
        for volume in job.volumes:
            lines.append("series")
            for source in volume:
                for copy in source.candidates:
                    name = file_ids[copy.path]
                    stamp = self._stamps[name]
                    lines.append(f"{name} {stamp} {copy.number} {copy.header.unit}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _row(self, file: SourceFile) -> FileRow:
        stamp = self._stamps[self.file_id(file)]
        return FileRow(
            file_id=self.file_id(file),
            path=os.fsencode(file.path),
            source=file.source,
            relative=os.fsencode(file.relative),
            size=stamp.size,
            changed=stamp.changed,
            state="seen" if file.code is None else "quarantined",
            code=None if file.code is None else file.code.value,
        )

    def _shifted(self, header: Header, days: int) -> Header:
        """Return a header with its dates moved, so that no journal holds a date."""
        told = header.identity
        if not told.date and not told.born:
            return header
        moved = replace(told, date=_moved(told.date, days), born=_moved(told.born, days))
        return replace(header, identity=moved)


def _moved(told: str, days: int) -> str:
    day = vocabulary.parse_date(told)
    if day is None:
        return told
    moved = date.fromordinal((day.toordinal() + days - 1) % _LAST_DAY + 1)
    return f"{moved.year:04}{moved.month:02}{moved.day:02}"


def _is_same(row: FileRow, file: SourceFile, stamp: Stamp) -> bool:
    """Return whether the journal tells of this file as it is now."""
    is_here = row.path == os.fsencode(file.path)
    return is_here and (row.size, row.changed) == (stamp.size, stamp.changed)


def _is_readable(journal: Journal) -> bool:
    """Return whether headers in a journal say what readers say today."""
    return journal.facts().get("reading") == str(VERSION)


def _dumped(header: Header) -> str | None:
    try:
        return _HEADER.dump_json(header).decode()
    except PydanticSerializationError:  # text that is not Unicode: it will be read again
        return None


def _loaded(text: str) -> Header | None:
    try:
        return _HEADER.validate_json(text)
    except ValidationError:  # values that JSON lacks: it will be read again
        return None


def dumped(outcome: Outcome) -> str:
    """Return an outcome as JSON."""
    return _OUTCOME.dump_json(outcome).decode()


def _stamp(path: Path) -> Stamp:
    """Return the size and time of a file, or of the ZIP archive it lies in."""
    for place in (path, *path.parents):
        try:
            found = place.stat(follow_symlinks=False)
        except NotADirectoryError:
            continue
        except OSError:
            break
        return Stamp(found.st_size, found.st_mtime_ns)
    return Stamp(None, None)
