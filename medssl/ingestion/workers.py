"""Run a function over many items in worker processes, in order, whatever dies on the way.

This file imports nothing heavy: a worker sets its environment before numpy is loaded.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Self, TypeVar

from medssl.foundation.errors import ResourceError

Item = TypeVar("Item")
Result = TypeVar("Result")
WORTH_IT = 400  # with fewer files, all are done about when a worker has started
_WAITING = 2  # chunks per worker that are computed ahead of the reader; bounds the memory


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """Stands for the result of an item whose worker process was killed."""


def count(workers: int | None, n_files: int) -> int:
    """Return how many processes to use; 1 means this one.

    Args:
        workers: What the user asked for; None for one per core, where it is worth it.
        n_files: How many files there are.
    """
    if workers is not None:
        return max(1, workers)
    return 1 if n_files <= WORTH_IT else _cores()


class Workers:
    """Processes that are started when they are first needed, and kept for the next task."""

    def __init__(self, count: int) -> None:
        self.count = count  # with 1 everything runs in this process
        self._pool: ProcessPoolExecutor | None = None
        self._have_answered = False

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self._stop()

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, chunk: int
    ) -> Iterator[Result | WorkerDied]:
        """Yield ``function(item)`` for every item, in order.

        When a worker dies, the items it may have held are done again one by one in a process of
        their own, so that only the item that kills is lost.

        Args:
            function: A module-level function.
            items: What it is called with; must be picklable.
            chunk: Items sent to a worker at a time.

        Raises:
            ResourceError: No process can be started.
        """
        if self.count == 1:
            yield from map(function, items)
            return
        todo = deque(items[start : start + chunk] for start in range(0, len(items), chunk))
        while todo:
            sent: deque[tuple[Sequence[Item], Future[list[Result]]]] = deque()
            try:
                while todo or sent:
                    while todo and len(sent) < self.count * _WAITING:
                        sent.append((todo[0], self._started().submit(_apply, function, todo[0])))
                        todo.popleft()
                    results = sent[0][1].result()
                    self._have_answered = True
                    sent.popleft()
                    yield from results
            except BrokenProcessPool:
                todo.extendleft(part for part, _ in reversed(sent))
                self._stop()
                self._have_answered = self._have_answered or _check_start()
                yield from _one_by_one(function, todo.popleft())

    def _started(self) -> ProcessPoolExecutor:
        self._pool = self._pool or _pool(self.count)
        return self._pool

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _check_start() -> bool:
    """Return True where a process of no work answers.

    Raises:
        ResourceError: It dies as well, so it is no file that kills the workers.
    """
    with _pool(1) as pool:
        try:
            pool.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise ResourceError(
                "the worker processes cannot start",
                fix='put what the script does below `if __name__ == "__main__":`, or use workers=1',
            ) from error
    return True


def _one_by_one(
    function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result | WorkerDied]:
    pool = _pool(1)
    try:
        for item in items:
            try:
                yield pool.submit(function, item).result()
            except BrokenProcessPool:
                pool.shutdown()
                pool = _pool(1)
                yield WorkerDied()
    finally:
        pool.shutdown(cancel_futures=True)


def _apply(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start)


def _start() -> None:
    """Prepare a worker: one thread, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
