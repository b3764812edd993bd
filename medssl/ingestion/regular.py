"""Open regular files and nothing else, whatever has taken their place since they were listed."""

import os
import stat
from pathlib import Path

# A pipe must not stop everything, and a link must not be followed.
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)  # of Windows


def opener(path: str, flags: int) -> int:
    """Return a descriptor, as the argument ``opener`` of `open` does.

    Raises:
        OSError: It cannot be opened; FileNotFoundError where it is not a regular file.
    """
    descriptor = os.open(path, flags | _FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError
    return descriptor


def start(path: Path, length: int) -> bytes:
    """Return the first bytes of a file; none where it cannot be read."""
    try:
        descriptor = opener(os.fspath(path), os.O_RDONLY | _BINARY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, length)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
