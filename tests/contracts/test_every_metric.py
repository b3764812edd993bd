"""Every row of the metric tables, against the reference it names and against loops.

The references are functions of scikit-learn, and statsmodels' regression for the two that are
regressions. What needs a threshold is judged at 0.5. Amounts and ordered classes have tables of
their own, whose rows are checked by the same rules at the end.
"""

import importlib
import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from medssl.evaluation import amounts, metrics, ordered

TABLE = pytest.mark.parametrize("metric", metrics.TABLE, ids=lambda metric: metric.name)


THRESHOLD = 0.5
REGRESSIONS = ("calibration_intercept", "calibration_slope")


def computed(metric, target, score, weight=None):
    return metric.compute(target, metric.of(score, THRESHOLD), weight)


def reference(metric, target, score, weight=None):
    if metric.name in REGRESSIONS:
        return regression(metric, target, score, weight)
    module, _, name = metric.reference.rpartition(".")
    shown = score >= THRESHOLD if metric.thresholded else score
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function = getattr(importlib.import_module(module), name)
        return function(target, shown, sample_weight=weight, **metric.options)


def regression(metric, target, score, weight=None):
    """Logistic regression of the outcome on the logit, which is an offset for the intercept.

    statsmodels diverges for offsets of 14, which scores of 0 and 1 have: there is one unknown,
    so its equation is solved here. `test_recalibration.py` holds it against statsmodels.
    """
    weight = np.ones(len(score)) if weight is None else weight
    clipped = np.clip(score, 1e-6, 1 - 1e-6)
    x = np.log(clipped / (1 - clipped))
    if metric.name == "calibration_intercept":
        return brentq(lambda a: weight @ (target - 1 / (1 + np.exp(-a - x))), -40, 40, xtol=1e-12)
    if separated(target, score, weight):
        return np.nan
    design = np.c_[np.ones(len(x)), x]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = sm.GLM(target, design, sm.families.Binomial(), freq_weights=weight)
        return model.fit(maxiter=400, tol=1e-14).params[1]


def separated(target, score, weight):
    """Whether a cut has all positives on one side of it and all negatives on the other."""
    there = weight > 0
    positive, negative = score[there & (target == 1)], score[there & (target == 0)]
    return positive.min() >= negative.max() or negative.min() >= positive.max()


def close(metric):
    """Iterations end where a step no longer matters, sums to the last digit."""
    return {"abs": 1e-12} if metric.name not in REGRESSIONS else {"rel": 1e-5, "abs": 1e-5}


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
@settings(max_examples=30)
@given(cohort=cohorts())
def test_equals_scikit_learn_with_ties(metric, cohort):
    target, score, _ = cohort
    assert computed(metric, target, score) == pytest.approx(
        reference(metric, target, score), nan_ok=True, **close(metric)
    )


@TABLE
@settings(max_examples=30)
@given(cohort=cohorts())
def test_equals_scikit_learn_with_weights(metric, cohort):
    target, score, weight = cohort
    for factor in (1.0, 0.37):  # whole counts, and weights that do not add up exactly
        found = computed(metric, target, score, weight * factor)
        expected = reference(metric, target, score, weight)
        assert found == pytest.approx(expected, nan_ok=True, **close(metric))


@TABLE
@settings(max_examples=30)
@given(cohort=cohorts())
def test_a_weight_is_a_repeated_unit(metric, cohort):
    target, score, weight = cohort
    repeated = np.repeat(np.arange(len(target)), weight.astype(int))
    assert computed(metric, target, score, weight) == pytest.approx(
        computed(metric, target[repeated], score[repeated]), nan_ok=True, **close(metric)
    )


