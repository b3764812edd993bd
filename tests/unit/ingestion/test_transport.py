import contextlib
import pickle
import socket
import threading

import numpy as np
import pytest

from medssl.ingestion import transport


@pytest.fixture
def ends():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(end) for end in socket.socketpair()]


def passed(ends, content):
    """What arrives of it."""
    sender = threading.Thread(target=transport.send, args=(ends[0], transport.packed(content)))
    sender.start()
    found = transport.receive(ends[1])
    sender.join()
    return found


@pytest.mark.parametrize("content", [None, [], ("a", 1.5, {"b": b"c"}), ValueError("no")])
def test_anything_that_can_be_pickled_arrives(ends, content):
    assert repr(passed(ends, content)) == repr(content)


def test_arrays_arrive_bit_for_bit_whatever_their_size_and_order(ends):
    rng = np.random.default_rng(0)
    block = rng.integers(0, 9, (60, 300, 301), dtype=np.int16)
    given = [
        block,
        block[:, ::2],
        block[0].T,
        np.zeros((0, 4), np.float32),
        np.array(7.5),
        np.array([None, "a"], dtype=object),
    ]
    found = passed(ends, given)
    assert [one.dtype for one in found] == [one.dtype for one in given]
    assert all(np.array_equal(one, other) for one, other in zip(found, given, strict=True))


def test_messages_do_not_run_into_each_other(ends):
    for number in range(20):
        transport.send(ends[0], transport.packed(np.full(number, number)))
    assert [len(transport.receive(ends[1])) for _ in range(20)] == list(range(20))


def test_what_fits_is_sent_though_nobody_reads(ends):
    end, other = ends
    end.settimeout(1)
    least, most = 0, 2**24
    while most - least > 1:  # the largest that fits
        middle = (least + most) // 2
        fits = transport.fits(end, transport.packed(bytes(middle)))
        least, most = (middle, most) if fits else (least, middle)
    assert least > 2**10
    transport.send(end, transport.packed(bytes(least)))
    assert transport.receive(other) == bytes(least)


@pytest.mark.parametrize("keep", [0, 5, 8, 20, -1])
def test_a_message_that_breaks_off_is_none(ends, keep):
    content = b"".join(transport.packed(np.zeros(1000)))
    ends[0].sendall(content[:keep])
    ends[0].close()
    with pytest.raises(EOFError):
        transport.receive(ends[1])


def test_nobody_is_there_to_read(ends):
    ends[1].close()
    with pytest.raises(ConnectionError):
        transport.send(ends[0], transport.packed(bytes(10**6)))


def test_what_cannot_be_pickled_is_told_before_anything_is_sent():
    with pytest.raises((pickle.PicklingError, AttributeError)):
        transport.packed(lambda: None)
