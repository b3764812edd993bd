"""Run a task over many items in supervised processes, in order, whatever dies on the way.

Decoders are native code and files are hostile: a process may be killed, hang, or ask for all the
memory. Each process says in shared memory which part of which item it holds, so that exactly this
part is lost, and has a budget of time and memory for it.

This file imports nothing heavy: a worker sets its environment before numpy is loaded.
"""

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, get_context
from multiprocessing.connection import wait
from multiprocessing.sharedctypes import RawArray
from types import ModuleType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from medssl.foundation.errors import ResourceError
from medssl.ingestion import serving, transport
from medssl.ingestion.codes import Code

Item = TypeVar("Item")
Result = TypeVar("Result")
At = Callable[[int], None]  # says which part of an item is at work from now on
Task = Callable[[Item, At], Result]

GIB = 2**30
_AHEAD = 3  # chunks per worker that are open: wait, are worked on, or done but not next
_HELD = 2  # chunks sent to a worker: it shall not wait for the next
_ROUNDS = 4  # that each worker has left when chunks get smaller
_MOST_DEATHS = 2  # of processes that held no item while they had a chunk
_TICK = 0.2  # seconds between two looks at the clocks of the workers
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PRELOADED = ("medssl.ingestion.preloaded",)  # by the process that workers are forked from


@dataclass(frozen=True, slots=True)
class Lost:
    """Stands for the result of an item whose process was ended."""

    part: int  # of the item, which was at work
    code: Code  # WORKER_DIED or TIMED_OUT


@dataclass(frozen=True, slots=True)
class Budget:
    """What a process may take for one part of an item."""

    seconds: float = 60.0
    memory_bytes: int = 2 * GIB  # beyond what the process has when it begins and the item claims


class Pool(Protocol):
    """Where tasks run: processes of this machine, or a cluster."""

    def run(
        self, task: Task[Item, Result], items: Sequence[Item], how: "Work[Item]"
    ) -> Iterator[Result | Lost]:
        """Yield ``task(item, at)`` for every item, in order."""
        ...


def _same(item: Item, lost: Lost) -> Item | None:
    del item, lost
    return None


@dataclass(frozen=True, slots=True)
class Work(Generic[Item]):
    """How items are handed out."""

    chunk: int = 1  # items sent to a worker at a time
    claims: Callable[[Item], int] = lambda _: 0  # bytes an item says it needs
    without: Callable[[Item, Lost], Item | None] = _same  # the item without its lost part


@dataclass(slots=True)
class _Chunk:
    """Some items and what has become of them."""

    items: list[Any]
    deaths: int = 0  # of processes that held none of them
    results: dict[int, Any] = field(default_factory=dict)

    @property
    def pending(self) -> list[int]:
        """Items that still have to be worked on."""
        return [number for number in range(len(self.items)) if number not in self.results]


class Workers:
    """Processes that are started when they are first needed, and kept for the next task.

    Args:
        count: How many.
        budget: For each part of an item.
    """

    def __init__(self, count: int, budget: Budget | None = None) -> None:
        self.count = max(1, count)
        self._budget = budget or Budget()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    def get_ready(self) -> Self:
        """Have what processes are forked from loaded meanwhile: they will be needed soon."""
        if _context().get_start_method() == "forkserver":
            with _plain_start():
                forkserver.ensure_running()
        return self

    def run(
        self, task: Task[Item, Result], items: Sequence[Item], how: Work[Item]
    ) -> Iterator[Result | Lost]:
        """Yield ``task(item, at)`` for every item, in order.

        An item whose process dies or hangs is worked on again without the part it was at, if
        ``how`` knows one without it; else a `Lost` stands for it. The other items are not touched.

        Args:
            task: A module-level function.
            items: What it is called with; must be picklable.
            how: How they are handed out.

        Raises:
            ResourceError: No process can be started.
        """
        chunks = deque(_cut(items, how.chunk, self.count))
        waiting: deque[_Chunk] = deque()  # for a worker; those that lost one come first
        open_chunks: deque[_Chunk] = deque()  # handed out, in order
        try:
            while chunks or open_chunks:
                while chunks and len(open_chunks) < self.count * _AHEAD:
                    open_chunks.append(chunks.popleft())
                    waiting.append(open_chunks[-1])
                self._feed(task, how, waiting, is_end=not chunks)
                if not open_chunks[0].pending:
                    done = open_chunks.popleft()
                    yield from (done.results[number] for number in range(len(done.items)))
                    continue
                waiting.extendleft(reversed(self._collect(how)))
        finally:
            if open_chunks:  # stopped before the end: what is still at work is of no use
                self.__exit__()

    def _feed(
        self, task: Task[Any, Any], how: Work[Any], waiting: deque[_Chunk], *, is_end: bool
    ) -> None:
        """Hand out chunks: the next while one is worked on, but the last to whoever is first."""
        while waiting:
            if len(self._workers) < self.count and all(worker.held for worker in self._workers):
                self._workers.append(_Worker(self._budget))
            worker = min(self._workers, key=lambda worker: len(worker.held))
            if len(worker.held) >= (1 if is_end else _HELD):
                return
            if not worker.take(task, waiting[0], how):
                return
            waiting.popleft()

    def _collect(self, how: Work[Any]) -> list[_Chunk]:
        """Wait for results, and return the chunks of workers that were ended."""
        ready = wait([worker.socket for worker in self._workers], timeout=_TICK)
        torn: list[_Chunk] = []
        for worker in list(self._workers):
            if worker.socket in ready:
                code = None if worker.receive() else Code.WORKER_DIED
            else:
                code = Code.TIMED_OUT if worker.is_late else None
            if code is not None:
                self._workers.remove(worker)
                torn += worker.give_up(code, how)
        return torn


