"""Find every file below the sources, in an order that does not depend on the file system."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import scandir
from pathlib import Path

from medssl.foundation.errors import DataError, UsageError
from medssl.ingestion.codes import Code


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SourceFile:
    """One entry found below a source."""

    path: Path  # absolute
    source: int  # which of the sources, from 0
    relative: str  # to its source, with forward slashes
    code: Code | None = None  # why it is never opened

    @property
    def parent(self) -> str:
        """Name of the folder that holds it."""
        return self.path.parent.name


def walk(sources: Sequence[Path], *, exclude: Path | None = None) -> list[SourceFile]:
    """Return every file below ``sources``, sorted by source and relative path.

    Links are not followed; a file reached through two sources is listed once. A folder that cannot
    be listed stands itself for what lies in it.

    Args:
        sources: Folders or files.
        exclude: A folder to leave out: the output, where it lies inside a source.

    Raises:
        UsageError: A source does not exist.
        DataError: A source cannot be listed.
    """
    found: list[SourceFile] = []
    seen: set[Path] = set()
    for number, source in enumerate(sources):
        root = source.expanduser().resolve()
        if not root.exists():
            raise UsageError("no such file or folder", where=str(source))
        base = root if root.is_dir() else root.parent
        found_below = _below(root, exclude) if root.is_dir() else [(root, _code(root))]
        files = [
            SourceFile(
                path=path, source=number, relative=path.relative_to(base).as_posix(), code=code
            )
            for path, code in found_below
            if path not in seen
        ]
        if any(file.path == root and root.is_dir() for file in files):
            raise DataError(
                "the folder cannot be listed", where=str(source), fix="check its permissions"
            )
        seen.update(file.path for file in files)
        found.extend(sorted(files, key=lambda file: os.fsencode(file.relative)))
    return found


def _below(folder: Path, exclude: Path | None) -> Iterator[tuple[Path, Code | None]]:
    if folder == exclude:
        return
    try:
        entries = list(scandir(folder))
    except OSError:  # its path may name a patient, so no message shows it
        yield folder, Code.UNREADABLE
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _below(path, exclude)
        else:
            yield path, _code(path)


def _code(path: Path) -> Code | None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return Code.UNREADABLE
    if stat.S_ISLNK(mode):
        return Code.SKIPPED_LINK
    return None if stat.S_ISREG(mode) else Code.SKIPPED_SPECIAL
