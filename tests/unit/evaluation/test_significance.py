"""P-values of a family of differences."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from medssl.artifacts.splits import Splits
from medssl.config.task import Task
from medssl.evaluation import (
    assessment,
    comparison,
    fold_differences,
    intervals,
    metrics,
    significance,
)
from medssl.evaluation.significance import Plan
from medssl.foundation.errors import UsageError

PLAN = Plan(metrics=("auroc",), swaps=199, level=0.95, seed=0)
KEYS = [f"k{n:03d}" for n in range(90)]
SPLITS = Splits(
    task=Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1"),
    seed=0,
    group="patient",
    by="folds",
    n_folds=3,
    test_fold=({key: n // 3 % 3 for n, key in enumerate(KEYS)},),
)


@pytest.fixture
def measured(units_of):
    rng = np.random.default_rng(0)
    label, shared = np.arange(90) % 3 == 0, rng.normal(size=90)
    fold = [n // 3 % 3 for n in range(90)]
    found = {}
    for name, gain in (("a", 0), ("b", 0), ("c", 2)):
        logit = shared + (1 + gain) * label + rng.normal(size=90)
        found[name] = units_of(KEYS, label, 1 / (1 + np.exp(-logit)), fold=fold)
    draws = intervals.draw_both(found["a"].stratum, 100, np.random.default_rng(0))
    return {name: assessment.measure(units, draws) for name, units in found.items()}


def outcome(measured, pairs, splits=SPLITS, **changes):
    differences = comparison.differences(measured, pairs, 0.95)
    ratios = dict.fromkeys(measured, fold_differences.ratio(splits))
    return significance.of(differences, measured, ratios, replace(PLAN, **changes))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_holm_is_that_of_statsmodels(count):
    p = np.random.default_rng(count).random(count) ** 3
    expected = multipletests(p, method="holm")[1]
    assert significance.holm(p) == pytest.approx(expected)


def test_holm_of_none_is_none():
    assert significance.holm(np.array([])).size == 0


def test_all_pairs_are_one_family(measured):
    found = outcome(measured, [("b", "a"), ("c", "a")])
    assert [(row.run, row.against, row.metric, row.family) for row in found] == [
        ("b", "a", "auroc", 2),
        ("c", "a", "auroc", 2),
    ]
    assert [row.p_holm for row in found] == pytest.approx(
        multipletests([row.p for row in found], method="holm")[1]
    )
    (alone,) = outcome(measured, [("c", "a")])
    assert alone.p == found[1].p  # the same patients are swapped, whatever else is compared
    assert (alone.p_holm, alone.family) == (alone.p, 1)
    assert found[0].p > 0.05 > found[1].p_holm


def test_each_metric_that_is_asked_for_belongs_to_the_family(measured):
    found = outcome(measured, [("c", "a")], metrics=("auroc", "brier"))
    assert [(row.metric, row.family) for row in found] == [("auroc", 2), ("brier", 2)]
    assert [row.corrected_t.folds for row in found] == [3, 3]
    assert found[1].corrected_t.mean == pytest.approx(found[1].value)  # squares add up over folds


def test_the_corrected_t_takes_the_smaller_training_part(measured):
    """A run that learned from half the patients has twice as many tested for one trained on."""
    half = tuple(
        tuple(key for n, key in enumerate(KEYS) if n // 3 % 3 != k and n % 2) for k in range(3)
    )
    plans = {"a": SPLITS, "b": replace(SPLITS, unused=(half,)), "c": SPLITS}
    differences = comparison.differences(measured, [("b", "a"), ("c", "a")], 0.95)
    ratios = {name: fold_differences.ratio(plan) for name, plan in plans.items()}
    fewer, whole = significance.of(differences, measured, ratios, PLAN)
    assert whole.corrected_t.ratio == pytest.approx(30 / 60)
    assert fewer.corrected_t.ratio == pytest.approx(30 / 30)
    assert whole.corrected_t.folds == 3


def test_folds_by_site_have_no_corrected_t(measured):
    (row,) = outcome(measured, [("b", "a")], splits=replace(SPLITS, by="site"))
    assert row.corrected_t is None


def test_what_is_tested_is_asked_for_or_stands_first(measured):
    units = measured["a"].units
    usable = [metric for _, metric in measured["a"].rows]
    assert significance.asked((), usable, units) == ("auroc",)
    assert significance.asked((), usable, replace(units, task="regression")) == ("mae",)
    assert significance.asked(("brier", "auroc"), usable, units) == ("brier", "auroc")
    with pytest.raises(UsageError, match=r"finding has no mae to compare: auroc, average_precisi"):
        significance.asked(("mae",), usable, units)
    with pytest.raises(UsageError, match="has no calibration_slope"):
        significance.asked(("calibration_slope",), list(metrics.TABLE), units)
