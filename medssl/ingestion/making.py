"""An archive while it is being made: one writer, a journal, and settings that do not change."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from medssl.artifacts import building, source_paths
from medssl.artifacts import journal as journals
from medssl.artifacts.journal import Journal
from medssl.config import loading
from medssl.config.ingest import IngestSettings
from medssl.config.settings import relative_to, to_plain
from medssl.foundation import files, locks
from medssl.foundation.errors import ArtifactError, DataError, UsageError
from medssl.foundation.reporting import Reporter
from medssl.ingestion import identity
from medssl.ingestion.books import Books
from medssl.ingestion.header import VERSION
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.writing import WHOLE, Part

Mode = Literal["new", "resume", "append"]

_LOCK = "lock"
_BEGUN = Path("private", "begun.yaml")  # settings as given, of what is being made
_GIVEN = Path("private", "given.yaml")  # and of what is done; config.yaml has every auto replaced
_POLICY = (
    "size", "colour", "four_d", "gaps", "min_slices", "include", "patient", "site", "series",
    "patient_scope", "spacing", "orientation",
)  # fmt: skip  # settings that all images of an archive have in common
_WORK = building.folder(Path())
_START = {
    Path("private"), Path("private", _LOCK), Path("private", journals.NAME), _WORK,
    _WORK / "private", _WORK / "pixels", _BEGUN,
}  # fmt: skip  # what an ingest makes before it begins
_CHEAP = 10_000  # files; of fewer, headers are read again rather than kept after a wrong setting


@dataclass(frozen=True)
class Making:
    """An archive that this process alone may write."""

    out: Path
    journal: Journal

    @property
    def work(self) -> Path:
        """Folder where it is made."""
        return building.folder(self.out)

    @property
    def is_made(self) -> bool:
        """Whether only moving it to its place is left to do."""
        return self.journal.facts().get("state") == "publishing"

    @contextmanager
    def begun(
        self,
        settings: IngestSettings,
        mode: Mode,
        reporter: Reporter,
        *,
        part: Part = WHOLE,
        others: Sequence[tuple[Path, Journal]] = (),
    ) -> Iterator[Books]:
        """Note how the rest is to be done, and yield the books of what is done already.

        Where the block finds the user's settings or data wrong, nothing stands in the way of the
        same command put right: a new archive is given up, one that was added to is as before.

        Args:
            settings: Of this ingest.
            mode: Whether the archive is new, unfinished or finished.
            reporter: Where it is said that a key was made.
            part: Which share of the series is decoded.
            others: Archives whose pixels may be used, with their journals.

        Raises:
            UsageError: The archive was begun with other settings, as another part, or with another
                key.
        """
        books = self._begin(settings, mode, reporter, part, others)
        try:
            yield books
        except (UsageError, DataError):
            self._forsake()
            raise

    def _begin(
        self,
        settings: IngestSettings,
        mode: Mode,
        reporter: Reporter,
        part: Part,
        others: Sequence[tuple[Path, Journal]],
    ) -> Books:
        plain = relative_to(self.out / "private", to_plain(settings))
        facts = self.journal.facts()
        if mode == "resume":
            _check_same(plain, _read(self.out / _BEGUN), ("sources", "smoke", *_POLICY), self.out)
            _check_part(facts.get("part", str(WHOLE)), part, self.out)
        if mode == "append":
            _check_same(plain, _read(self.out / _GIVEN), _POLICY, self.out)
            _check_whole(settings, self.out)
        key = _key(settings, facts.get("key_id"), reporter)
        books = Books(self.journal, key, [(self.out, self.journal), *others])
        building.begin(self.out)
        files.write_text(self.out / _BEGUN, yaml.safe_dump(plain, sort_keys=False))
        (self.out / _BEGUN).chmod(0o600)
        state = "working" if mode == "new" else facts.get("state", "working")
        if mode == "append":
            n_before = len(_read(self.out / _GIVEN).get("sources", ()))
            self.journal.note(state="appending", kept_sources=str(n_before))
            state = "appending"
        told = {"state": state, "key_id": key.key_id, "reading": str(VERSION), "part": str(part)}
        self.journal.note(**told)
        return books

    def _forsake(self) -> None:
        state = self.journal.facts().get("state")
        if state == "appending":
            (self.out / _BEGUN).unlink(missing_ok=True)
            shutil.rmtree(self.work, ignore_errors=True)
            self.journal.forget_shard(None)
            self.journal.note(state="done")
        if state != "working" or self.journal.series():
            return
        if len(self.journal.files()) <= _CHEAP:
            shutil.rmtree(self.work, ignore_errors=True)
            (self.out / "private" / journals.NAME).unlink(missing_ok=True)
            (self.out / "private" / _LOCK).unlink(missing_ok=True)
            (self.out / _BEGUN).unlink(missing_ok=True)
            with suppress(OSError):  # somebody's own folder stays
                (self.out / "private").rmdir()
                self.out.rmdir()

    def publish(self) -> None:
        """Move what was made to its place: from here on it is the archive. May be called again."""
        if not self.is_made:
            shutil.copy(self.out / _BEGUN, self.work / _GIVEN)  # with its mode
            building.finish(self.out)
            self.journal.note(state="publishing")
        building.publish(self.out)
        self.journal.publish(state="done")
        (self.out / _BEGUN).unlink(missing_ok=True)

    def finish_part(self) -> None:
        """Say that the share of the series is decoded."""
        self.journal.note(state="part")


@contextmanager
def opened(out: Path, mode: Mode) -> Iterator[Making]:
    """Hold the archive's lock during the block.

    Raises:
        UsageError: The folder is in use, not empty, or the archive is not as ``mode`` says.
        ArtifactError: There is nothing to resume or to append to.
    """
    if mode == "new":
        _check_absent(out)
    elif not _has_begun(out):
        raise ArtifactError(
            f"nothing to {mode}", where=str(out), fix="start with a plain `medssl ingest`"
        )
    with files.explained(out):
        out.mkdir(parents=True, exist_ok=True)
        private = source_paths.folder(out)
    with locks.held(private / _LOCK), _journal(private) as journal:
        _check_state(journal.facts().get("state", "working"), mode, out)
        yield Making(out, journal)


@contextmanager
def parts(folders: Sequence[Path]) -> Iterator[list[tuple[Path, Journal]]]:
    """Hold the locks of all parts of an archive, and yield them with their journals.

    Raises:
        ArtifactError: A folder is no finished part.
        UsageError: A part is missing or comes twice, or they are not of the same ingest.
    """
    if not folders:
        raise UsageError("no parts to merge", fix="name the folders of all of them")
    if folders[0].resolve() in {folder.resolve() for folder in folders[1:]}:
        raise UsageError("the part is named twice", where=str(folders[0]), fix="name it once")
    first, *rest = folders
    with _part(first) as journal:
        if not rest:
            yield [(first, journal)]
            return
        with parts(rest) as others:
            yield [(first, journal), *others]


def check_complete(found: Sequence[tuple[Path, Journal]]) -> IngestSettings:
    """Return the settings that all parts have in common.

    Raises:
        UsageError: A part is missing or comes twice, or they are not of the same ingest.
    """
    facts = [journal.facts() for _, journal in found]
    places = [tuple(map(int, fact["part"].split("/"))) for fact in facts]
    totals = {of for _, of in places}
    numbers = sorted(number for number, _ in places)
    folder, _ = found[0]
    wanted = list(range(1, max(totals) + 1))
    if len(totals) > 1 or numbers != wanted:
        missing = sorted(set(wanted) - set(numbers))
        told = f"missing: {missing}" if missing else f"given: {numbers}"
        raise UsageError(
            f"these are not all parts of one ingest, each once ({told} of {max(totals)})",
            where=str(folder),
            fix="name each of the folders made with --shard once",
        )
    settings = settings_of(folder)
    n_files = {len(other.files()) for _, other in found}
    same = all(_plain(settings_of(other)) == _plain(settings) for other, _ in found)
    if len({fact["key_id"] for fact in facts}) > 1 or len(n_files) > 1 or not same:
        raise UsageError(
            "the parts were made from other files, with other settings or another key",
            where=str(folder),
            fix="make all parts anew",
        )
    return settings


def settings_path(archive: Path) -> Path:
    """Return where the settings of an archive stand, finished or not.

    Raises:
        ArtifactError: There is no archive.
    """
    places = (archive / _BEGUN, archive / _GIVEN)
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        raise ArtifactError(
            "no archive was begun here",
            where=str(archive),
            fix="start with a plain `medssl ingest`",
        )
    return path


def settings_of(archive: Path) -> IngestSettings:
    """Return the settings of an archive, finished or not.

    Raises:
        ArtifactError: There is no archive.
    """
    sources = loading.Sources(files=[settings_path(archive)])
    return loading.resolve(IngestSettings, "ingest", sources)


@contextmanager
def _journal(private: Path) -> Iterator[Journal]:
    journal = Journal.open(private)
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def _part(folder: Path) -> Iterator[Journal]:
    if not (folder / "private" / journals.NAME).is_file():
        raise ArtifactError(
            "no part of an archive", where=str(folder), fix="name a folder made with --shard"
        )
    with locks.held(folder / "private" / _LOCK), _journal(folder / "private") as journal:
        state = journal.facts().get("state")
        if state != "part":
            fix = "finish it with the same command and --resume" if state == "working" else ""
            raise ArtifactError("not a finished part", where=str(folder), fix=fix)
        yield journal


def _check_absent(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not _holds_more_than_a_start(out)):
        return
    fix = "choose another --out"
    if building.folder(out).is_dir():
        fix += ", or continue with --resume"
    elif (out / "private" / journals.NAME).is_file():
        fix += ", or add files with --append"
    raise UsageError("the output folder is not empty", where=str(out), fix=fix)


def _holds_more_than_a_start(out: Path) -> bool:
    """Return whether there is anything that an ingest leaves that ended before it began."""
    found = {
        path.relative_to(out)
        for path in out.rglob("*")
        if not path.name.startswith((files.TEMP_PREFIX, f"{journals.NAME}-"))
    }
    return not found <= _START or (Path("private", journals.NAME) in found and _has_begun(out))


def _has_begun(out: Path) -> bool:
    if not (out / "private" / journals.NAME).is_file():
        return False
    with _journal(out / "private") as journal:
        return "state" in journal.facts()


def _check_state(state: str, mode: Mode, out: Path) -> None:
    if mode == "resume" and state == "done":
        raise UsageError(
            "the archive is finished", where=str(out), fix="add files to it with --append"
        )
    if mode == "append" and state != "done":
        raise UsageError(
            "the archive is unfinished", where=str(out), fix="finish it with --resume first"
        )


def _check_part(begun: str, part: Part, out: Path) -> None:
    if begun != str(part):
        told = "the whole" if begun == str(WHOLE) else f"part {begun}"
        fix = "leave --shard out" if begun == str(WHOLE) else f"give --shard {begun}"
        raise UsageError(f"this was begun as {told}", where=str(out), fix=fix)


def _check_whole(settings: IngestSettings, out: Path) -> None:
    if settings.smoke:
        raise UsageError(
            "an archive of a few files is not added to",
            where=str(out),
            fix="ingest without --smoke into another folder",
        )


def _check_same(
    now: Mapping[str, Any], before: Mapping[str, Any], names: Sequence[str], out: Path
) -> None:
    differing = [name for name in names if now[name] != before.get(name)]
    if before and differing:
        told = ", ".join(f"{name} {before.get(name)}" for name in differing)
        raise UsageError(
            f"the archive was begun with other settings: {told}",
            where=str(out),
            fix="give the same, or ingest into another folder",
        )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


def _plain(settings: IngestSettings) -> dict[str, Any]:
    return relative_to(Path("/"), to_plain(settings))  # type: ignore[no-any-return]


def _key(settings: IngestSettings, key_id: str | None, reporter: Reporter) -> SiteKey:
    path = identity.key_path(settings.key_file)
    key, is_new = identity.load_or_create(path)
    if key_id not in {None, key.key_id}:
        raise UsageError(
            f"the archive was begun with the key {key_id}, not {key.key_id}",
            where=str(path),
            fix="name that key with --key-file",
        )
    if is_new:
        reporter.note("key: made the institution's key; keep a copy, it links later ingests")
    return key