@TABLE
@settings(max_examples=30)
@given(cohort=cohorts(), rows=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_rows_of_weights_are_independent(metric, cohort, rows, seed):
    target, score, _ = cohort
    weight = np.random.default_rng(seed).integers(0, 3, (rows, len(target))).astype(float)
    together = computed(metric, target, score, weight)
    alone = [float(computed(metric, target, score, row)) for row in weight]
    assert together.shape == (rows,)
    assert together == pytest.approx(np.array(alone), nan_ok=True, **close(metric))


@TABLE
@settings(max_examples=30)
@given(cohort=cohorts(), seed=st.integers(0, 2**32 - 1))
def test_order_of_units_does_not_matter(metric, cohort, seed):
    target, score, weight = cohort
    order = np.random.default_rng(seed).permutation(len(target))
    assert computed(metric, target[order], score[order], weight[order]) == pytest.approx(
        computed(metric, target, score, weight), nan_ok=True, **close(metric)
    )


@TABLE
@settings(max_examples=30)
@given(cohort=cohorts())
def test_rankings_do_not_care_about_the_scale(metric, cohort):
    target, score, weight = cohort
    stretched = np.exp(3 * score) - 7
    same = computed(metric, target, stretched, weight) == pytest.approx(
        computed(metric, target, score, weight), nan_ok=True, abs=1e-12
    )
    assert same or metric.needs_probability or metric.thresholded


@TABLE
@pytest.mark.parametrize("label", [0, 1])
def test_one_unit(metric, label):
    """With one unit there is nothing to rank; what stays defined is exact."""
    found = float(computed(metric, np.array([label]), np.array([0.25])))
    expected = {
        "average_precision": (np.nan, 1.0),
        "brier": (0.0625, 0.5625),
        "sensitivity": (np.nan, 0.0),
        "specificity": (1.0, np.nan),
        "npv": (1.0, 0.0),
        "f1": (np.nan, 0.0),
    }.get(metric.name, (np.nan, np.nan))[label]
    assert found == pytest.approx(expected, nan_ok=True)


@TABLE
def test_no_units_have_no_value(metric):
    assert np.isnan(computed(metric, np.array([], dtype=int), np.array([])))


@TABLE
@pytest.mark.parametrize("absent", [0, 1])
def test_a_class_without_weight_is_absent(metric, absent):
    """Weights that are not whole must not leave a trace of the class in the rounding."""
    rng = np.random.default_rng(absent)
    target, score = rng.integers(0, 2, 200), rng.random(200)
    weight = np.where(target == absent, 0.0, rng.random(200))
    found = float(computed(metric, target, score, weight))
    needed = {
        "brier": set(),
        "average_precision": {1},
        "sensitivity": {1},
        "specificity": {0},
        "ppv": set(),
        "npv": set(),
        "f1": set(),
    }.get(metric.name, {0, 1})
    if absent in needed:
        assert np.isnan(found)
    else:
        kept = target != absent
        expected = computed(metric, target[kept], score[kept], weight[kept])
        assert found == pytest.approx(expected)


@TABLE
@pytest.mark.parametrize("constant", [0.3, 0.7])
def test_no_skill_is_what_knowing_only_the_prevalence_reaches(metric, constant):
    """One score for everyone: the prevalence, or what calls everyone positive."""
    target = np.array([1] * round(100 * constant) + [0] * round(100 - 100 * constant))
    found = float(computed(metric, target, np.full(100, constant)))
    no_skill = metric.no_skill(constant)
    if no_skill is None:  # what is reached depends on how many are called positive
        assert metric.name in {"sensitivity", "specificity", "f1", *REGRESSIONS}
    elif np.isnan(found):  # nobody is called so
        assert metric.name == {0.3: "ppv", 0.7: "npv"}[constant]
    else:
        assert found == pytest.approx(no_skill)


@TABLE
def test_a_perfect_score_beats_no_skill_in_the_stated_direction(metric):
    target = np.array([1] * 30 + [0] * 70)
    best = float(computed(metric, target, target.astype(float)))
    if metric.higher_is_better is None:
        assert metric.ideal is not None
        return
    assert best == (1.0 if metric.higher_is_better else 0.0)
    no_skill = metric.no_skill(0.3)
    if no_skill is not None:
        assert (best > no_skill) == metric.higher_is_better


@TABLE
def test_what_is_said_to_depend_on_the_share_of_positives_does(metric):
    """Every negative counted twice: the share of positives falls, nothing else changes."""
    rng = np.random.default_rng(0)
    target, score = rng.integers(0, 2, 400), rng.random(400)
    doubled = np.where(target == 1, 1.0, 2.0)
    changes = abs(computed(metric, target, score, doubled) - computed(metric, target, score)) > 1e-9
    # a slope hardly moves, and the regression has to be fitted in whole resamples all the same
    assert changes == metric.needs_prevalence


@TABLE
def test_the_row_is_complete(metric):
    assert metric.title
    assert metric.meaning
    assert metric.task == "binary"
    assert [row.name for row in metrics.TABLE].count(metric.name) == 1
    assert (metric.ideal is None) == (metric.higher_is_better is not None)


def test_a_threshold_is_needed_where_one_is_needed():
    needing = [metric for metric in metrics.TABLE if metric.thresholded]
    assert len(needing) == 6
    for metric in needing:
        with pytest.raises(ValueError, match="needs a threshold"):
            metric.of(np.array([0.2]), None)


def test_who_reaches_the_threshold_is_called_positive():
    metric = next(metric for metric in metrics.TABLE if metric.name == "sensitivity")
    assert metric.of(np.array([0.49, 0.5, 0.51]), 0.5).tolist() == [0, 1, 1]


def test_auroc_counts_pairs():
    """The definition itself, one pair at a time."""
    rng = np.random.default_rng(4)
    target, score = rng.integers(0, 2, 60), rng.integers(0, 9, 60) / 9
    pairs = [(p > n) + (p == n) / 2 for p in score[target == 1] for n in score[target == 0]]
    assert metrics.auroc(target, score) == pytest.approx(np.mean(pairs), abs=1e-12)


OTHERS = pytest.mark.parametrize(
    "metric", [*amounts.TABLE, *ordered.TABLE], ids=lambda metric: metric.name
)


def other_reference(metric, target, score):
    """What scikit-learn, SciPy or NumPy say, not-a-number where they find nothing to say."""
    module, _, name = metric.reference.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if metric.name == "bias":
            return function(score - target)
        if metric.name in ("linear_slope", "linear_intercept"):
            if np.ptp(score) == 0:
                return np.nan
            return getattr(function(score, target), metric.name.removeprefix("linear_"))
        if metric.name == "r2" and np.ptp(target) == 0:
            return np.nan
        whole = (
            {"labels": range(5)} if "kappa" in metric.name else {}
        )  # absent classes keep a place
        found = function(target, score, **whole, **metric.options)
    return getattr(found, "statistic", found)


@st.composite
def pairs(draw):
    """Whole numbers from 0 to 4, amounts and classes alike; weights with zeros."""
    n = draw(st.integers(3, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target, score = rng.integers(0, 5, (2, n)).astype(float)
    target[:2], score[:2] = (0, 4), (1, 3)
    weight = rng.integers(0, 4, n).astype(float)
    weight[:2] = np.maximum(weight[:2], 1)
    return target, score, weight


@OTHERS
@settings(max_examples=30)
@given(pair=pairs())
def test_amounts_and_ordered_classes_equal_their_references(metric, pair):
    target, score, _ = pair
    assert metric.compute(target, score) == pytest.approx(
        other_reference(metric, target, score), abs=1e-10, nan_ok=True
    )


@OTHERS
@settings(max_examples=30)
@given(pair=pairs(), seed=st.integers(0, 2**32 - 1))
def test_of_them_too_a_weight_is_a_repeated_unit_and_order_and_rows_do_not_matter(
    metric, pair, seed
):
    target, score, weight = pair
    found = metric.compute(target, score, weight)
    repeated = np.repeat(np.arange(len(target)), weight.astype(int))
    order = np.random.default_rng(seed).permutation(len(target))
    for same in (
        metric.compute(target[repeated], score[repeated]),
        metric.compute(target[order], score[order], weight[order]),
        metric.compute(target, score, np.stack([weight, np.ones(len(target))]))[0],
    ):
        assert same == pytest.approx(found, abs=1e-10, nan_ok=True)


@OTHERS
def test_what_is_perfect_is_best_and_what_is_constant_has_no_skill(metric):
    target = np.array([0.0, 1, 2, 3, 4, 4, 0])
    best = float(metric.compute(target, target))
    expected = metric.ideal if metric.higher_is_better is None else float(metric.higher_is_better)
    assert best == pytest.approx(expected, abs=1e-12)
    assert (metric.ideal is None) == (metric.higher_is_better is not None)
    if metric.no_skill(0.5) is not None:
        constant = float(metric.compute(target, np.full(7, target.mean())))
        assert np.isnan(constant) or constant == pytest.approx(0, abs=1e-12)


@OTHERS
def test_without_units_or_weight_they_have_no_value(metric):
    assert np.isnan(metric.compute(np.array([]), np.array([])))
    assert np.isnan(metric.compute(np.array([1.0, 2]), np.array([2.0, 1]), np.zeros((1, 2))))


@pytest.mark.parametrize("offset", [0, 1e6])
def test_equal_amounts_have_no_correlation_whatever_their_size(offset):
    rng = np.random.default_rng(0)
    x, constant = rng.random(50) + offset, np.full(50, 0.1 + offset)
    assert np.isnan(amounts.pearson(x, constant))
    assert np.isnan(amounts.slope(x, constant))
    assert np.isnan(amounts.r2(constant, x))
    assert np.isfinite(amounts.pearson(x, x + rng.random(50)))
