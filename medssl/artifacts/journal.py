"""`private/journal.sqlite`: how far an ingest has come, for every file.

A file is ``seen``, then its ``header`` is known, then it is ``grouped`` into a series whose
geometry is known, then ``written``; or it is ``quarantined`` with a code. A transaction is the
commit point: what it says of a pixel shard became true before. Headers in it identify patients, so
it stays in `private/`; dates in them are shifted.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Literal, Self

from medssl.artifacts import schema
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError, ResourceError

SCHEMA = "medssl.journal/1"
NAME = "journal.sqlite"
State = Literal["seen", "header", "grouped", "written", "quarantined"]
Area = Literal["work", "archive"]  # pixels of an archive that is being made, or of one that is done

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
  file_id TEXT PRIMARY KEY, path BLOB NOT NULL, source INTEGER NOT NULL, relative BLOB NOT NULL,
  size INTEGER, changed INTEGER, state TEXT NOT NULL, stage TEXT, code TEXT, header TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
  digest TEXT NOT NULL, area TEXT NOT NULL, shard INTEGER NOT NULL, row INTEGER NOT NULL,
  count INTEGER NOT NULL, outcome TEXT NOT NULL, PRIMARY KEY (digest, area)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, repr=False)
class FileRow:
    """One file and how far it has come."""

    file_id: str
    path: bytes  # as the file system spells it
    source: int
    relative: bytes
    size: int | None  # bytes; with `changed` it tells whether the file is still the same
    changed: int | None  # time of the last change, ns
    state: State
    stage: str | None = None  # where it was quarantined
    code: str | None = None
    header: str | None = None  # JSON


@dataclass(frozen=True, slots=True, repr=False)
class SeriesRow:
    """Series that were decoded together, and where their pixels are."""

    digest: str  # of the files and of how they were read
    area: Area
    shard: int
    row: int
    count: int  # images; 0: none could be decoded
    outcome: str  # JSON


_FILE = attrgetter(*(field.name for field in fields(FileRow)))
_SERIES = attrgetter(*(field.name for field in fields(SeriesRow)))


class Journal:
    """The journal of one archive; `open` makes it if it is not there."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path = path
        self._database = database

    @classmethod
    def open(cls, private: Path) -> Self:
        """Open the journal in ``private``, mode 0600.

        Raises:
            ArtifactError: It is damaged or of another schema.
            ResourceError: It cannot be written.
        """
        path = private / NAME
        with _explained(path):
            path.touch(mode=0o600)
            database = sqlite3.connect(path, isolation_level=None)
            # No write-ahead log: it needs shared memory, which network file systems lack.
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(_TABLES)
        journal = cls(path, database)
        if (found := journal.facts().get("schema")) is None:
            journal.note(schema=SCHEMA)
        else:
            schema.require(found, SCHEMA, where=path)
        return journal

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything in the block at once, or nothing of it.

        Raises:
            ResourceError: The disk is full.
        """
        with _explained(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def facts(self) -> dict[str, str]:
        """Return what was noted about the ingest as a whole."""
        with _explained(self.path):
            return dict(self._database.execute("SELECT name, value FROM facts").fetchall())

    def note(self, **facts: str) -> None:
        """Note facts about the ingest as a whole."""
        with _explained(self.path):
            self._database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())

    def files(self) -> list[FileRow]:
        """Return all files, by source and relative path."""
        with _explained(self.path):
            rows = self._database.execute("SELECT * FROM files ORDER BY source, relative")
            return [FileRow(*row) for row in rows]

    def put_files(self, rows: Iterable[FileRow]) -> None:
        """Add files, or replace what is known of them."""
        places = ", ".join("?" * len(fields(FileRow)))
        with _explained(self.path):
            self._database.executemany(
                f"INSERT OR REPLACE INTO files VALUES ({places})", map(_FILE, rows)
            )

    def move(self, state: State, file_ids: Iterable[str]) -> None:
        """Say that files have come to ``state``."""
        with _explained(self.path):
            self._database.executemany(
                "UPDATE files SET state = ?, stage = NULL, code = NULL WHERE file_id = ?",
                ((state, file_id) for file_id in file_ids),
            )

    def quarantine(self, codes: Mapping[str, tuple[str, str]]) -> None:
        """Say of files, by their id, at which stage they were rejected, and why."""
        with _explained(self.path):
            self._database.executemany(
                "UPDATE files SET state = 'quarantined', stage = ?, code = ? WHERE file_id = ?",
                ((stage, code, file_id) for file_id, (stage, code) in codes.items()),
            )

    def series(self) -> dict[str, SeriesRow]:
        """Return all series by digest; as they are in the making where they are in both areas."""
        with _explained(self.path):
            rows = self._database.execute("SELECT * FROM series ORDER BY area")
            return {row[0]: SeriesRow(*row) for row in rows}

    def put_series(self, rows: Iterable[SeriesRow]) -> None:
        """Add series, or replace where they are."""
        with _explained(self.path):
            self._database.executemany(
                "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?)", map(_SERIES, rows)
            )

    def forget(self, digests: Iterable[str]) -> None:
        """Forget series that are in no archive yet."""
        with _explained(self.path):
            self._database.executemany(
                "DELETE FROM series WHERE area = 'work' AND digest = ?",
                ((digest,) for digest in digests),
            )

    def forget_shard(self, shard: int | None) -> None:
        """Forget what a shard in the making holds, before it is replaced; None: all of them."""
        with _explained(self.path):
            self._database.execute(
                "DELETE FROM series WHERE area = 'work' AND (shard = ? OR ? IS NULL)",
                (shard, shard),
            )

    def publish(self, **facts: str) -> None:
        """Say that what was being made is the archive now, and note facts about it."""
        with self.transaction():
            self._database.execute("DELETE FROM series WHERE area = 'archive'")
            self._database.execute("UPDATE series SET area = 'archive'")
            self.note(**facts)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        with files.explained(path):
            yield
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise ResourceError(
                "the disk is full", where=str(path.parent), fix="free space, then run again"
            ) from error
        raise ResourceError(
            "the journal cannot be written", where=str(path), fix="check permissions and disk"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ArtifactError(
            "the journal is damaged", where=str(path), fix="ingest into a new folder"
        ) from error
