"""Every n-th image: the threshold lies between n - 1 and n positions."""

import numpy as np
import pytest

from medssl.config import loading
from medssl.foundation.errors import UsageError
from medssl.reduction import every_n


def kept(n_images, n, tau=every_n.THRESHOLD):
    """Thin as a leader does: keep what is not within the threshold of a kept image."""
    config = every_n.Config(n=n)
    found = every_n.describe(range(n_images), config)
    table = every_n.similarity(found, found, config)
    rows = []
    for row in range(n_images):
        if not (table[row, rows] >= tau).any():
            rows.append(row)
    return rows


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("n_images", [1, 2, 20, 21])
def test_it_keeps_what_a_stride_keeps(n_images, n):
    assert kept(n_images, n) == list(range(n_images))[::n]


def test_a_large_n_is_not_lost_to_rounding():
    config = every_n.Config(n=10**9)
    ends = np.array([[0.0], [10**9 - 1], [10**9]])
    similarity = every_n.similarity(ends, ends, config)
    assert similarity[0, 1] > every_n.THRESHOLD > similarity[0, 2]


@pytest.mark.parametrize("stride", [1, 4, 9])
def test_other_thresholds_are_other_strides(stride):
    config = every_n.Config()
    tau = every_n.similarity(np.array([[0.0]]), np.array([[stride - 0.5]]), config)[0, 0]
    assert kept(30, config.n, tau) == list(range(0, 30, stride))


def test_similarity_falls_from_one_with_distance():
    config = every_n.Config(n=3)
    found = every_n.describe([4, 4, 5, 9, 0], config)
    expected = [1 / (1 + abs(a - b) / 2.5) for a, b in ((4, 4), (4, 5), (4, 9), (4, 0))]
    assert every_n.similarity(found[:1], found[1:], config)[0] == pytest.approx(expected)
    ones = np.repeat(found[:1], 4, axis=0)
    assert every_n.exact(ones, found[1:], config) == pytest.approx(expected)
    assert found[:, 0].tolist() == [4, 4, 5, 9, 0]  # left as they were


def test_n_counts_from_one():
    with pytest.raises(UsageError, match="n: "):
        loading.decode(every_n.Config, {"n": 0}, where="options")
