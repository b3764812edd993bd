import math
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.foundation.errors import ResourceError
from medssl.ingestion import workers
from medssl.ingestion.codes import Code
from medssl.ingestion.workers import GIB, Budget, Lost, Work, Workers

SHORT = Budget(seconds=0.5, memory_bytes=GIB // 4)


def run(task, items, *, workers=2, budget=SHORT, **how):
    with Workers(workers, budget) as pool:
        return list(pool.run(task, items, Work(**how)))


def root(number, at):
    at(0)
    return math.sqrt(number)


def act(item, at):
    """Do what the parts of an item say, and return how many there are."""
    for number, what in enumerate(item):
        at(number)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "abort":
            os.abort()
        if what == "hang":
            time.sleep(60)
        if isinstance(what, int):
            bytearray(what)
    return len(item)


def try_memory(n_bytes, at):
    at(0)
    try:
        return len(bytearray(n_bytes))
    except MemoryError:
        return "refused"


def environment(name, at):
    at(0)
    return os.environ.get(name)


def speak(text, at):
    at(0)
    print(text)  # noqa: T201
    print(text, file=sys.stderr)  # noqa: T201
    os.write(2, text.encode())


def without(item, lost):
    """Leave out the part that was lost; nothing is left of an item of one."""
    rest = [what for number, what in enumerate(item) if number != lost.part]
    return rest or None


@pytest.mark.parametrize("n_workers", [1, 2])
def test_results_come_in_order(n_workers):
    numbers = list(range(50))
    assert run(root, numbers, workers=n_workers, chunk=7) == [math.sqrt(n) for n in numbers]


@pytest.mark.parametrize(
    ("end", "at", "chunk", "n_workers"),
    [
        ("kill", {4, 5, 15}, 1, 1),
        ("kill", {4, 5, 15}, 3, 1),
        ("kill", {4, 5, 15}, 3, 2),
        ("kill", {0, 29}, 1, 2),
        ("abort", {14}, 3, 2),
        ("hang", {4}, 3, 2),
        ("hang", {15}, 1, 1),
    ],
)
def test_exactly_the_items_are_lost_that_end_their_process(end, at, chunk, n_workers):
    items = [["a", end] if number in at else ["a"] * number for number in range(30)]
    lost = Lost(1, Code.TIMED_OUT if end == "hang" else Code.WORKER_DIED)
    found = run(act, items, workers=n_workers, chunk=chunk)
    assert found == [lost if number in at else number for number in range(30)]


def test_what_a_process_had_done_before_it_died_is_not_lost_with_it():
    items = [["a"] * number for number in range(6)] + [["b", "kill"]] + [["c"]] * 40
    results = []
    with Workers(1, SHORT) as pool:
        for result in pool.run(act, items, Work(chunk=2)):
            if len(results) < 8:
                time.sleep(0.02)  # the process is ahead of who reads its results
            results.append(result)
    assert results == [0, 1, 2, 3, 4, 5, Lost(1, Code.WORKER_DIED), *[1] * 40]


def test_a_process_has_its_next_items_before_it_has_done_the_first(tmp_path):
    """Its parent is held up, and it is not."""
    paths = [tmp_path / str(number) for number in range(20)]
    with Workers(1) as pool:
        for number, _ in enumerate(pool.run(touch, paths, Work(chunk=1))):
            if not number:
                deadline = time.monotonic() + 10
                while not paths[1].exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert paths[1].exists()


def touch(path, at):
    at(0)
    path.touch()


@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 8))
def test_chunks_hold_every_item_once_and_get_smaller(n_items, most, n_workers):
    chunks = [chunk.items for chunk in workers._cut(range(n_items), most, n_workers)]
    assert [item for chunk in chunks for item in chunk] == list(range(n_items))
    sizes = [len(chunk) for chunk in chunks]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes, default=1) <= most
    assert sizes[-n_workers:] == [1] * min(n_workers, n_items)


