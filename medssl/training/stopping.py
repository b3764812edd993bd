"""Stopping a training on purpose: by SIGTERM, by Ctrl-C or out of time, it ends after the step."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from medssl.foundation.errors import Interrupted, Stopped

_CTRL_C = "stopped by Ctrl-C"
_REASONS = {signal.SIGTERM: "stopped by SIGTERM", signal.SIGINT: _CTRL_C}


@dataclass
class Request:
    """Whether to stop, and why."""

    deadline: float | None  # of time.monotonic
    signalled: int | None = None  # the first signal that came

    @property
    def reason(self) -> str:
        """Why to stop now; empty while there is none."""
        if self.signalled is not None:
            return _REASONS[signal.Signals(self.signalled)]
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "the time given by --max-time is over"
        return ""


@contextmanager
def requests(max_seconds: float | None = None) -> Iterator[Request]:
    """Take SIGTERM and Ctrl-C as requests to stop as long as the block runs, in the main thread.

    A second Ctrl-C does not wait for the step.

    Args:
        max_seconds: Time from now after which to stop too.
    """
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    request = Request(deadline)

    def take(signum: int, frame: FrameType | None) -> None:
        del frame
        if signum == signal.SIGINT and request.signalled is not None:
            raise KeyboardInterrupt
        request.signalled = request.signalled or signum

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, take) for number in _REASONS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def saved(reason: str, done: str, folder: Path) -> Interrupted:
    """Return the failure of a run that stops after a checkpoint.

    Args:
        reason: `Request.reason`; empty where another process had one.
        done: What is saved.
        folder: The run.
    """
    kind = Stopped if reason == _CTRL_C else Interrupted
    return kind(
        f"{reason or 'another process was stopped'}; {done} is saved",
        where=str(folder),
        fix=f"run the same command again with -o {folder} --resume",
    )


def at_once(folder: Path, *, has_checkpoint: bool) -> Stopped:
    """Return the failure of a run that Ctrl-C stops where it stands."""
    again = f"run the same command again with -o {folder} --resume"
    if has_checkpoint:
        problem, fix = f"{_CTRL_C}; the steps since the last checkpoint are lost", again
    else:
        problem = f"{_CTRL_C} before the first step was done: nothing is saved yet"
        fix = f"{again}: it starts from the beginning"
    return Stopped(problem, where=str(folder), fix=fix)
