import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.evaluation import decision, intervals

DCURVES = (
    [0.32592592592592595, 0.2611111111111111, 0.06666666666666662, -0.23333333333333334],
    [0.3148148148148148, 0.1777777777777778, -0.23333333333333334, -1.4666666666666668],
)  # the model, and treating all


def by_counting(target, score, threshold):
    """The formula, one unit at a time."""
    called = [(y, s) for y, s in zip(target, score, strict=True) if s >= threshold]
    hits = sum(y for y, _ in called)
    return (hits - (len(called) - hits) * threshold / (1 - threshold)) / len(target)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=1, max_size=40),
    thresholds=st.lists(st.integers(1, 7), min_size=1, max_size=5),
)
def test_it_equals_counting_with_ties_and_any_order_of_thresholds(pairs, thresholds):
    target, score = np.array(pairs).T
    at = np.array(thresholds) / 8
    found = decision.net_benefit(target, score / 8, at)
    expected = [by_counting(target, score / 8, threshold) for threshold in at]
    assert found.shape == (1, len(at))
    assert found[0] == pytest.approx(expected, abs=1e-12)


def test_a_weight_is_a_repeated_unit():
    rng = np.random.default_rng(0)
    target, score, at = rng.integers(0, 2, 50), rng.random(50), np.array([0.1, 0.4])
    weight = rng.integers(0, 4, (3, 50)).astype(float)
    found = decision.net_benefit(target, score, at, weight)
    for row, values in zip(weight, found, strict=True):
        drawn = np.repeat(np.arange(50), row.astype(int))
        assert values == pytest.approx(decision.net_benefit(target[drawn], score[drawn], at)[0])
    assert np.isnan(decision.net_benefit(target, score, at, np.zeros((1, 50)))).all()


def test_the_limits_are_the_prevalence_and_zero():
    """Treating everyone for nothing gains every positive, and a perfect model always does."""
    target = np.array([1] * 30 + [0] * 70)
    at = np.array([1e-9, 0.3, 0.9])
    assert decision.treat_all(target, at)[0] == pytest.approx([0.3, 0, 0.3 - 0.7 * 9], abs=1e-8)
    assert decision.net_benefit(target, target * 0.95, at)[0] == pytest.approx([0.3, 0.3, 0.3])
    assert decision.net_benefit(target, np.zeros(100), at)[0] == pytest.approx([0, 0, 0])


def _curve(units, at, resamples=400):
    counts = intervals.draw(np.zeros(units.n_patients), resamples, np.random.default_rng(0))
    return decision.curve(units, 0, counts, 0.95, at, declared=True)


def test_the_gain_is_over_the_better_of_all_and_none(one_each):
    units, at = one_each(300, seed=0), np.linspace(0.05, 0.6, 12)
    found = _curve(units, at)
    assert found.gain == pytest.approx(found.model - np.maximum(found.treat_all, 0))
    assert (found.low < found.model).all()
    assert (found.model < found.high).all()
    assert (found.gain_low <= found.gain_high).all()
    assert found.column == "finding"


def test_a_useless_model_gains_nothing(units_of):
    rng = np.random.default_rng(3)
    units = units_of([f"k{n:03d}" for n in range(400)], rng.random(400) < 0.3, rng.random(400))
    found = _curve(units, np.array([0.1, 0.3, 0.5]))
    assert (found.gain < 0.02).all()
    assert (found.gain_low < 0).all()


def test_it_equals_dcurves():
    """What dcurves 1.1.7 says of a cohort that a formula gives."""
    n = np.arange(60)
    score, target = (n * 37 % 61 + 1) / 63, (n * 23 % 60 < (n * 37 % 61) * 0.8).astype(int)
    at = np.array([0.1, 0.25, 0.5, 0.75])
    assert decision.net_benefit(target, score, at)[0] == pytest.approx(DCURVES[0], abs=1e-12)
    assert decision.treat_all(target, at)[0] == pytest.approx(DCURVES[1], abs=1e-12)


def test_it_equals_dcurves_on_the_cohort_that_comes_with_it():
    """Family history in its 750 patients: 24 of 105 with the cancer have one, 91 of 645 without."""
    target = np.repeat([1, 1, 0, 0], [24, 81, 91, 554])
    score = np.repeat([1.0, 0.0, 1.0, 0.0], [24, 81, 91, 554])
    at = np.array([0.05, 0.1, 0.15, 0.3])
    model = [0.025614035087719297, 0.018518518518518517, 0.010588235294117641, -0.02]
    everyone = [0.094736842105263175, 0.044444444444444467, -0.011764705882352955, -8 / 35]
    assert decision.net_benefit(target, score, at)[0] == pytest.approx(model, abs=1e-12)
    assert decision.treat_all(target, at)[0] == pytest.approx(everyone, abs=1e-12)
