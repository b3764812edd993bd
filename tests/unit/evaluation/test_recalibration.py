"""Calibration intercept and slope against statsmodels, and where the likelihood has no maximum."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given
from hypothesis import strategies as st

from medssl.evaluation import intervals, recalibration
from medssl.foundation import seeding


def simulated(count, seed, *, shift=0.0, spread=1.0):
    """Outcomes whose logit is ``shift + spread`` times that of the score."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-0.5, 1.5, count)
    risk = 1 / (1 + np.exp(-(shift + spread * logit)))
    return (rng.random(count) < risk).astype(int), 1 / (1 + np.exp(-logit))


def by_statsmodels(target, score, weight):
    x, alone = np.log(score / (1 - score)), np.ones((len(score), 1))
    family = sm.families.Binomial()
    large = sm.GLM(target, alone, family, offset=x, freq_weights=weight).fit(tol=1e-14)
    both = sm.GLM(target, np.c_[alone, x], family, freq_weights=weight).fit(tol=1e-14)
    return large.params[0], both.params[1]


@pytest.mark.parametrize("seed", range(8))
def test_both_equal_statsmodels_with_weights(seed):
    target, score = simulated(200, seed, shift=0.4, spread=0.7)
    weight = np.random.default_rng(seed).integers(0, 4, (3, 200)).astype(float)
    expected = np.array([by_statsmodels(target, score, row) for row in weight])
    np.testing.assert_allclose(recalibration.intercept(target, score, weight), expected[:, 0])
    np.testing.assert_allclose(recalibration.slope(target, score, weight), expected[:, 1])


def test_many_outcomes_give_back_what_was_put_in():
    target, score = simulated(200_000, 1, shift=0.3)
    assert recalibration.intercept(target, score) == pytest.approx(0.3, abs=0.02)
    target, score = simulated(200_000, 2, spread=0.6)
    assert recalibration.slope(target, score) == pytest.approx(0.6, abs=0.02)


@given(n=st.integers(2, 25), seed=st.integers(0, 2**32 - 1), kind=st.sampled_from("uvw"))
def test_wherever_the_classes_overlap_there_is_a_maximum(n, seed, kind):
    """Extreme probabilities, ties and few units: the gradient is zero at what was found."""
    rng = np.random.default_rng(seed)
    score = {"u": rng.random(n), "v": rng.integers(0, 4, n) / 3, "w": rng.beta(0.05, 0.05, n)}[kind]
    target, weight = rng.integers(0, 2, n), rng.integers(0, 3, n).astype(float)
    x = np.log(np.clip(score, 1e-6, 1 - 1e-6) / (1 - np.clip(score, 1e-6, 1 - 1e-6)))
    positive, negative = x[(target == 1) & (weight > 0)], x[(target == 0) & (weight > 0)]
    assume(len(positive) and len(negative))

    a = recalibration.intercept(target, score, weight)
    assert weight @ (target - 1 / (1 + np.exp(-a - x))) == pytest.approx(0, abs=1e-6)

    b = recalibration.slope(target, score, weight)
    overlap = positive.min() < negative.max() and negative.min() < positive.max()
    assert np.isfinite(b) == overlap


@pytest.mark.parametrize(
    ("target", "score"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),  # a cut separates
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]),  # the wrong way round
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]),  # up to a tie
        ([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3]),  # nothing to regress on
        ([1, 1, 1, 1], [0.1, 0.2, 0.8, 0.9]),  # one class
    ],
)
def test_without_overlap_there_is_no_slope(target, score):
    assert np.isnan(recalibration.slope(np.array(target), np.array(score)))


def test_a_resample_without_a_class_has_neither():
    target, score = np.array([0, 1, 0, 1]), np.array([0.2, 0.4, 0.6, 0.8])
    weight = np.array([[1.0, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]])
    for found in (recalibration.intercept, recalibration.slope):
        assert np.isfinite(found(target, score, weight)).tolist() == [True, False, False]


def test_scores_of_zero_and_one_are_clipped():
    target = np.array([0, 1, 0, 1, 1])
    sharp, dull = np.array([0, 0, 1, 1, 0.5]), np.array([1e-6, 1e-6, 1 - 1e-6, 1 - 1e-6, 0.5])
    for found in (recalibration.intercept, recalibration.slope):
        assert found(target, sharp) == found(target, dull)
        assert np.isfinite(found(target, sharp))


def test_reversed_scores_have_a_negative_slope_and_a_matching_flip():
    target, score = simulated(300, 3)
    assert recalibration.slope(target, 1 - score) == pytest.approx(
        -recalibration.slope(target, score)
    )
    assert recalibration.intercept(1 - target, 1 - score) == pytest.approx(
        -recalibration.intercept(target, score)
    )


@pytest.mark.slow
def test_intervals_of_a_calibrated_score_cover_over_all_patients_and_not_within_class():
    """Within class the number of positives is held fixed, which is what an intercept measures."""
    n_simulations, n_patients, held = 300, 150, {}
    for simulation in range(n_simulations):
        rng = seeding.rng(0, "calibration coverage", simulation)
        score = rng.beta(1.2, 2, n_patients)
        target = (rng.random(n_patients) < score).astype(int)
        draws = intervals.draw_both(target, 400, rng)
        for name, counts in (("over", draws.over_all), ("within", draws.within_class)):
            for statistic, true in ((recalibration.intercept, 0), (recalibration.slope, 1)):
                values = statistic(target, score, counts.astype(float))
                interval = intervals.percentile(values, 0.95)
                key = (name, statistic.__name__)
                held[key] = held.get(key, 0) + (interval.low <= true <= interval.high)
    share = {key: count / n_simulations for key, count in held.items()}
    assert 0.92 <= share["over", "intercept"] <= 0.98
    assert 0.92 <= share["over", "slope"] <= 0.98
    assert share["within", "intercept"] < 0.8
