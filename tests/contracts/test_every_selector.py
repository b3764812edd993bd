"""What leader thinning guarantees, whatever strategies say what is alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl import reduction
from medssl.config import loading
from medssl.data.shown import Shown
from medssl.foundation import plugins
from medssl.thinning import leader, scoping
from medssl.thinning.metrics import Metric, own_order, ranks

NAMES = plugins.names(reduction)
CHAINS = [
    (name,) for name in NAMES
] + [("exact", "dhash"), ("dhash", "embedding"), ("every_n", "phash", "exact")]  # fmt: skip
CASES = {
    "n": st.integers(1, 30),
    "tau": st.floats(0.05, 1.0),
    "seed": st.integers(0, 2**32 - 1),
    "fixed": st.integers(0, 3),
}


def items(needs, n, seed):
    """Few different images on purpose: duplicates are where selections go wrong."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, max(1, n // 2), n)
    if needs == "ids":
        return [f"id{i}" for i in range(n)]
    if needs == "digests":
        return [f"{i:064x}" for i in which]
    if needs == "positions":
        return list(range(n))
    base = rng.integers(0, 4, size=(n, 4, 4)).astype(np.uint8) * 60
    return [Shown(np.kron(base[i], np.ones((4, 4), np.uint8))) for i in which]


def metric(name, n, seed, tau):
    plugin = plugins.load(reduction, name)
    config = loading.decode(plugin.Config, {}, where="options")
    descriptors = plugin.describe(items(plugin.needs(config), n, seed), config)
    return Metric(
        name=name,
        strategy=plugin,
        config=config,
        descriptors=descriptors,
        tau=tau,
        places=own_order(plugin, config, descriptors),
    )


def case(names, n, seed, tau, fixed=0):
    chain = tuple(metric(name, n, seed, tau) for name in names)
    protected = np.zeros(n, dtype=bool)
    protected[np.random.default_rng(seed).permutation(n)[:fixed]] = True
    (scope,) = scoping.ordered([np.arange(n)], ranks(chain), protected)
    return chain, scope, protected


def exactly(metric, a, b):
    """How alike rows `a` are to rows `b`, each decided on its own; -1: `b` may not stand for `a`.

    Under a strategy with an order of its own an image stands only for those that come later in it.
    """
    left, right = np.meshgrid(a, b, indexing="ij")
    table = metric.exact(left.ravel(), right.ravel()).reshape(left.shape)
    if metric.strategy.OWN_ORDER:
        rank = metric.strategy.rank(metric.descriptors, metric.config)
        place = np.argsort(np.argsort(rank, kind="stable"))
        table = np.where(place[a][:, None] > place[b][None, :], table, -1)
    return table


def naive(chain, scope):
    """One image after the other: kept, or the first metric and the most similar kept image."""
    kept, dropped = [], {}
    for place, row in enumerate(scope.rows):
        alike = []
        for stage, metric in enumerate(chain):
            values = exactly(metric, np.array([row]), np.array(kept, dtype=int))[0]
            if kept and values.max() >= metric.tau:
                alike.append((stage, kept[int(values.argmax())], values.max()))
        if place < scope.fixed or not alike:
            kept.append(row)
        else:
            dropped[row] = alike[0]
    return sorted(kept), dict(sorted(dropped.items()))


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
@settings(max_examples=12)
@given(**CASES)
def test_it_is_the_walk_from_image_to_image(names, n, tau, seed, fixed):
    chain, scope, _ = case(names, n, seed, tau, fixed)
    kept, dropped = naive(chain, scope)
    thinned = leader.select(chain, [scope])
    assert thinned.kept.tolist() == kept
    found = zip(thinned.stage, thinned.representative, thinned.similarity, strict=True)
    assert dict(zip(thinned.dropped.tolist(), found, strict=True)) == dropped


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
@settings(max_examples=12)
@given(**CASES)
def test_every_dropped_image_has_a_kept_representative_within_the_threshold(
    names, n, tau, seed, fixed
):
    chain, scope, protected = case(names, n, seed, tau, fixed)
    thinned = leader.select(chain, [scope])
    assert sorted([*thinned.kept, *thinned.dropped]) == list(range(n))
    assert set(np.flatnonzero(protected)) <= set(thinned.kept)
    assert set(thinned.representative) <= set(thinned.kept)
    for row, stands_for, value, stage in zip(
        thinned.dropped, thinned.representative, thinned.similarity, thinned.stage, strict=True
    ):
        pair = np.array([row]), np.array([stands_for])
        assert value == chain[stage].exact(*pair)[0] >= tau


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
@settings(max_examples=12)
@given(**CASES)
def test_no_two_kept_images_are_within_a_threshold_unless_both_are_protected(
    names, n, tau, seed, fixed
):
    chain, scope, protected = case(names, n, seed, tau, fixed)
    kept = leader.select(chain, [scope]).kept
    both = protected[kept][:, None] & protected[kept][None, :]
    for link in chain:
        table = exactly(link, kept, kept)
        np.fill_diagonal(table, -1)
        free = ~both
        if link.strategy.OWN_ORDER:  # a protected image may come after one that stands for it
            free = free & ~protected[kept][:, None]
        assert (table[free] < tau).all()


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
@settings(max_examples=8)
@given(**CASES)
def test_blocks_change_nothing_and_a_second_pass_drops_nothing(names, n, tau, seed, fixed):
    chain, scope, protected = case(names, n, seed, tau, fixed)
    whole = leader.select(chain, [scope])
    for block in (1, 3):
        small = leader.select(chain, [scope], block=block)
        for field in ("kept", "dropped", "representative", "similarity", "stage"):
            assert np.array_equal(getattr(whole, field), getattr(small, field))
    (again,) = scoping.ordered([whole.kept], ranks(chain), protected)
    assert len(leader.select(chain, [again]).dropped) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_threshold_above_everything_keeps_everything(name):
    chain, scope, _ = case((name,), 20, 1, np.nextafter(1.0, 2.0))
    assert len(leader.select(chain, [scope]).kept) == 20
