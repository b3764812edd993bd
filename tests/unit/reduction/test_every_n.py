"""Every n-th image means what a slice of a list means, in each scope."""

import numpy as np
import pytest

from medssl.config import loading
from medssl.foundation.errors import UsageError
from medssl.reduction import _leader, _scopes, every_n


def thin(n_images, n, tau=every_n.THRESHOLD, keys=None):
    config = every_n.Config(n=n)
    scopes = _scopes.rows_of(keys, n_images)
    described = _scopes.describe(every_n, [f"id{i}" for i in range(n_images)], scopes, config)
    return _scopes.thin(every_n, described, scopes, tau, config)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("n_images", [1, 2, 20, 21])
def test_it_keeps_what_a_stride_keeps(n_images, n):
    thinned = thin(n_images, n)
    assert thinned.kept.tolist() == list(range(n_images))[::n]
    assert np.array_equal(thinned.representative, thinned.dropped // n * n)


def test_a_large_n_is_not_lost_to_rounding():
    config = every_n.Config(n=10**9)
    ends = np.array([[0.0], [10**9 - 1], [10**9]])
    similarity = every_n.similarity(ends, ends, config)
    assert similarity[0, 1] > every_n.THRESHOLD > similarity[0, 2]


def test_positions_count_inside_a_scope_also_where_scopes_are_interleaved():
    keys = [("a", "b", "c")[i % 3] for i in range(30)]
    kept = thin(30, 4, keys=keys).kept
    assert kept.tolist() == sorted(i + 3 * j for i in range(3) for j in range(0, 10, 4))


@pytest.mark.parametrize("budget", [1, 7, 10, 33, 100])
def test_a_budget_gives_the_smallest_stride_that_meets_it(budget):
    config = every_n.Config()
    described = every_n.describe((), [""] * 100, config)
    thinned, _ = _scopes.thin_to(every_n, described, [np.arange(100)], budget, config)
    stride = next(n for n in range(1, 101) if len(range(0, 100, n)) <= budget)
    assert thinned.kept.tolist() == list(range(0, 100, stride))


def test_a_second_pass_drops_nothing():
    config = every_n.Config(n=4)
    described = every_n.describe((), [""] * 50, config)
    kept = _leader.select(every_n, described, every_n.THRESHOLD, config).kept
    again = _leader.select(every_n, described[kept], every_n.THRESHOLD, config)
    assert len(again.dropped) == 0


def test_n_counts_from_one():
    with pytest.raises(UsageError, match="n: "):
        loading.decode(every_n.Config, {"n": 0}, where="options")
