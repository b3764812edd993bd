"""How far an image lies from those a model was trained on."""

import tracemalloc

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from medssl.evaluation import gate


def normal(n, f, seed, scale=1.0):
    return np.random.default_rng(seed).normal(size=(n, f)) * scale


@pytest.mark.parametrize(("n", "f"), [(40, 8), (12, 30)])
def test_distances_are_those_of_a_ledoit_wolf_covariance(n, f):
    train, new = normal(n, f, 0) @ normal(f, f, 1), normal(7, f, 2)
    oracle = LedoitWolf().fit(train)
    assert gate.fit(train).distance(new) == pytest.approx(oracle.mahalanobis(new) / f, rel=1e-6)


def test_features_of_one_spread_in_all_directions_are_measured_by_their_length():
    train = normal(20_000, 4, 0, scale=3.0)
    new = normal(5, 4, 1, scale=10.0)
    found = gate.fit(train).distance(new)
    assert found == pytest.approx((new**2).sum(axis=1) / 9 / 4, rel=0.05)


def test_training_distances_are_too_small_and_so_are_not_used():
    """`methods.md` 5.8: with more features than images the training images seem near."""
    spread = np.geomspace(1, 0.01, 200)  # as of deep features: a few directions hold most of it
    train, new = normal(60, 200, 0) * spread, normal(400, 200, 1) * spread
    found = gate.fit(train)
    assert found.distance(new).mean() > 1.5 * found.distance(train).mean()


def test_of_images_like_those_held_out_as_many_are_rare_as_said():
    train, held_out, new = normal(80, 16, 0), normal(200, 16, 1), normal(4000, 16, 2)
    found = gate.fit(train)
    rarity = gate.far(found.distance(new), found.distance(held_out))
    assert (rarity <= 0.05).mean() == pytest.approx(0.05, abs=0.03)


def test_what_lies_far_away_is_as_rare_as_can_be():
    train, held_out = normal(80, 16, 0), normal(99, 16, 1)
    found = gate.fit(train)
    rarity = gate.far(found.distance(normal(10, 16, 2) + 5), found.distance(held_out))
    assert rarity == pytest.approx(1 / 100)


def test_a_tie_counts_as_at_least_as_far():
    assert gate.far(np.array([2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(3 / 4)


def test_features_without_any_spread_give_finite_distances():
    same = np.ones((5, 3))
    assert np.isfinite(gate.fit(same).distance(same)).all()
    assert gate.fit(same).distance(same + 1).min() > 1e6


def test_relative_distances_have_the_median_of_those_held_out_as_their_unit():
    assert gate.relative(np.array([3.0]), np.array([1.0, 1.5, 9.0])) == pytest.approx(2.0)


def test_an_image_held_out_in_three_repeats_is_one_image():
    new, held_out = normal(20, 1, 0)[:, 0], normal(15, 1, 1)[:, 0]
    thrice = gate.far(new, np.repeat(held_out, 3), times=3)
    assert thrice == pytest.approx(gate.far(new, held_out))
    assert gate.far(np.array([9.0]), np.repeat(held_out, 3), times=3) == pytest.approx(1 / 16)


@pytest.mark.parametrize("unusual", [0.01, 0.02, 0.05, 0.1, 0.3, 0.7])
def test_fewer_held_out_images_than_needed_can_mark_nothing(unusual):
    needed = gate.needed(unusual)
    far_away = np.array([1e9])
    assert gate.far(far_away, normal(needed, 1, 0)[:, 0]) <= unusual
    assert gate.far(far_away, normal(needed - 1, 1, 0)[:, 0]) > unusual


def test_many_rows_are_measured_a_block_at_a_time():
    found, new = gate.fit(normal(50, 16, 0)), normal(20_000, 16, 1)
    peak, distance = peak_of(lambda: found.distance(new))
    assert peak < new.nbytes / 2
    some = [0, 1023, 1024, 19_999]
    assert distance[some] == pytest.approx(np.concatenate([found.distance(new[[k]]) for k in some]))


def test_a_fit_makes_no_matrix_of_all_features_of_few_images():
    rows = normal(60, 1500, 0)
    peak, found = peak_of(lambda: gate.fit(rows))
    assert peak < 2 * gate.memory(60, 1500) < 8 * 1500**2 / 4
    assert found.components.shape == (59, 1500)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(59), atol=1e-9)


def peak_of(call):
    """The most memory that numpy held during a call, bytes, and what the call returned."""
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()
