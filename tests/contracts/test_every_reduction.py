"""What every file of reduction/ must do, tested from the moment it exists."""

import hashlib
from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl import reduction
from medssl.config import loading
from medssl.data.shown import Shown
from medssl.foundation import plugins
from medssl.reduction._contract import Needs

PLUGINS = [plugins.load(reduction, name) for name in plugins.names(reduction)]
VARIANTS = {
    "embedding": [{}, {"encoder": "runs/a"}, {"side": 8}],
    "dhash": [{}, {"bits": 256}, {"blank_below": 0}],
    "phash": [{}, {"bits": 256}],
    "ssim": [{}, {"side": 24}],
    "every_n": [{}, {"n": 1}],
}
CASES = [
    pytest.param(plugin, loading.decode(plugin.Config, options, where="options"), id=f"{name}{k}")
    for plugin, name in zip(PLUGINS, plugins.names(reduction), strict=True)
    for k, options in enumerate(VARIANTS.get(name, [{}]))
]


def picture(number):
    """One of a few images, or a blank one; a few grey values, so that many are equal."""
    rng = np.random.default_rng(number % 7)
    cells = rng.integers(0, 4, size=(5, 6)).astype(np.uint8) * 60
    body = np.kron(cells, np.ones((6, 6), np.uint8)) > 0 if number % 3 == 0 else None
    if number % 7 == 0:
        return Shown(np.full((30, 36), 80, np.uint8))
    return Shown(np.kron(cells, np.ones((6, 6), np.uint8)), body)


def features(number):
    vector = np.random.default_rng(number % 7).normal(size=24).astype(np.float32)
    return vector * (number % 7 > 0)


ITEM = {
    "ids": lambda number: f"id{number}",
    "digests": lambda number: hashlib.sha256(bytes([number % 7])).hexdigest(),
    "positions": lambda number: number,
    "pixels": picture,
    "features": features,
}


def described(plugin, config, numbers):
    make = ITEM[plugin.needs(config)]
    return plugin.describe((make(number) for number in numbers), config)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_its_constants_can_be_used(plugin):
    assert 0 < plugin.THRESHOLD <= 1
    assert plugin.SAME is None or plugin.THRESHOLD <= plugin.SAME <= 1
    assert 0 <= plugin.ERROR < 0.01


@pytest.mark.parametrize(("plugin", "config"), CASES)
def test_it_needs_one_kind_of_item_and_takes_each_once(plugin, config):
    needs = plugin.needs(config)
    taken = []

    def items() -> Iterator[object]:
        for number in range(6):
            taken.append(number)
            yield ITEM[needs](number)

    assert needs in get_args(Needs)
    assert len(plugin.describe(items(), config)) == 6
    assert taken == list(range(6))


@pytest.mark.parametrize(("plugin", "config"), CASES)
@settings(max_examples=8)
@given(numbers=st.lists(st.integers(0, 40), min_size=1, max_size=12), cut=st.integers(0, 12))
def test_a_descriptor_follows_from_its_item_alone(plugin, config, numbers, cut):
    whole = described(plugin, config, numbers)
    parts = [described(plugin, config, some) for some in (numbers[:cut], numbers[cut:]) if some]
    assert whole.ndim == 2
    assert whole.tobytes() == np.concatenate(parts).tobytes()
    assert whole.dtype == parts[0].dtype


@pytest.mark.parametrize(("plugin", "config"), CASES)
def test_no_items_have_no_descriptors(plugin, config):
    none, some = described(plugin, config, []), described(plugin, config, range(3))
    assert len(none) == 0
    assert none.dtype == some.dtype
    if plugin.needs(config) != "features":  # how many there are, only the encoder knows
        assert none.shape[1] == some.shape[1]
        assert plugin.similarity(none, some, config).shape == (0, 3)
    assert plugin.exact(some[:0], some[:0], config).shape == (0,)