def test_an_item_is_done_without_its_parts_that_end_processes():
    items = [["a", "kill", "b", "hang", "c", "kill"], ["kill"], ["d"]]
    found = run(act, items, workers=1, without=without)
    assert found == [3, Lost(0, Code.WORKER_DIED), 1]


def test_the_clock_runs_for_each_part(monkeypatch):
    monkeypatch.setattr(workers, "_TICK", 0.02)
    slow = [[0.4] * 4]
    assert run(sleep, slow, budget=Budget(seconds=1.2)) == [4]


def sleep(item, at):
    for number, seconds in enumerate(item):
        at(number)
        time.sleep(seconds)
    return len(item)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_memory_is_limited_to_the_budget_and_what_an_item_claims():
    sizes = [GIB // 8, GIB // 2, GIB // 8]
    budget = Budget(memory_bytes=GIB // 4)
    assert run(try_memory, sizes, budget=budget) == [sizes[0], "refused", sizes[2]]
    assert run(try_memory, sizes, budget=budget, claims=lambda n: n) == sizes


def test_processes_are_started_when_needed_and_kept(monkeypatch):
    started = []
    monkeypatch.setattr(workers._Worker, "take", counted(workers._Worker.take, started))
    with Workers(2) as pool:
        assert pool._workers == []
        assert list(pool.run(root, [4.0], Work())) == [2.0]
        assert len(pool._workers) == 1
        assert list(pool.run(root, [4.0, 9.0], Work())) == [2.0, 3.0]
        assert len({id(worker) for worker in started}) <= 2
    assert pool._workers == []


def counted(take, started):
    def call(self, *args):
        started.append(self)
        return take(self, *args)

    return call


SCRIPT = """
from medssl.ingestion import decoding
from medssl.ingestion.header import PLAIN
from medssl.ingestion.workers import Work, Workers
from functools import partial
from pathlib import Path
print("once")
with Workers(2) as pool:
    pool.get_ready()
    print([str(code) for code in pool.run(partial(decoding.header, PLAIN), [Path("text")], Work())])
"""


def test_a_script_needs_no_guard_and_runs_once(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "text").write_text("text", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "once\n['SKIPPED_TEXT']\n"


def test_workers_that_cannot_start_are_told(monkeypatch):
    monkeypatch.setattr(workers.serving, "serve", math.sqrt)  # fails with these arguments
    with pytest.raises(ResourceError, match="the worker processes cannot start"):
        run(root, [1.0])


def test_an_error_of_ours_is_not_swallowed():
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        run(root, [1.0, -1.0])


def test_a_caller_that_stops_early_leaves_no_process():
    with Workers(2) as pool:
        for _ in pool.run(root, range(1000), Work(chunk=3)):
            break
        del _
        assert list(pool.run(root, [16.0], Work())) == [4.0]


def test_workers_use_one_thread_and_the_parent_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert run(environment, ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]) == ["1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_nothing_a_library_prints_is_heard(capfd):
    assert run(speak, ["Zebulon"]) == [None]
    assert "Zebulon" not in "".join(capfd.readouterr())


def test_as_many_processes_as_asked_for():
    assert workers.count(3) == 3
    assert workers.count(0) == 1
    assert workers.count(None) >= 1


def echo(item, at):
    at(0)
    return item


def test_items_and_results_larger_than_any_buffer_pass_each_other():
    items = [bytes([n]) * 3_000_000 for n in range(6)]
    assert run(echo, items, budget=Budget(seconds=60)) == items


def vanish(item, at):
    at(0)
    return Unpicklable() if item == "bad" else item


class Unpicklable:
    def __reduce__(self):
        os._exit(3)


def test_a_result_that_ends_its_process_is_lost_and_not_tried_for_ever():
    assert run(vanish, ["a", "bad", "c"]) == ["a", Lost(0, Code.WORKER_DIED), "c"]
