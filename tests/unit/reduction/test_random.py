"""The random control is uniform, seeded and independent of the listing."""

import numpy as np

from medssl.reduction import _leader, _scopes, random


def draw(ids, seed=0):
    config = random.Config(seed=seed)
    return random.describe([], ids, config), config


def test_any_size_is_a_prefix_of_one_random_order():
    ids = [f"id{i}" for i in range(200)]
    described, config = draw(ids)
    sizes = (1, 20, 100, 199)
    kept = [
        set(_scopes.thin_to(random, described, [np.arange(200)], n, config)[0].kept) for n in sizes
    ]
    assert [len(k) for k in kept] == list(sizes)
    assert kept[0] < kept[1] < kept[2] < kept[3]


def test_every_image_is_as_likely():
    ids = [f"id{i}" for i in range(40)]
    counts = np.zeros(40)
    for seed in range(400):
        described, config = draw(ids, seed)
        counts[_leader.select(random, described, 0.3, config).kept] += 1
    assert abs(counts.mean() / 400 - 0.3) < 0.02
    assert np.all(np.abs(counts / 400 - 0.3) < 0.12)  # five standard errors


def test_the_order_of_the_listing_does_not_matter():
    ids = [f"id{i}" for i in range(50)]
    described, config = draw(ids)
    turned, _ = draw(ids[::-1])
    kept = {ids[i] for i in _leader.select(random, described, 0.4, config).kept}
    assert kept == {ids[::-1][i] for i in _leader.select(random, turned, 0.4, config).kept}
