"""What every file of reduction/ must do, tested from the moment it exists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl import reduction
from medssl.config import loading
from medssl.foundation import plugins
from medssl.reduction import _leader

NAMES = plugins.names(reduction)
CASES = {
    "n": st.integers(1, 40),
    "tau": st.floats(0.05, 1.0),
    "seed": st.integers(0, 2**32 - 1),
}


def described(plugin, n, seed):
    # Few grey values on purpose: duplicates are where selections go wrong.
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 4, size=(max(1, n // 2), 4, 4)).astype(np.uint8) * 60
    images = [np.kron(base[i], np.ones((4, 4), np.uint8)) for i in rng.integers(0, len(base), n)]
    config = loading.decode(plugin.Config, {}, where="options")
    return plugin.describe(images, [f"id{i}" for i in range(n)], config), config


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50)
@given(**CASES)
def test_every_dropped_image_has_a_kept_representative(name, n, tau, seed):
    plugin = plugins.load(reduction, name)
    descriptors, config = described(plugin, n, seed)
    thinned = _leader.select(plugin, descriptors, tau, config)
    assert sorted([*thinned.kept, *thinned.dropped]) == list(range(n))
    table = plugin.similarity(descriptors, descriptors, config)
    for row, stands_for, value in zip(
        thinned.dropped, thinned.representative, thinned.similarity, strict=True
    ):
        assert stands_for in thinned.kept
        assert value == table[row, stands_for] >= tau


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50)
@given(**CASES)
def test_no_two_kept_images_are_within_the_threshold(name, n, tau, seed):
    plugin = plugins.load(reduction, name)
    descriptors, config = described(plugin, n, seed)
    kept = _leader.select(plugin, descriptors, tau, config).kept
    table = plugin.similarity(descriptors[kept], descriptors[kept], config)
    np.fill_diagonal(table, -1)
    assert (table < tau).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(**CASES)
def test_block_size_and_a_second_pass_change_nothing(name, n, tau, seed):
    plugin = plugins.load(reduction, name)
    descriptors, config = described(plugin, n, seed)
    whole = _leader.select(plugin, descriptors, tau, config)
    small = _leader.select(plugin, descriptors, tau, config, block=3)
    for field in ("kept", "dropped", "representative", "similarity"):
        assert np.array_equal(getattr(whole, field), getattr(small, field))
    again = _leader.select(plugin, descriptors[whole.kept], tau, config)
    assert len(again.dropped) == 0


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_it_looks_at_pixels(name):
    plugin = plugins.load(reduction, name)
    config = loading.decode(plugin.Config, {}, where="options")
    seen = []

    def images():
        for number in range(6):
            seen.append(number)
            yield np.full((16, 16), number, np.uint8)

    descriptors = plugin.describe(images(), [f"id{i}" for i in range(6)], config)
    assert len(descriptors) == 6
    assert bool(seen) == plugin.NEEDS_PIXELS


@pytest.mark.parametrize("name", NAMES)
def test_similarity_is_symmetric_and_between_0_and_1(name):
    plugin = plugins.load(reduction, name)
    descriptors, config = described(plugin, 20, 5)
    table = plugin.similarity(descriptors, descriptors, config)
    assert np.array_equal(table, table.T)
    assert table.min() >= 0
    assert table.max() <= 1
    assert 0 < plugin.THRESHOLD <= 1
