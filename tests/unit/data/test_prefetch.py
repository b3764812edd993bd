"""Reading ahead changes when items are made, and nothing else."""

import gc
import subprocess
import sys
import threading
import time
import traceback

import pytest
import torch

from medssl.data.prefetch import ahead, pinned

SOON = 5  # s, far more than any of this takes


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("medssl-ahead")]


def wait_until(happens):
    end = time.monotonic() + SOON
    while not happens() and time.monotonic() < end:
        time.sleep(0.001)
    assert happens()


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert not threads()


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 20])
def test_all_items_come_in_order(n, depth):
    assert list(ahead(iter(range(n)), depth)) == list(range(n))


def test_items_may_be_none_or_false():
    assert list(ahead([None, False, 0, None])) == [None, False, 0, None]


def test_items_are_made_elsewhere_while_the_consumer_works():
    made = []

    def items():
        for i in range(10):
            made.append((i, threading.get_ident()))
            yield i

    shown = ahead(items(), depth=3)
    assert not made  # nothing happens before it is asked for
    assert next(shown) == 0
    wait_until(lambda: len(made) == 4)  # the one given and three more
    time.sleep(0.02)
    assert len(made) == 4
    assert {ident for _, ident in made}.isdisjoint({threading.get_ident()})
    shown.close()


def test_making_and_using_items_overlap():
    """Item n + 1 is finished only while item n is in use, and the consumer waits for that."""
    finished = [threading.Event() for _ in range(4)]

    def items():
        for event in finished:
            event.set()
            yield event

    for event, following in zip(ahead(items(), depth=1), finished[1:], strict=False):
        assert event.is_set()
        assert following.wait(SOON)


def test_an_exception_reaches_the_consumer_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise LookupError("no such shard")

    seen = []
    with pytest.raises(LookupError, match="no such shard") as caught:
        seen.extend(ahead(items()))
    assert [f.name for f in traceback.extract_tb(caught.value.__traceback__)][-1] == "items"
    shown = ahead(items())
    assert [next(shown), next(shown)] == [1, 2]
    with pytest.raises(LookupError):
        next(shown)
    assert list(shown) == []


def test_closing_ends_the_thread_and_the_source():
    ended = []

    def items():
        try:
            yield from range(1000)
        finally:
            ended.append(True)

    shown = ahead(items())
    assert next(shown) == 0
    assert len(threads()) == 1
    shown.close()
    assert not threads()
    assert ended == [True]


def test_forgetting_ends_the_thread():
    for number in ahead(range(1000)):
        if number == 3:
            break
    gc.collect()  # the loop's iterator is gone with the loop
    assert not threads()


def test_forgetting_in_a_cycle_ends_the_thread():
    shown = ahead(range(1000))
    next(shown)
    cycle = [shown]
    cycle.append(cycle)
    del shown, cycle
    gc.collect()
    assert not threads()


def test_it_may_be_collected_in_its_own_thread():
    """The garbage collector runs wherever it likes; a thread that waited for itself would hang."""
    given, collected = threading.Event(), threading.Event()

    def items():
        yield 0
        assert given.wait(SOON)
        gc.collect()
        collected.set()
        yield 1

    gc.disable()
    try:
        shown = ahead(items(), depth=1)
        next(shown)
        cycle = [shown]
        cycle.append(cycle)
        del shown, cycle
        given.set()
        assert collected.wait(SOON)
    finally:
        gc.enable()
    wait_until(lambda: not threads())


@pytest.mark.slow  # a new interpreter has to import torch
def test_a_program_ends_though_it_holds_one_half_read():
    program = """
import itertools
from medssl.data.prefetch import ahead
shown = ahead(itertools.count())
print(next(shown))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout, ended.stderr) == ("0\n", "")


def test_pinning_keeps_the_values():
    batch = {"image": torch.arange(6.0).reshape(1, 1, 2, 3), "hu": torch.tensor([True])}
    found = pinned(batch)
    assert list(found) == ["image", "hu"]
    assert all(torch.equal(found[name], batch[name]) for name in batch)
    assert {t.is_pinned() for t in found.values()} == {torch.cuda.is_available()}
