"""Seeds for named purposes are stable, distinct, and cannot be confused with one another."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medssl.foundation import seeding

purposes = st.lists(st.text("abc12", max_size=3) | st.integers(0, 30), max_size=3)


def test_a_seed_is_the_first_bytes_of_a_digest():
    digest = hashlib.sha256(b"7\0views\x003").digest()
    expected = sum(byte << (8 * place) for place, byte in enumerate(digest[:4]))
    assert seeding.derive(7, "views", 3) == expected


@given(first=purposes, second=purposes, seed=st.integers(0, 2**32 - 1))
def test_other_purposes_get_other_seeds(first, second, seed):
    same = [str(part) for part in first] == [str(part) for part in second]
    assert (seeding.derive(seed, *first) == seeding.derive(seed, *second)) == same
    assert 0 <= seeding.derive(seed, *first) < 2**32


def test_parts_do_not_run_together():
    assert seeding.derive(0, "a", "b") != seeding.derive(0, "ab")
    assert seeding.derive(1, 2) != seeding.derive(12)


def test_generators_repeat_and_ignore_the_global_state():
    first = seeding.rng(0, "folds").random(4)
    np.random.seed(99)  # noqa: NPY002 - the state that must not matter
    assert (seeding.rng(0, "folds").random(4) == first).all()
    assert (seeding.rng(0, "views").random(4) != first).any()
