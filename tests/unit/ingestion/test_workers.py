import math
import os
import signal

import pytest

from medssl.ingestion import workers
from medssl.ingestion.workers import WorkerDied


@pytest.mark.parametrize("n_workers", [1, 2])
def test_results_come_in_order(n_workers):
    numbers = list(range(50))
    found = list(workers.run(math.sqrt, numbers, workers=n_workers, chunk=7))
    assert found == [math.sqrt(n) for n in numbers]


def test_only_the_item_that_kills_its_worker_is_lost():
    signals = [0, 0, signal.SIGKILL, 0, 0, 0]
    results = list(workers.run(signal.raise_signal, signals, workers=2, chunk=2))
    assert results == [None, None, WorkerDied(), None, None, None]


def test_an_error_of_ours_is_not_swallowed():
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(workers.run(math.sqrt, [1.0, -1.0], workers=2, chunk=1))


def test_workers_use_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert list(workers.run(os.getenv, ["OMP_NUM_THREADS"], workers=2, chunk=1)) == ["1"]


def test_few_files_are_not_worth_a_process():
    assert workers.count(None, workers.WORTH_IT) == 1
    assert workers.count(None, workers.WORTH_IT + 1) >= 1
    assert workers.count(3, 1) == 3
    assert workers.count(0, 1000) == 1
