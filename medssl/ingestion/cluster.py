"""Run the same tasks on a Dask cluster; what it loses is done again here, where it can be guarded.

The workers of the cluster need medssl and the same paths to the files. A task that kills its worker
or does not come back is repeated by supervised processes of this machine, so that exactly the file
that is to blame is lost, as without a cluster.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medssl.foundation.errors import MissingExtra, ResourceError
from medssl.ingestion.workers import Budget, Item, Lost, Pool, Result, Task, Work, nowhere

if TYPE_CHECKING:
    from distributed import Client, Future

_AHEAD = 3  # chunks per thread of the cluster
REACHED_WITHIN = 10  # seconds
_SLOWER = 5  # a cluster may take this many times as long, as its processes are shared


@contextmanager
def connected(address: str, budget: Budget, local: Pool) -> Iterator[Pool]:
    """Yield a pool whose tasks run on a cluster.

    Args:
        address: Of its scheduler.
        budget: For each item.
        local: Where items are worked on that the cluster loses.

    Raises:
        MissingExtra: Dask is not installed.
        ResourceError: The scheduler cannot be reached or has no workers.
    """
    try:
        from distributed import Client  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise MissingExtra("Dask is not installed", fix="pip install 'medssl[cluster]'") from error
    try:
        client = Client(address, set_as_default=False, timeout=REACHED_WITHIN)
    except (OSError, ValueError) as error:
        raise ResourceError(
            "the Dask scheduler cannot be reached", where=address, fix="check its address"
        ) from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise ResourceError("the Dask cluster has no workers", where=address, fix="start some")
        yield _Cluster(client, threads, budget, local)


class _Cluster:
    """Tasks on the workers of a Dask cluster (a `Pool`)."""

    def __init__(self, client: "Client", threads: int, budget: Budget, local: Pool) -> None:
        self._client = client
        self._threads = threads
        self._budget = budget
        self._local = local

    def run(
        self, task: Task[Item, Result], items: Sequence[Item], how: Work[Item]
    ) -> Iterator[Result | Lost]:
        """See `workers.Pool`."""
        chunks = deque(items[n : n + how.chunk] for n in range(0, len(items), how.chunk))
        sent: deque[tuple[Sequence[Item], Future]] = deque()
        while chunks or sent:
            while chunks and len(sent) < self._threads * _AHEAD:
                chunk = chunks.popleft()
                sent.append((chunk, self._client.submit(_apply, task, chunk, pure=False)))
            chunk, future = sent.popleft()
            results = self._result(future, len(chunk))
            if results is None:
                yield from self._local.run(task, chunk, how)
            else:
                yield from results

    def _result(self, future: "Future", n_items: int) -> list[Any] | None:
        """Return the results of a chunk, None where the cluster lost it."""
        from distributed import CancelledError, KilledWorker  # noqa: PLC0415 - as above

        seconds = self._budget.seconds * _SLOWER * n_items
        try:
            results: list[Any] = future.result(timeout=seconds)
        except (KilledWorker, CancelledError, TimeoutError, OSError):
            self._end(future)
            return None
        return results

    def _end(self, future: "Future") -> None:
        """Restart the workers that are stuck at a task, as its thread cannot be stopped."""
        at = [name for name, keys in self._client.processing().items() if future.key in keys]
        future.cancel()
        if at:
            self._client.restart_workers(at, raise_for_error=False)


def _apply(task: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
    return [task(item, nowhere) for item in items]