class _Worker:
    """One process, seen from the parent."""

    def __init__(self, budget: Budget) -> None:
        context = _context()
        self.socket, theirs = socket.socketpair()
        self.held: deque[_Chunk] = deque()
        self._n_done = 0  # chunks
        self._budget = budget
        self._place = RawArray("d", (0.0, 0.0, 0.0, serving.IDLE))  # chunk, item, part, since when
        self._process = context.Process(
            target=serving.serve, args=(theirs, self._place, budget.memory_bytes), daemon=True
        )
        with _plain_start():
            self._process.start()
        theirs.close()
        self._is_ready = False

    @property
    def is_late(self) -> bool:
        """Whether it has been at one part for too long."""
        since = self._place[3]
        return bool(since != serving.IDLE) and time.monotonic() - since > self._budget.seconds

    def take(self, task: Task[Any, Any], chunk: _Chunk, how: Work[Any]) -> bool:
        """Send a chunk; False where that has to wait until the worker has no other."""
        items = [(chunk.items[n], how.claims(chunk.items[n])) for n in chunk.pending]
        message = transport.packed((task, items))
        if self.held and not transport.fits(self.socket, message):
            return False  # two who send to each other at the same time would wait for ever
        self.held.append(chunk)
        with suppress(ConnectionError):  # it has died: `receive` will say so
            transport.send(self.socket, message)
        return True

    def receive(self) -> bool:
        """Take what it has sent; False where it has died.

        Raises:
            Exception: What the task raised.
        """
        try:
            message = transport.receive(self.socket)
        except (EOFError, OSError):
            return False
        if message is None:
            self._is_ready = True
        elif isinstance(message, BaseException):
            raise message
        else:
            chunk = self.held.popleft()
            self._n_done += 1
            chunk.results |= zip(chunk.pending, message, strict=True)
        return True

    def give_up(self, code: Code, how: Work[Any]) -> list[_Chunk]:
        """End the process, and return its chunks; in the first the part at work is lost.

        Raises:
            ResourceError: It never began to work, so it is no file that killed it.
        """
        self._kill()
        while wait([self.socket], timeout=0) and self.receive():
            pass  # it had finished a chunk before
        self.end()
        if not self._is_ready:
            raise ResourceError("the worker processes cannot start", fix="run `medssl doctor`")
        if self.held:
            self._lose(self.held[0], code, how)
        return list(self.held)

    def _lose(self, chunk: _Chunk, code: Code, how: Work[Any]) -> None:
        """Note in the chunk at work what is lost of it."""
        number, item, part, since = self._place
        if since == serving.IDLE or number != self._n_done:
            chunk.deaths += 1
            if chunk.deaths >= _MOST_DEATHS:
                chunk.results |= dict.fromkeys(chunk.pending, Lost(0, code))
            return
        at = chunk.pending[int(item)]
        lost = Lost(int(part), code)
        rest = how.without(chunk.items[at], lost)
        if rest is None:
            chunk.results[at] = lost
        else:
            chunk.items[at] = rest

    def end(self) -> None:
        """End the process."""
        self._kill()
        self._process.close()
        self.socket.close()

    def _kill(self) -> None:
        self._process.kill()
        self._process.join()


def count(workers: int | None) -> int:
    """Return how many processes to use: what the user asked for, else one per core."""
    return _cores() if workers is None else max(1, workers)


def _cut(items: Sequence[Any], most: int, n_workers: int) -> Iterator[_Chunk]:
    """Yield items in chunks, which get smaller towards the end: all workers shall end together."""
    first = 0
    while first < len(items):
        share = (len(items) - first) // (n_workers * _ROUNDS)
        size = min(most, max(1, share))
        yield _Chunk(list(items[first : first + size]))
        first += size


def nowhere(part: int) -> None:
    """Tell nobody which part is at work."""
    del part


def _context() -> Any:  # noqa: ANN401 - its classes depend on the platform
    """Return how processes are started: forked from one that has imported what they need."""
    try:
        context = get_context("forkserver")
    except ValueError:  # Windows
        return get_context("spawn")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


@contextmanager
def _plain_start() -> Iterator[None]:
    """Start processes with one thread each, and without importing the user's script again.

    Libraries read the number of threads when they are loaded. Nothing that runs here is from the
    script, whose imports may take seconds and which may lack a guard.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    script = sys.modules["__main__"]
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(cast("set[int]", affinity(0))) if affinity else os.cpu_count() or 1
