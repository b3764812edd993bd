"""Normalised mutual information against scikit-learn, and its limits."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import normalized_mutual_info_score

from medssl.data.shown import Shown
from medssl.reduction import mutual_information as nmi

CONFIG = nmi.Config()


def images(n, seed=0):
    rng = np.random.default_rng(seed)
    stack = [ndimage.gaussian_filter(rng.normal(size=(64, 64)), 2 + k % 3) for k in range(n)]
    return [((s - s.min()) / np.ptp(s) * 255).astype(np.uint8) for s in stack]


def described(pictures):
    return nmi.describe([Shown(p) for p in pictures], CONFIG)


def test_it_is_what_scikit_learn_computes():
    base = images(7)
    found = described([*base, np.roll(base[0], 1, axis=1), base[1] // 3, 255 - base[2]])
    expected = [[normalized_mutual_info_score(x, y) for y in found] for x in found]
    assert np.abs(nmi.similarity(found, found, CONFIG) - expected).max() < 1e-9
    assert len(np.unique(found)) == 64


def test_single_pairs_have_the_values_of_tables():
    found = described(images(11))
    table = nmi.similarity(found, found, CONFIG)
    i, j = np.indices(table.shape).reshape(2, -1)
    assert np.array_equal(nmi.exact(found[i], found[j], CONFIG), table[i, j])
    assert nmi.exact(found[:0], found[:0], CONFIG).shape == (0,)


def test_tables_are_the_same_in_tiles(monkeypatch):
    found = described(images(9))
    whole = nmi.similarity(found, found[:7], CONFIG)
    monkeypatch.setattr(nmi, "_TILE", 3)
    assert np.array_equal(nmi.similarity(found, found[:7], CONFIG), whole)


def test_inversion_and_reordering_of_grey_values_are_nothing():
    image = images(1)[0]
    shuffled = np.random.default_rng(0).permutation(64).astype(np.uint8)[image >> 2] << 2
    found = described([image, 255 - image, shuffled])
    assert (nmi.similarity(found, found, CONFIG) == 1).all()


@pytest.mark.parametrize(("values", "expected"), [((3, 3), 1), ((3, 250), 1), ((3, None), 0)])
def test_constant_images(values, expected):
    pair = [images(1)[0] if v is None else np.full((64, 64), v, np.uint8) for v in values]
    found = described(pair)
    assert nmi.similarity(found, found, CONFIG)[0, 1] == expected
    assert nmi.exact(found[:1], found[1:], CONFIG)[0] == expected


def test_noise_has_little_and_neighbours_have_more():
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 64)).astype(np.uint8) for _ in range(2)]
    smooth = images(1)[0]
    rotated = ndimage.rotate(smooth, 0.5, reshape=False, order=1, mode="nearest")
    found = described([*noise, smooth, rotated])
    table = nmi.similarity(found, found, CONFIG)
    assert 0.05 < table[0, 1] < 0.2 < nmi.THRESHOLD < table[2, 3] < 1
