"""The random control is uniform, seeded and independent of the listing."""

import numpy as np
from scipy import stats

from medssl.reduction import random

IDS = [f"id{i}" for i in range(200)]


def draw(ids=IDS, seed=0):
    return random.describe(ids, random.Config(seed=seed))


def test_draws_are_uniform_and_independent_of_the_seed_before():
    draws = np.concatenate([draw(seed=seed)[:, 0] for seed in range(20)])
    assert stats.kstest(draws, "uniform").pvalue > 0.01
    correlation = np.corrcoef(draw(seed=0)[:, 0], draw(seed=1)[:, 0])[0, 1]
    assert abs(correlation) < 0.25  # 3.5 standard errors


def test_an_image_has_its_draw_wherever_it_stands():
    assert np.array_equal(draw(IDS[::-1]), draw()[::-1])
    assert np.array_equal(draw(IDS[7:9]), draw()[7:9])


def test_of_two_images_the_larger_draw_decides():
    config, found = random.Config(), np.array([[0.2], [0.7], [0.4]])
    table = random.similarity(found, found, config)
    assert table.tolist() == [[0.2, 0.7, 0.4], [0.7, 0.7, 0.7], [0.4, 0.7, 0.4]]
    assert random.exact(found, found[::-1], config).tolist() == [0.4, 0.7, 0.4]
    assert random.rank(found, config).argsort().tolist() == [0, 2, 1]
