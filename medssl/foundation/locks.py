"""One writer per folder: a lock that the system lets go of when its process ends, however."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medssl.foundation import files
from medssl.foundation.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: two writers are not kept apart
    fcntl = None  # type: ignore[assignment]


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock ``path`` during the block; its file says who does.

    Raises:
        UsageError: Another process holds it.
        ResourceError: The folder cannot be written to.
    """
    with files.explained(path):
        path.touch(mode=0o600)
        stream = path.open("r+", encoding="utf-8")
    with stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                stream.seek(0)
                raise UsageError(
                    f"another process is writing here: {stream.read().strip() or 'unknown'}",
                    where=str(path.parent),
                    fix="wait for it to end",
                ) from error
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}\n")
        stream.flush()
        yield
