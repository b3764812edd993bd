"""The selector where other rules fail: long smooth chains, scopes and budgets."""

from types import SimpleNamespace

import numpy as np
import pytest

from medssl.foundation.errors import UsageError
from medssl.reduction import _leader, _scopes, random

cosine = SimpleNamespace(
    similarity=lambda a, b, _: (1 + a @ b.T) / 2,
    rank=lambda a, _: np.zeros(len(a)),
)


def smooth_path(n=300, step=0.17, seed=0):
    """Unit vectors of which only neighbours are alike, as the slices of a volume are."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=16)
    path = []
    for _ in range(n):
        x = x / np.linalg.norm(x)
        path.append(x)
        x = x + step * rng.normal(size=16) / 4
    return np.array(path)


def test_a_chain_of_neighbours_is_not_one_cluster():
    path = smooth_path()
    neighbours = (path[1:] * path[:-1]).sum(1)
    assert neighbours.min() > 0.95  # union-find at 0.95 would keep one image
    thinned = _leader.select(cosine, path, (1 + 0.95) / 2, None)
    assert len(thinned.kept) >= 0.05 * len(path)
    assert thinned.similarity.min() >= (1 + 0.95) / 2


def test_the_representative_is_the_most_similar_image_kept_before():
    path = smooth_path(80)
    thinned = _leader.select(cosine, path, 0.97, None)
    table = cosine.similarity(path[thinned.dropped], path[thinned.kept], None)
    table[thinned.kept[None, :] > thinned.dropped[:, None]] = -1
    assert np.array_equal(thinned.representative, thinned.kept[table.argmax(axis=1)])


def test_scopes_do_not_see_each_other():
    twice = np.vstack([smooth_path(30)] * 2)
    keys = ["a"] * 30 + ["b"] * 30
    apart = _scopes.thin(cosine, twice, _scopes.rows_of(keys, 60), 0.97, None)
    together = _scopes.thin(cosine, twice, _scopes.rows_of(None, 60), 0.97, None)
    assert len(apart.kept) == 2 * len(together.kept)
    assert all(keys[d] == keys[r] for d, r in zip(apart.dropped, apart.representative, strict=True))


def test_scopes_may_be_interleaved():
    rows = _scopes.rows_of(["a", "b", "a", None, "b"], 5)
    assert [r.tolist() for r in rows] == [[0, 2], [1, 4], [3]]


@pytest.mark.parametrize("budget", [1, 7, 40, 80, 500])
def test_a_budget_is_never_exceeded(budget):
    path = smooth_path(80)
    thinned, tau = _scopes.thin_to(cosine, path, [np.arange(80)], budget, None)
    assert len(thinned.kept) <= budget
    assert np.array_equal(_leader.select(cosine, path, tau, None).kept, thinned.kept)
    assert len(thinned.kept) >= min(budget, 80) * 0.5


def test_a_budget_below_the_number_of_scopes_is_refused():
    scopes = _scopes.rows_of(["a", "b", "c"], 3)
    with pytest.raises(UsageError, match="at least one of each of 3 scopes"):
        _scopes.thin_to(cosine, smooth_path(3), scopes, 2, None)


KEYS = ["a", "b", "a", "c", "b", "a", "a", "b"] * 5
COUNTS = [7, 1, 5]


def drawn(seed=0):
    scopes, config = _scopes.rows_of(KEYS, 40), random.Config(seed=seed)
    described = _scopes.describe(random, [f"id{i}" for i in range(40)], scopes, config)
    return scopes, described, config, *_scopes.take(random, described, scopes, COUNTS, config)


def test_taking_by_number_is_thinning_each_scope_at_its_own_threshold():
    scopes, described, config, taken, tau = drawn()
    for rows, count in zip(scopes, COUNTS, strict=True):
        inside = np.isin(taken.dropped, rows)
        (cut,) = set(tau[inside]) or {1.0}
        thinned = _leader.select(random, described[rows], cut, config)
        assert len(thinned.kept) == count
        assert np.array_equal(rows[thinned.kept], taken.kept[np.isin(taken.kept, rows)])
        assert np.array_equal(rows[thinned.dropped], taken.dropped[inside])
        assert np.array_equal(rows[thinned.representative], taken.representative[inside])
        assert np.array_equal(thinned.similarity, taken.similarity[inside])


def test_what_is_taken_and_what_is_not_is_everything_in_order():
    _, _, _, taken, tau = drawn()
    assert sorted([*taken.kept, *taken.dropped]) == list(range(40))
    assert (np.diff(taken.kept) > 0).all()
    assert (np.diff(taken.dropped) > 0).all()
    assert (taken.similarity >= tau).all()
    assert set(taken.representative) <= set(taken.kept)


def test_another_seed_takes_others():
    first, second = drawn(0)[3].kept, drawn(1)[3].kept
    assert len(first) == len(second) == 13
    assert not np.array_equal(first, second)


def test_descriptions_by_scope_come_back_in_the_order_of_the_images():
    scopes = _scopes.rows_of(KEYS, 40)
    described = _scopes.describe(random, KEYS, scopes, random.Config())
    assert np.array_equal(described, random.describe((), KEYS, random.Config()))
