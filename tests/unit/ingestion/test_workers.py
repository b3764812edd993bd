import math
import os
import signal
import subprocess
import sys
from concurrent import futures

import pytest

from medssl.foundation.errors import ResourceError
from medssl.ingestion import workers
from medssl.ingestion.workers import WorkerDied, Workers


def run(function, items, *, workers, chunk):
    with Workers(workers) as pool:
        return list(pool.run(function, items, chunk=chunk))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_results_come_in_order(n_workers):
    numbers = list(range(50))
    found = run(math.sqrt, numbers, workers=n_workers, chunk=7)
    assert found == [math.sqrt(n) for n in numbers]


def test_only_the_item_that_kills_its_worker_is_lost():
    signals = [0, 0, signal.SIGKILL, 0, 0, 0]
    results = run(signal.raise_signal, signals, workers=2, chunk=2)
    assert results == [None, None, WorkerDied(), None, None, None]


def test_the_first_item_may_be_the_one_that_kills():
    results = run(signal.raise_signal, [signal.SIGKILL, 0], workers=2, chunk=1)
    assert results == [WorkerDied(), None]


def test_one_pool_serves_all_tasks(monkeypatch):
    started = []

    class Counted(futures.ProcessPoolExecutor):
        def __init__(self, *args, **more):
            started.append(args)
            super().__init__(*args, **more)

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Counted)
    with Workers(2) as pool:
        assert started == []
        assert list(pool.run(math.sqrt, [4.0], chunk=1)) == [2.0]
        assert list(pool.run(abs, [-1, -2], chunk=1)) == [1, 2]
    assert started == [(2,)]


SCRIPT = """
import math
from medssl.ingestion.workers import Workers
with Workers(2) as pool:
    print(list(pool.run(math.sqrt, [1.0, 4.0], chunk=1)))
"""


def test_a_script_without_a_guard_is_told_so(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("ResourceError: the worker processes cannot start") == 1
    assert '__name__ == "__main__"' in done.stderr


def test_workers_that_cannot_start_are_told(monkeypatch):
    monkeypatch.setattr(workers, "_start", math.sqrt)  # fails without an argument
    with pytest.raises(ResourceError, match="the worker processes cannot start"):
        run(math.sqrt, [1.0], workers=2, chunk=1)


def test_an_error_of_ours_is_not_swallowed():
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        run(math.sqrt, [1.0, -1.0], workers=2, chunk=1)


def test_workers_use_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert run(os.getenv, ["OMP_NUM_THREADS"], workers=2, chunk=1) == ["1"]


def test_few_files_are_not_worth_a_process():
    assert workers.count(None, workers.WORTH_IT) == 1
    assert workers.count(None, workers.WORTH_IT + 1) >= 1
    assert workers.count(3, 1) == 3
    assert workers.count(0, 1000) == 1
