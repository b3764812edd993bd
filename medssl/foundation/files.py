"""Atomic files: a reader sees the old content or the new, never a torn one."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medssl.foundation.errors import ResourceError, UsageError

TEMP_PREFIX = ".partial-"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that becomes ``path`` when the block succeeds.

    The content is flushed to disk before the rename and the folder after it.

    Raises:
        ResourceError: The disk is full or the folder cannot be written to.
        UsageError: A file lies where a folder is needed.
    """
    with explained(path):
        handle, name = tempfile.mkstemp(prefix=TEMP_PREFIX, suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temp = Path(name)
        try:
            yield temp
            temp.chmod(0o666 & ~_umask())
            _sync(temp)
            temp.replace(path)
            _sync(path.parent)
        finally:
            temp.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with replacing(path) as temp:
        temp.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write ``content`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def move(source: Path, target: Path) -> None:
    """Move a file within a disk; one that has been moved already stays where it is."""
    if source.is_file():
        source.replace(target)
        _sync(target.parent)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say what is wrong where ``path`` cannot be written.

    Raises:
        ResourceError: The disk is full or the folder cannot be written to.
        UsageError: A file lies where a folder is needed.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceError(
                "the disk is full", where=str(path.parent), fix="free space, then run again"
            ) from error
        if error.errno in _FORBIDDEN:
            raise ResourceError(
                "no permission to write", where=str(path.parent), fix="choose another --out"
            ) from error
        if error.errno in _IN_THE_WAY:
            raise UsageError(
                "a file is in the way", where=str(_file_among(path)), fix="choose another --out"
            ) from error
        raise


def _file_among(path: Path) -> Path:
    """Return ``path`` or the folder of it that is a file."""
    return next((part for part in (path, *path.parents) if part.is_file()), path)


def sweep(folder: Path) -> None:
    """Remove temporary files an earlier, killed process left in ``folder`` or below."""
    for stale in folder.rglob(f"{TEMP_PREFIX}*"):
        with suppress(OSError):
            stale.unlink()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # folders cannot be synced on some systems
        if error.errno not in {errno.EINVAL, errno.EBADF, errno.EACCES}:
            raise
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
