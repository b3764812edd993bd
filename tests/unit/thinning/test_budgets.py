"""Budgets spent on diversity: greedy k-center and balanced k-means."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from medssl.reduction import dhash, embedding
from medssl.thinning import balanced_kmeans, k_center, scoping
from medssl.thinning.metrics import Metric, ranks


def metric(n=200, seed=0, width=12):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, width))
    which = rng.choice(4, size=n, p=[0.85, 0.09, 0.04, 0.02])  # one kind of image is common
    vectors = centres[which] + 0.3 * rng.normal(size=(n, width))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    config = embedding.Config()
    return Metric(
        name="embedding", strategy=embedding, config=config, descriptors=unit, tau=1.0
    ), which


def scopes(link, keys=None, fixed=()):
    n = len(link.descriptors)
    protected = np.zeros(n, dtype=bool)
    protected[list(fixed)] = True
    return scoping.ordered(scoping.rows_of(keys, n), ranks((link,)), protected)


def table(link):
    rows = np.arange(len(link.descriptors))
    left, right = np.meshgrid(rows, rows, indexing="ij")
    return link.exact(left.ravel(), right.ravel()).reshape(len(rows), -1)


def naive(link, budget):
    """Gonzalez on the whole table."""
    similar, kept = table(link), [0]
    while len(kept) < budget:
        best = similar[:, kept].max(axis=1)
        best[kept] = np.inf
        kept.append(int(best.argmin()))
    return kept


@pytest.mark.parametrize("budget", [1, 2, 9, 60, 200])
def test_k_center_keeps_again_and_again_what_is_least_like_anything_kept(budget):
    link, _ = metric()
    thinned = k_center.select(link, scopes(link), budget)
    assert thinned.kept.tolist() == sorted(naive(link, budget))
    similar = table(link)[np.ix_(thinned.dropped, thinned.kept)]
    assert np.array_equal(thinned.similarity, similar.max(axis=1))
    assert np.array_equal(table(link)[thinned.dropped, thinned.representative], thinned.similarity)


def test_its_threshold_is_its_coverage_and_no_two_kept_images_are_more_alike():
    link, _ = metric()
    thinned = k_center.select(link, scopes(link), 20)
    assert (thinned.tau == thinned.similarity.min()).all()
    kept = table(link)[np.ix_(thinned.kept, thinned.kept)]
    np.fill_diagonal(kept, -1)
    assert kept.max() <= thinned.tau[0]


def test_k_center_covers_better_than_what_comes_first():
    link, _ = metric()
    thinned = k_center.select(link, scopes(link), 20)
    first = table(link)[:, :20].max(axis=1).min()
    assert thinned.similarity.min() > first


def test_k_center_works_on_hashes_and_over_scopes():
    rng = np.random.default_rng(0)
    hashes = np.zeros((60, 2), dtype=np.uint64)
    hashes[:, 0] = rng.integers(0, 2**63, 60)
    link = Metric(name="dhash", strategy=dhash, config=dhash.Config(), descriptors=hashes, tau=1.0)
    keys = ["a"] * 10 + ["b"] * 50
    thinned = k_center.select(link, scopes(link, keys, fixed=[4, 30, 31]), 12)
    assert len(thinned.kept) == 12
    assert {4, 30, 31} <= set(thinned.kept.tolist())
    assert all(keys[d] == keys[r] for d, r in zip(thinned.dropped, thinned.representative,
                                                  strict=True))  # fmt: skip


def test_balanced_k_means_gives_rare_kinds_as_much_as_common_ones():
    link, which = metric(n=400)
    thinned = balanced_kmeans.select(link, scopes(link), 16)
    share = np.bincount(which[thinned.kept], minlength=4) / len(thinned.kept)
    assert len(thinned.kept) == 16
    assert share[0] < 0.7 < np.mean(which == 0)
    similar = table(link)[np.ix_(thinned.dropped, thinned.kept)]
    assert np.array_equal(thinned.similarity, similar.max(axis=1))
    assert (thinned.tau == thinned.similarity.min()).all()


def test_balanced_k_means_does_not_depend_on_threads():
    link, _ = metric(n=300)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(balanced_kmeans.select(link, scopes(link), 30).kept)
    assert np.array_equal(*found)


def test_balanced_k_means_shares_by_size_and_keeps_what_is_protected():
    link, _ = metric(n=100)
    keys = ["a"] * 20 + ["b"] * 80
    thinned = balanced_kmeans.select(link, scopes(link, keys, fixed=[50, 51]), 25)
    assert np.bincount(thinned.kept >= 20).tolist() == [5, 20]
    assert {50, 51} <= set(thinned.kept.tolist())


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), min_size=1, max_size=8),
    st.integers(0, 200),
    st.booleans(),
)
def test_a_total_is_shared_out_evenly_within_the_limits(rows, total, by_size):
    capacity = np.array([max(a, b) for a, b in rows])
    least = np.array([b for _, b in rows])
    weights = np.maximum(1.0, capacity) if by_size else None
    shares = balanced_kmeans.level(capacity, total, least, weights)
    assert (least <= shares).all()
    assert (shares <= capacity).all()
    assert shares.sum() == max(least.sum(), min(total, capacity.sum()))
    by = np.ones(len(shares)) if weights is None else weights
    gives, takes = shares > least, shares < capacity
    for one in np.flatnonzero(gives):  # nothing is gained by moving one to another
        for other in np.flatnonzero(takes):
            assert shares[one] / by[one] <= (shares[other] + 1) / by[other] + 1e-9
