import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medssl.evaluation import assessment, delong, intervals
from medssl.evaluation.intervals import Draws

# s100b in the aSAH data of pROC (Robin et al., BMC Bioinformatics 2011;12:77): how many patients of
# either outcome share each of its 50 values, from the highest down
GOOD = "00000000000201211010101110100010021234430476662350"
POOR = "11111121111011000201010111011101100010121122130001"


def by_definition(positive, negative):
    """Every pair, and the variances of the two marginal means."""
    won = (positive[:, None] > negative) + (positive[:, None] == negative) / 2
    parts = (
        won.mean(axis=1).var(ddof=1) / len(positive),
        won.mean(axis=0).var(ddof=1) / len(negative),
    )
    return won.mean(), sum(parts)


def test_it_equals_what_proc_publishes_with_ties():
    value = -np.arange(50.0)
    score = np.r_[np.repeat(value, list(map(int, POOR))), np.repeat(value, list(map(int, GOOD)))]
    target = np.r_[np.ones(41), np.zeros(72)]
    found = delong.auroc(target, score)
    assert found == pytest.approx((0.73136856368563685, 0.00266868245717244), abs=1e-14)


def test_its_interval_is_the_one_proc_prints(units_of):
    """`95% CI: 0.6301-0.8326 (DeLong)` for the same marker."""
    value = np.linspace(0.99, 0.01, 50)
    score = np.r_[np.repeat(value, list(map(int, POOR))), np.repeat(value, list(map(int, GOOD)))]
    target = np.r_[np.ones(41), np.zeros(72)]
    units = units_of([f"k{n:03d}" for n in range(113)], target, score)
    (found,) = delong.check(_measured(units, resamples=100), 0.95)
    assert (round(found.low, 4), round(found.high, 4)) == (0.6301, 0.8326)


@given(
    positive=st.lists(st.integers(0, 6), min_size=2, max_size=30),
    negative=st.lists(st.integers(0, 6), min_size=2, max_size=30),
)
def test_it_equals_the_definition_and_scikit_learn(positive, negative):
    target = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    score = np.r_[positive, negative] / 7
    value, variance = delong.auroc(target, score)
    expected = by_definition(np.array(positive) / 7, np.array(negative) / 7)
    assert (value, variance) == pytest.approx(expected, abs=1e-12)
    assert value == pytest.approx(roc_auc_score(target, score), abs=1e-12)


def test_float32_would_lose_these_scores():
    """Scores that differ in the tenth digit are no ties."""
    score = 1 + np.array([3e-10, 2e-10, 1e-10, 0.0])
    assert delong.auroc(np.array([1, 1, 0, 0]), score) == (1.0, 0.0)


@pytest.mark.parametrize("target", [[1], [0, 0], [1, 0, 0]])
def test_a_class_needs_two_units_for_a_variance(target):
    assert np.isnan(delong.auroc(np.array(target), np.arange(len(target)) * 1.0)[1])


def _measured(units, resamples=2000):
    draws = intervals.draw_both(units.stratum, resamples, np.random.default_rng(0))
    return assessment.measure(units, draws)


def test_the_bootstrap_agrees_where_patients_have_one_unit(one_each):
    (check,) = delong.check(_measured(one_each(300, seed=0)), 0.95)
    assert abs(check.apart) < 0.06
    half = 1.959963984540054 * check.standard_error
    assert (check.low, check.high) == pytest.approx((check.auroc - half, check.auroc + half))


def test_it_stays_within_0_and_1(units_of):
    """A nearly perfect score, for which the normal interval would reach beyond 1."""
    keys, score = [f"k{n:02d}" for n in range(24)], np.arange(24.0)
    score[11], score[12] = score[12], score[11]
    (check,) = delong.check(_measured(units_of(keys, np.arange(24) >= 12, score), 200), 0.95)
    assert check.high == 1.0


def test_resamples_of_another_spread_are_far_apart(one_each):
    """Every patient drawn in pairs: half as many choices, a spread 1.4 times as wide."""
    units = one_each(400, seed=0)
    rng = np.random.default_rng(0)
    counts = 2 * intervals.draw(units.stratum, 800, rng)[:, : units.n_patients]
    thinned = np.where(rng.random(counts.shape) < 0.5, counts, 0)
    (check,) = delong.check(
        assessment.measure(units, Draws(within_class=thinned, over_all=thinned)), 0.95
    )
    assert check.apart > delong.MOST_APART


def test_there_is_none_for_patients_with_several_units(units_of):
    rng = np.random.default_rng(0)
    keys = [f"k{n // 2:02d}" for n in range(80)]
    mixed = units_of(keys, np.arange(80) % 2, rng.random(80))
    assert mixed.kind == "image"
    assert delong.check(_measured(mixed, 100), 0.95) == ()
    alone = units_of([f"k{n}" for n in range(80)], np.arange(80) % 2, rng.random(80), grouped=False)
    assert delong.check(_measured(alone, 100), 0.95) == ()


def test_there_is_none_for_a_handful_of_patients(units_of):
    keys = [f"k{n:02d}" for n in range(40)]
    units = units_of(keys, np.arange(40) < 9, np.random.default_rng(0).random(40))
    assert delong.check(_measured(units, 100), 0.95) == ()
