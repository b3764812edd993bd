"""Run a task over many items in supervised processes, in order, whatever dies on the way.

Decoders are native code and files are hostile: a process may be killed, hang, or ask for all the
memory. Each process says in shared memory which part of which item it holds, so that exactly this
part is lost, and has a budget of time and memory for it.

This file imports nothing heavy: a worker sets its environment before numpy is loaded.
"""

import ctypes
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from medssl.foundation.errors import ResourceError
from medssl.ingestion.codes import Code

Item = TypeVar("Item")
Result = TypeVar("Result")
At = Callable[[int], None]  # says which part of an item is at work from now on
Task = Callable[[Item, At], Result]

GIB = 2**30
_AHEAD = 2  # chunks per worker that wait or are worked on; bounds the memory
_MOST_DEATHS = 2  # of processes that held no item while they had a chunk
_TICK = 0.2  # seconds between two looks at the clocks of the workers
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PRELOADED = ("medssl.ingestion.preloaded",)  # by the process that workers are forked from
_IDLE = -1.0
_PARENT_DEATH_SIGNAL = 1  # of prctl
_STATM = Path("/proc/self/statm")


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
        step = how.chunk
        chunks = deque(_Chunk(list(items[n : n + step])) for n in range(0, len(items), step))
        waiting: deque[_Chunk] = deque()  # for a worker; those that lost one come first
        open_chunks: deque[_Chunk] = deque()  # handed out, in order
        try:
            while chunks or open_chunks:
                while chunks and len(open_chunks) < self.count * _AHEAD:
                    open_chunks.append(chunks.popleft())
                    waiting.append(open_chunks[-1])
                self._feed(task, how, waiting)
                if not open_chunks[0].pending:
                    done = open_chunks.popleft()
                    yield from (done.results[number] for number in range(len(done.items)))
                    continue
                waiting.extendleft(reversed(self._collect(how)))
        finally:
            if open_chunks:  # stopped before the end: what is still at work is of no use
                self.__exit__()

    def _feed(self, task: Task[Any, Any], how: Work[Any], waiting: deque[_Chunk]) -> None:
        while waiting:
            if len(self._workers) < self.count and all(worker.held for worker in self._workers):
                self._workers.append(_Worker(self._budget))
            worker = min(self._workers, key=lambda worker: len(worker.held))
            if worker.held:  # two who send to each other at the same time would wait for ever
                return
            worker.take(task, waiting.popleft(), how)

    def _collect(self, how: Work[Any]) -> list[_Chunk]:
        """Wait for results, and return the chunks of workers that were ended."""
        ready = wait([worker.connection for worker in self._workers], timeout=_TICK)
        torn: list[_Chunk] = []
        for worker in list(self._workers):
            if worker.connection in ready:
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
        self.connection, theirs = context.Pipe()
        self.held: deque[_Chunk] = deque()
        self._budget = budget
        self._place = RawArray("d", (0.0, 0.0, _IDLE))  # item, part, since when
        self._process = context.Process(
            target=_serve, args=(theirs, self._place, budget.memory_bytes), daemon=True
        )
        with _plain_start():
            self._process.start()
        theirs.close()
        self._is_ready = False

    @property
    def is_late(self) -> bool:
        """Whether it has been at one part for too long."""
        since = self._place[2]
        return bool(since != _IDLE) and time.monotonic() - since > self._budget.seconds

    def take(self, task: Task[Any, Any], chunk: _Chunk, how: Work[Any]) -> None:
        """Send a chunk."""
        self.held.append(chunk)
        items = [(chunk.items[n], how.claims(chunk.items[n])) for n in chunk.pending]
        with suppress(OSError):  # it has died: `receive` will say so
            self.connection.send((task, items))

    def receive(self) -> bool:
        """Take what it has sent; False where it has died.

        Raises:
            Exception: What the task raised.
        """
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return False
        if message is None:
            self._is_ready = True
        elif isinstance(message, BaseException):
            raise message
        else:
            chunk = self.held.popleft()
            chunk.results |= zip(chunk.pending, message, strict=True)
        return True

    def give_up(self, code: Code, how: Work[Any]) -> list[_Chunk]:
        """End the process, and return its chunks; in the first the part at work is lost.

        Raises:
            ResourceError: It never began to work, so it is no file that killed it.
        """
        self._end()
        if not self._is_ready:
            raise ResourceError("the worker processes cannot start", fix="run `medssl doctor`")
        if not self.held:
            return []
        chunk = self.held[0]
        number, part, since = self._place
        if since == _IDLE:
            chunk.deaths += 1
            if chunk.deaths >= _MOST_DEATHS:
                chunk.results |= dict.fromkeys(chunk.pending, Lost(0, code))
            return [chunk]
        at = chunk.pending[int(number)]
        lost = Lost(int(part), code)
        rest = how.without(chunk.items[at], lost)
        if rest is None:
            chunk.results[at] = lost
        else:
            chunk.items[at] = rest
        return [chunk]

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()


def count(workers: int | None) -> int:
    """Return how many processes to use: what the user asked for, else one per core."""
    return _cores() if workers is None else max(1, workers)


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


def _serve(connection: Connection, place: Any, memory_bytes: int) -> None:  # noqa: ANN401 - ctypes
    """Work on what comes, until the parent is gone. The body of a worker process."""
    _prepare()
    connection.send(None)
    while True:
        with suppress(EOFError, OSError):
            task, items = connection.recv()
            connection.send(_results(task, items, place, memory_bytes))
            place[2] = _IDLE
            continue
        return


def _results(
    task: Task[Any, Any],
    items: Sequence[tuple[Any, int]],
    place: Any,  # noqa: ANN401 - ctypes
    memory_bytes: int,
) -> list[Any] | Exception:
    def at(part: int) -> None:
        place[1], place[2] = part, time.monotonic()

    results = []
    try:
        for number, (item, claimed) in enumerate(items):
            _limit_memory(memory_bytes + claimed)
            place[0] = number
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


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(cast("set[int]", affinity(0))) if affinity else os.cpu_count() or 1