@pytest.mark.parametrize(("plugin", "config"), CASES)
def test_similarity_is_symmetric_and_between_0_and_1(plugin, config):
    a, b = described(plugin, config, range(9)), described(plugin, config, range(5, 20))
    table = plugin.similarity(a, b, config)
    assert table.shape == (9, 15)
    assert np.abs(table - plugin.similarity(b, a, config).T).max() <= plugin.ERROR
    assert table.min() >= 0
    assert table.max() <= 1
    assert np.array_equal(table, plugin.similarity(a, b, config))


@pytest.mark.parametrize(("plugin", "config"), CASES)
def test_exact_values_are_within_the_stated_error(plugin, config):
    found = described(plugin, config, range(16))
    table = plugin.similarity(found, found, config)
    i, j = np.indices(table.shape).reshape(2, -1)
    values = plugin.exact(found[i], found[j], config)
    assert values.dtype == np.float64
    assert np.abs(values - table[i, j]).max() <= plugin.ERROR
    assert np.array_equal(values, plugin.exact(found[j], found[i], config))


@pytest.mark.parametrize(("plugin", "config"), CASES)
@settings(max_examples=8)
@given(pairs=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=9))
def test_a_pair_has_one_exact_value_whatever_stands_beside_it(plugin, config, pairs):
    found = described(plugin, config, range(16))
    i, j = np.array(pairs).T
    together = plugin.exact(found[i], found[j], config)
    alone = [plugin.exact(found[k : k + 1], found[m : m + 1], config)[0] for k, m in pairs]
    assert together.tolist() == alone


@pytest.mark.parametrize(("plugin", "config"), CASES)
def test_an_image_is_itself_where_similarity_means_likeness(plugin, config):
    if plugin.SAME is None:
        pytest.skip("the similarity says nothing about likeness")
    found = described(plugin, config, [0, 1, 2, 3, 7, 8])  # 7 is like 0, 8 like 1
    assert (plugin.exact(found, found, config) == 1).all()
    if plugin.needs(config) not in ("ids", "positions"):
        assert plugin.exact(found[4:], found[:2], config).tolist() == [1, 1]
    assert plugin.exact(found[:3], found[1:4], config).max() < 1


@pytest.mark.parametrize(("plugin", "config"), CASES)
def test_ranks_are_finite_and_follow_from_the_descriptor(plugin, config):
    found = described(plugin, config, range(10))
    ranks = plugin.rank(found, config)
    assert ranks.shape == (10,)
    assert np.isfinite(ranks).all()
    assert np.array_equal(plugin.rank(found[::-1], config), ranks[::-1])


@pytest.mark.parametrize(("plugin", "config"), CASES)
def test_descriptors_may_be_a_read_only_memory_map(plugin, config, tmp_path):
    found = described(plugin, config, range(8))
    np.save(tmp_path / "descriptors.npy", found)
    mapped = np.load(tmp_path / "descriptors.npy", mmap_mode="r")
    before = mapped.tobytes()
    table = plugin.similarity(mapped[:4], mapped[4:], config)
    assert np.array_equal(table, plugin.similarity(found[:4], found[4:], config))
    assert np.array_equal(plugin.exact(mapped, mapped[::-1], config),
                          plugin.exact(found, found[::-1], config))  # fmt: skip
    assert np.array_equal(plugin.rank(mapped, config), plugin.rank(found, config))
    assert mapped.tobytes() == before


@pytest.mark.parametrize(("plugin", "config"), CASES)
def test_a_pair_costs_at_least_its_number(plugin, config):
    found = described(plugin, config, range(4))
    numbers = plugin.similarity(found, found, config)
    assert numbers.itemsize <= plugin.pair_bytes(found) <= 64


@pytest.mark.parametrize(("plugin", "config"), CASES)
def test_its_order_and_its_vectors_are_what_it_says(plugin, config):
    found = described(plugin, config, range(10))
    assert (len(np.unique(plugin.rank(found, config))) > 1) == plugin.OWN_ORDER
    lengths = np.sqrt((found.astype(np.float64) ** 2).sum(axis=1))
    is_unit = found.dtype == np.float32 and np.abs(lengths - 1).max() < 1e-6
    assert is_unit == plugin.VECTORS
