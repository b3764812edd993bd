"""Stopping a training on purpose: asked by SIGTERM or out of time, it ends after the step."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Request:
    """Whether to stop, and why."""

    deadline: float | None  # of time.monotonic
    signalled: bool = False

    @property
    def reason(self) -> str:
        """Why to stop now; empty while there is none."""
        if self.signalled:
            return "stopped by SIGTERM"
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "the time given by --max-time is over"
        return ""


@contextmanager
def requests(max_seconds: float | None = None) -> Iterator[Request]:
    """Take SIGTERM as a request to stop as long as the block runs, in the main thread.

    Args:
        max_seconds: Time from now after which to stop too.
    """
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    request = Request(deadline)

    def take(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        request.signalled = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, take)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
