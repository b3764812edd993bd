"""What a worker process does: it works on what it is sent, until its parent is gone.

This file imports nothing heavy.
"""

import ctypes
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medssl.ingestion import transport

IDLE = -1.0
_PARENT_DEATH_SIGNAL = 1  # of prctl
_STATM = Path("/proc/self/statm")


def serve(end: socket.socket, place: Any, memory_bytes: int) -> None:  # noqa: ANN401 - ctypes
    """Work on what comes, until the parent is gone. The body of a worker process."""
    _prepare()
    transport.send(end, transport.packed(None))
    for number in itertools.count():
        place[0] = number
        try:
            task, items = transport.receive(end)
            results = _results(task, items, place, memory_bytes)
            transport.send(end, transport.packed(results))
        except (EOFError, OSError):
            return
        place[3] = IDLE


def _results(
    task: Callable[..., Any],
    items: Sequence[tuple[Any, int]],
    place: Any,  # noqa: ANN401 - ctypes
    memory_bytes: int,
) -> list[Any] | Exception:
    def at(part: int) -> None:
        place[2], place[3] = part, time.monotonic()

    results = []
    try:
        for number, (item, claimed) in enumerate(items):
            _limit_memory(memory_bytes + claimed)
            place[1] = number
            at(0)
            results.append(task(item, at))
    except Exception as error:  # noqa: BLE001 - a bug of ours, raised again in the parent
        return error
    finally:
        _limit_memory(None)
    return results


def _prepare() -> None:
    """Leave Ctrl-C to the parent, and say nothing: native libraries print what they read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":  # a decoder that hangs must not outlive whoever waits for it
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    for descriptor in (1, 2):
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, descriptor)
        os.close(silent)


def _limit_memory(more: int | None) -> None:
    """Allow ``more`` bytes of address space than there are now; None: as much as there is."""
    try:
        import resource  # noqa: PLC0415 - not everywhere
    except ImportError:  # Windows
        return
    if not _STATM.is_file():  # macOS does not enforce it
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = hard
    if more is not None:
        pages = int(_STATM.read_text().split()[0])
        soft = pages * resource.getpagesize() + more
        soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
