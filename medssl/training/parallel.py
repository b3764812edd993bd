"""Folds side by side: one process each, on a core or a GPU of its own.

A fold depends on its settings and its number alone, so that it comes out the same wherever it is
trained. On CPUs it has as many threads as there are cores for each fold, however many are trained
at once, as the last bits of a sum depend on that too.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from medssl.foundation.errors import ResourceError
from medssl.training import runtime

_WATCH_S = 1.0
Job = Callable[[str, int], None]  # device and number of a fold


def devices(device: str, workers: int | None, n_folds: int) -> tuple[str, ...]:
    """Return the device of each process that trains folds.

    Args:
        device: auto, cpu, cuda (all GPUs) or cuda:N.
        workers: Processes; None: one per core of the CPU, or one per GPU.
        n_folds: Folds to train; more processes than that have nothing to do.

    Raises:
        ResourceError: A GPU was asked for and there is none.
    """
    if runtime.gpu_wanted(device):
        several = device in ("auto", "cuda")
        known = [f"cuda:{k}" for k in range(torch.cuda.device_count())] if several else [device]
        n = min(workers or len(known), n_folds)
        return tuple(known[k % len(known)] for k in range(n))
    return ("cpu",) * max(1, min(workers or _cores(), n_folds))


def threads(n_folds: int) -> int:
    """Return the threads of a fold on the CPU."""
    return max(1, _cores() // n_folds)


@contextmanager
def as_one_of(n_folds: int) -> Iterator[None]:
    """Have torch use the threads of one fold of so many."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads(n_folds))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def each(job: Job, numbers: Sequence[int], on: Sequence[str]) -> Iterator[int]:
    """Do a job for every number, in processes, and yield each number when it is done.

    Args:
        job: Importable by name, with plain arguments; what it raises is raised here.
        numbers: What to do it for.
        on: A device per process.

    Raises:
        ResourceError: A process was killed, most likely as memory ran out.
    """
    free, waiting = list(on), list(numbers)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        len(on), mp_context=context, initializer=_begin, initargs=(os.getpid(),)
    )
    running: dict[Future[None], tuple[int, str]] = {}
    try:
        while waiting or running:
            while waiting and free:
                number, device = waiting.pop(0), free.pop(0)
                running[pool.submit(job, device, number)] = (number, device)
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                number, device = running.pop(done)
                free.append(device)
                done.result()
                yield number
    except BrokenProcessPool as error:
        raise ResourceError(
            "a process that trained a fold was killed",
            fix="lower --workers, batch_size or image_size, and continue with --resume",
        ) from error
    finally:
        processes = list((pool._processes or {}).values())  # no public way to stop
        if running:
            for process in processes:
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _begin(parent: int) -> None:
    """Leave signals to the parent, and end when the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
