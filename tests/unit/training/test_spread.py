"""Spread and rank on features whose numbers are known, and when a run counts as collapsed."""

import numpy as np
import pytest

from medssl.training import spread


def gaussian(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


def reference_rank(features):
    """Roy & Vetterli's definition from the eigenvalues of the covariance, with loops."""
    rows = [row / np.linalg.norm(row) for row in features]
    mean = sum(rows) / len(rows)
    gram = np.array([[(p - mean) @ (q - mean) for q in rows] for p in rows])
    values = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))
    shares = [value / values.sum() for value in values]
    return np.exp(-sum(p * np.log(p) for p in shares if p > 1e-9))


def test_features_in_all_directions_have_spread_one():
    assert spread.feature_std(gaussian(4000, 64)) == pytest.approx(1, abs=0.01)


def test_a_known_pair_of_directions():
    opposite = np.array([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]])  # std 1, 0, 0, 0; times sqrt(4)
    assert spread.feature_std(opposite) == pytest.approx(2 / 4)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_one_direction_for_all_is_a_collapse_whatever_the_lengths(scale):
    lengths = np.random.default_rng(0).uniform(0.5, 2, size=(40, 1)) * scale
    same = (lengths * np.arange(1, 9)).astype(np.float32)
    assert spread.feature_std(same) == pytest.approx(0, abs=1e-6)
    assert spread.effective_rank(same) == 0


def test_dead_features_are_a_collapse():
    assert spread.feature_std(np.zeros((5, 3))) == 0
    assert spread.effective_rank(np.zeros((5, 3))) == 0


def test_the_rank_of_features_on_a_line_is_one():
    angle = np.linspace(0, 1e-3, 30)[:, None]  # an arc this short is a line
    line = np.cos(angle) * np.eye(6)[0] + np.sin(angle) * np.eye(6)[1]
    assert spread.effective_rank(line) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("dim", [2, 8, 32])
def test_the_rank_of_isotropic_features_is_the_number_of_dimensions(dim):
    axes = np.concatenate([np.eye(dim), -np.eye(dim)])
    assert spread.effective_rank(axes) == pytest.approx(dim)
    assert spread.effective_rank(gaussian(5000, dim)) == pytest.approx(dim, rel=0.02)


def test_a_common_offset_adds_no_rank():
    """Uncentred, these features would have one direction more."""
    around = np.concatenate([np.eye(5), -np.eye(5)]) * [[1, 1, 1, 1, 0]] + [[0, 0, 0, 0, 3]]
    around = around[np.abs(around[:, :4]).sum(axis=1) > 0]
    assert spread.effective_rank(around) == pytest.approx(4)


def test_the_rank_equals_its_definition():
    features = gaussian(30, 7) * np.linspace(0.1, 3, 7) + 0.5
    assert spread.effective_rank(features) == pytest.approx(reference_rank(features), rel=1e-5)


def test_neither_depends_on_the_order_of_images():
    features = gaussian(50, 8)
    for measure in (spread.feature_std, spread.effective_rank):
        assert measure(features) == pytest.approx(measure(features[::-1]), rel=1e-12)


GOOD = {"feature_std": 0.4, "effective_rank": 50.0}
FLAT = {"feature_std": 0.019, "effective_rank": 50.0}
LINE = {"feature_std": 0.4, "effective_rank": 1.9}


@pytest.mark.parametrize(
    ("course", "while_training", "at_the_end"),
    [
        ([GOOD], False, False),
        ([FLAT], False, True),
        ([LINE], False, True),
        ([FLAT, GOOD], False, False),
        ([GOOD, FLAT], False, True),
        ([FLAT, FLAT], True, True),
        ([FLAT, LINE], True, True),
        ([FLAT, GOOD, FLAT], False, True),
    ],
)
def test_a_collapse_is_low_twice_in_a_row_or_at_the_end(course, while_training, at_the_end):
    assert spread.has_collapsed(course, at_the_end=False) == while_training
    assert spread.has_collapsed(course, at_the_end=True) == at_the_end


def test_alignment_is_0_for_equal_directions_and_4_for_opposite_ones():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 6))
    assert spread.alignment(features, 3 * features) == pytest.approx(0, abs=1e-12)
    assert spread.alignment(features, -features) == pytest.approx(4)


def test_uniformity_is_0_where_all_are_equal_and_low_where_they_are_even():
    assert spread.uniformity(np.ones((10, 4))) == pytest.approx(0, abs=1e-12)
    axes = np.concatenate([np.eye(3), -np.eye(3)])  # 3 opposite pairs, 12 at right angles
    expected = np.log((3 * np.exp(-8) + 12 * np.exp(-4)) / 15)
    assert spread.uniformity(axes) == pytest.approx(expected)
