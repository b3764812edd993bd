"""Find every file below the sources, in an order that does not depend on the file system.

A ZIP archive is a folder: its members are listed and it is none itself, unless what lies in it
cannot be read at all, or all of it together is one file: arrays, or an office document.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import scandir
from pathlib import Path

from medssl.foundation.errors import DataError, UsageError
from medssl.ingestion import regular, seam, sniff, zips
from medssl.ingestion.codes import Code
from medssl.ingestion.zips import Packed

_ZIP = ".zip"
_ARRAYS = "npz"  # the reader of ZIP archives that are images themselves


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SourceFile:
    """One entry found below a source."""

    path: Path  # absolute; of a member of a ZIP archive, as if that were a folder
    source: int  # which of the sources, from 0
    relative: str  # to its source, with forward slashes
    code: Code | None = None  # why it is never opened

    @property
    def parent(self) -> str:
        """Name of the folder that holds it, the same whether a ZIP archive was unpacked or not."""
        folder = self.path.parent
        return folder.stem if folder.suffix.lower() == _ZIP else folder.name


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
            raise UsageError(
                "no such file or folder",
                where=str(source),
                fix="name a folder, file or ZIP archive that is there",
            )
        base = root if root.is_dir() else root.parent
        found_below = _below(root, exclude) if root.is_dir() else iter([(root, _code(root))])
        files = []
        for path, code in found_below:
            if path in seen:
                continue
            if path == base:
                raise DataError(
                    "the folder cannot be listed", where=str(source), fix="check its permissions"
                )
            seen.add(path)
            relative = path.relative_to(base).as_posix()
            files += _opened_up(SourceFile(path=path, source=number, relative=relative, code=code))
        found.extend(sorted(files, key=lambda file: os.fsencode(file.relative)))
    return found


def _below(root: Path, exclude: Path | None) -> Iterator[tuple[Path, Code | None]]:
    folders = [root]  # no recursion: trees may be deeper than Python's stack
    while folders:
        folder = folders.pop()
        if folder == exclude:
            continue
        try:
            entries = list(scandir(folder))
        except OSError:  # its path may name a patient, so no message shows it
            yield folder, Code.UNREADABLE
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
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


def _opened_up(file: SourceFile) -> list[SourceFile]:
    """Return a file, or what lies in it where it is a ZIP archive."""
    if file.code is not None:
        return [file]
    head = regular.start(file.path, sniff.HEAD_BYTES)
    reader = sniff.recognised(head)
    if not zips.is_zip(head) or reader not in {None, _ARRAYS}:
        return [file]
    members = seam.attempt(lambda: zips.members(file.path, file.path.stat()), Code.BAD_HEADER)
    if zips.holds_document(head, () if isinstance(members, Code) else members):
        return [replace(file, code=Code.SKIPPED_OTHER)]
    if isinstance(members, Code):
        return [replace(file, code=members)]
    is_image = reader == _ARRAYS and zips.holds_arrays(members)
    return [file] if is_image else _members(file, members)


def _members(file: SourceFile, members: Mapping[str, Packed]) -> list[SourceFile]:
    """Return the members of a ZIP archive, or itself where none of them can be read."""
    codes = {member.code for member in members.values()} or {Code.EMPTY_FILE}
    if len(codes) == 1 and None not in codes:
        return [replace(file, code=codes.pop())]
    return [
        SourceFile(
            path=file.path / name,
            source=file.source,
            relative=f"{file.relative}/{name}",
            code=member.code,
        )
        for name, member in members.items()
    ]
