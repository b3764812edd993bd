"""Every row of the metric table, against the scikit-learn function it names and against loops."""

import importlib
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.evaluation import metrics

TABLE = pytest.mark.parametrize("metric", metrics.TABLE, ids=lambda metric: metric.name)


def reference(metric, target, score, weight=None):
    module, _, name = metric.reference.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function = getattr(importlib.import_module(module), name)
        return function(target, score, sample_weight=weight)


@st.composite
def cohorts(draw, least=2):
    """Both classes are there, scores have many ties, weights many zeros."""
    n = draw(st.integers(least, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target = rng.integers(0, 2, n)
    target[:2] = 0, 1
    score = rng.integers(0, draw(st.integers(1, 8)) + 1, n) / 8
    weight = rng.integers(0, 4, n).astype(float)
    weight[:2] = np.maximum(weight[:2], 1)
    return target, score, weight


@TABLE
@given(cohort=cohorts())
def test_equals_scikit_learn_with_ties(metric, cohort):
    target, score, _ = cohort
    assert metric.compute(target, score) == pytest.approx(
        reference(metric, target, score), abs=1e-12
    )


@TABLE
@given(cohort=cohorts())
def test_equals_scikit_learn_with_weights(metric, cohort):
    target, score, weight = cohort
    for factor in (1.0, 0.37):  # whole counts, and weights that do not add up exactly
        found = metric.compute(target, score, weight * factor)
        assert found == pytest.approx(reference(metric, target, score, weight), abs=1e-12)


@TABLE
@given(cohort=cohorts())
def test_a_weight_is_a_repeated_unit(metric, cohort):
    target, score, weight = cohort
    repeated = np.repeat(np.arange(len(target)), weight.astype(int))
    assert metric.compute(target, score, weight) == pytest.approx(
        metric.compute(target[repeated], score[repeated]), abs=1e-12
    )


@TABLE
@given(cohort=cohorts(), rows=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_rows_of_weights_are_independent(metric, cohort, rows, seed):
    target, score, _ = cohort
    weight = np.random.default_rng(seed).integers(0, 3, (rows, len(target))).astype(float)
    together = metric.compute(target, score, weight)
    alone = [float(metric.compute(target, score, row)) for row in weight]
    assert together.shape == (rows,)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12, equal_nan=True)


@TABLE
@given(cohort=cohorts(), seed=st.integers(0, 2**32 - 1))
def test_order_of_units_does_not_matter(metric, cohort, seed):
    target, score, weight = cohort
    order = np.random.default_rng(seed).permutation(len(target))
    assert metric.compute(target[order], score[order], weight[order]) == pytest.approx(
        metric.compute(target, score, weight), abs=1e-12
    )


@TABLE
@given(cohort=cohorts())
def test_rankings_do_not_care_about_the_scale(metric, cohort):
    target, score, weight = cohort
    stretched = np.exp(3 * score) - 7
    same = metric.compute(target, stretched, weight) == pytest.approx(
        metric.compute(target, score, weight), abs=1e-12
    )
    assert same or metric.needs_probability


@TABLE
@pytest.mark.parametrize("label", [0, 1])
def test_one_unit(metric, label):
    """With one unit there is nothing to rank; what stays defined is exact."""
    found = float(metric.compute(np.array([label]), np.array([0.25])))
    expected = {
        "auroc": (np.nan, np.nan),
        "average_precision": (np.nan, 1.0),
        "brier": (0.0625, 0.5625),
        "scaled_brier": (np.nan, np.nan),
    }[metric.name][label]
    assert found == pytest.approx(expected, nan_ok=True)


@TABLE
def test_no_units_have_no_value(metric):
    assert np.isnan(metric.compute(np.array([], dtype=int), np.array([])))


@TABLE
@pytest.mark.parametrize("absent", [0, 1])
def test_a_class_without_weight_is_absent(metric, absent):
    """Weights that are not whole must not leave a trace of the class in the rounding."""
    rng = np.random.default_rng(absent)
    target, score = rng.integers(0, 2, 200), rng.random(200)
    weight = np.where(target == absent, 0.0, rng.random(200))
    found = float(metric.compute(target, score, weight))
    if metric.name in {"auroc", "scaled_brier"} or (metric.name, absent) == (
        "average_precision",
        1,
    ):
        assert np.isnan(found)
    else:
        kept = target != absent
        assert found == pytest.approx(metric.compute(target[kept], score[kept], weight[kept]))


@TABLE
def test_no_skill_is_what_knowing_only_the_prevalence_reaches(metric):
    target = np.array([1] * 30 + [0] * 70)
    assert metric.compute(target, np.full(100, 0.3)) == pytest.approx(metric.no_skill(0.3))


@TABLE
def test_a_perfect_score_beats_no_skill_in_the_stated_direction(metric):
    target = np.array([1] * 30 + [0] * 70)
    best = float(metric.compute(target, target.astype(float)))
    assert best == (1.0 if metric.higher_is_better else 0.0)
    assert (best > metric.no_skill(0.3)) == metric.higher_is_better


@TABLE
def test_the_row_is_complete(metric):
    assert metric.title
    assert metric.meaning
    assert metric.task == "binary"
    assert [row.name for row in metrics.TABLE].count(metric.name) == 1


def test_auroc_counts_pairs():
    """The definition itself, one pair at a time."""
    rng = np.random.default_rng(4)
    target, score = rng.integers(0, 2, 60), rng.integers(0, 9, 60) / 9
    pairs = [(p > n) + (p == n) / 2 for p in score[target == 1] for n in score[target == 0]]
    assert metrics.auroc(target, score) == pytest.approx(np.mean(pairs), abs=1e-12)
