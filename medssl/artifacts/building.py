"""`.work/`: where an archive is made, beside the one that may be there already.

Everything is written there first, then moved to its place file by file; `archive.json` goes first
and comes last, so that an archive with it is whole. Moving can be interrupted and begun again.
"""

import json
import shutil
from pathlib import Path

from medssl.artifacts import unmatched_labels
from medssl.foundation import files

_INFO = "archive.json"
_LIST = "files.json"
_OPTIONAL = (Path("private", unmatched_labels.NAME),)  # of an archive, besides its shards


def folder(archive: Path) -> Path:
    """Return the folder where ``archive`` is made."""
    return archive / ".work"


def begin(archive: Path) -> Path:
    """Return the folder where ``archive`` is made, for the owner only, without torn files.

    Raises:
        ResourceError: It cannot be written to.
    """
    work = folder(archive)
    with files.explained(work):
        (work / "private").mkdir(mode=0o700, parents=True, exist_ok=True)
        (work / "pixels").mkdir(exist_ok=True)
        for place in (work, work / "private"):
            place.chmod(0o700)
        for place in (archive, archive / "private", work, work / "private", work / "pixels"):
            files.sweep(place)
    return work


def finish(archive: Path) -> None:
    """List what the archive will hold; from here on `publish` completes it."""
    work = folder(archive)
    (work / _LIST).unlink(missing_ok=True)  # of an attempt that ended here
    names = [path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()]
    files.write_text(work / _LIST, json.dumps(sorted(names)))


def publish(archive: Path) -> None:
    """Move what was made to its place, and remove what it replaces. May be called again.

    Raises:
        ResourceError: The archive cannot be written to.
    """
    work = folder(archive)
    with files.explained(archive):
        if (work / _LIST).is_file():
            names = [Path(name) for name in json.loads((work / _LIST).read_text("utf-8"))]
            (archive / "pixels").mkdir(exist_ok=True)
            if (work / _INFO).is_file():
                (archive / _INFO).unlink(missing_ok=True)
            stale = {path.relative_to(archive) for path in (archive / "pixels").glob("*.npy")}
            for name in {*stale, *_OPTIONAL} - set(names):
                (archive / name).unlink(missing_ok=True)
            for name in sorted(names, key=lambda name: (name.name == _INFO, name)):
                files.move(work / name, archive / name)
        shutil.rmtree(work, ignore_errors=True)
