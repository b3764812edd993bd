"""Read ahead: the next batches are fetched while the device works on this one."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")

_END = object()


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield ``items`` in order; a thread works out the next ones meanwhile.

    The thread begins with the first item asked for and ends with the last one, with an exception,
    and as soon as the iterator is closed or forgotten. An exception of ``items`` is raised here,
    with its traceback. The thread must not draw from torch's global generator, from which the
    methods draw.

    Args:
        items: What to work through; all of it runs in the thread.
        depth: How many items are kept ready, at least 1.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="medssl-ahead")
    source = iter(items)
    ident = pool.submit(threading.get_ident)
    waiting: deque[Future[object]] = deque()
    try:
        for _ in range(depth):
            waiting.append(pool.submit(next, source, _END))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, source, _END))
            yield cast(T, item)
    finally:
        _stop(pool, source, by_itself=ident.result() == threading.get_ident())


def pinned(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the batch where a GPU copies from without waiting; as it is where there is none."""
    if not torch.cuda.is_available():
        return batch
    return {name: tensor.pin_memory() for name, tensor in batch.items()}


def _stop(pool: ThreadPoolExecutor, source: Iterator[object], *, by_itself: bool) -> None:
    # The garbage collector may run in the thread itself, which cannot wait for its own end.
    pool.shutdown(wait=not by_itself, cancel_futures=True)
    close = getattr(source, "close", None)
    if close is not None and not by_itself:
        close()
