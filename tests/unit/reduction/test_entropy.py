"""Entropy in bits, inside the body, turned into a filter."""

import numpy as np
import pytest
from scipy import stats

from medssl.data.shown import Shown
from medssl.reduction import entropy

CONFIG = entropy.Config()


def bits(*shown):
    return entropy.describe(shown, CONFIG)[:, 0].tolist()


@pytest.mark.parametrize(("n", "expected"), [(1, 0), (2, 1), (16, 4), (64, 6), (256, 6)])
def test_equally_frequent_values_have_the_logarithm_of_their_number(n, expected):
    values = (np.arange(256) % n * (256 // n)).astype(np.uint8).reshape(16, 16)
    assert bits(Shown(values)) == [expected]


def test_it_is_what_scipy_computes():
    image = np.random.default_rng(0).normal(100, 30, (50, 70)).clip(0, 255).astype(np.uint8)
    counts = np.histogram(image, bins=64, range=(0, 256))[0]
    assert bits(Shown(image))[0] == pytest.approx(stats.entropy(counts, base=2), abs=1e-12)


def test_only_the_body_counts():
    image = np.zeros((8, 8), np.uint8)
    image[2:4, 2:6] = np.arange(8).reshape(2, 4) * 4
    body = np.zeros((8, 8), bool)
    body[2:4, 2:6] = True
    assert bits(Shown(image, body)) == [3]
    assert bits(Shown(image))[0] < 1


def test_of_two_images_the_poorer_decides():
    found = np.array([[0.0], [1.5], [6.0]])
    table = entropy.similarity(found, found, CONFIG)
    assert table.tolist() == [[1, 1, 1], [1, 0.75, 0.75], [1, 0.75, 0]]
    assert entropy.rank(found, CONFIG).argsort().tolist() == [2, 1, 0]


def test_air_is_below_the_default_and_a_body_above():
    from medssl.ingestion import phantom_volumes

    rng = np.random.default_rng(0)
    air = rng.normal(-1000, 30, (64, 64))
    chest = phantom_volumes.chest_ct((9, 64, 64), rng)
    windowed = [((s.clip(-1000, 1000) + 1000) / 2000 * 255).astype(np.uint8) for s in (air, *chest)]
    empty, *slices = bits(*(Shown(w) for w in windowed))
    limit = (1 - entropy.THRESHOLD) * 6
    assert empty < limit - 0.5
    assert min(slices) > limit + 0.5
