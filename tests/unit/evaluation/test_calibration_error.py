import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from medssl.evaluation import calibration_error


def test_it_equals_bins_of_scikit_learn():
    rng = np.random.default_rng(0)
    score = rng.random(500)
    truth = rng.random(500) < score**2
    positive, mean = calibration_curve(truth, score, n_bins=10, strategy="uniform")
    place = np.searchsorted(np.linspace(0, 1, 11)[1:-1], score)
    size = np.bincount(place, minlength=10) / 500
    expected = (size * np.abs(positive - mean)).sum()
    assert calibration_error.binned(truth, score) == pytest.approx(expected, abs=1e-12)
    rows = np.stack([truth, ~truth])
    alone = [float(calibration_error.binned(row, score)) for row in rows]
    assert calibration_error.binned(rows, score) == pytest.approx(np.array(alone))


@pytest.mark.parametrize(("n", "published"), [(50, 0.139), (100, 0.102), (500, 0.045)])
def test_a_perfect_model_has_an_error_that_shrinks_with_the_cohort(units_of, n, published):
    """Measured once apart from this code, for scores spread evenly."""
    rng = np.random.default_rng(1)
    score = (np.arange(n) + 0.5) / n
    units = units_of([f"k{i:04d}" for i in range(n)], rng.random(n) < score, score)
    found = calibration_error.find(units, 0, rng)
    assert found.expected == pytest.approx(published, rel=0.25)
    assert found.low < found.expected < found.high


def test_a_calibrated_model_is_unremarkable_and_a_shifted_one_is_not(units_of):
    rng = np.random.default_rng(2)
    score = rng.random(400)
    keys = [f"k{i:04d}" for i in range(400)]
    fair = calibration_error.find(units_of(keys, rng.random(400) < score, score), 0, rng)
    off = calibration_error.find(units_of(keys, rng.random(400) < score**3, score), 0, rng)
    assert 0.02 < fair.share_as_large < 0.98
    assert off.share_as_large == 0
    assert off.value > off.high


def test_the_seed_decides_what_is_drawn(one_each):
    units = one_each(120, seed=0)
    once, again, other = (
        calibration_error.find(units, 0, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert once == again
    assert once.value == other.value
    assert once.expected != other.expected


def test_there_is_none_for_patients_with_several_units(units_of):
    units = units_of(["a", "a", "b"], [1, 0, 0], [0.9, 0.2, 0.3])
    assert calibration_error.find(units, 0, np.random.default_rng(0)) is None


def test_no_units_have_no_error():
    assert np.isnan(calibration_error.binned(np.array([]), np.array([])))
