"""Differences inside folds, and the t that corrects for what folds share."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from medssl.artifacts.splits import Splits
from medssl.config.task import Task
from medssl.evaluation import fold_differences, metrics

AUROC = next(metric for metric in metrics.TABLE if metric.name == "auroc")


def plan(**changes):
    facts = {
        "task": Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1"),
        "seed": 0,
        "group": "patient",
        "by": "folds",
        "n_folds": 3,
        "test_fold": ({key: n % 3 for n, key in enumerate("abcdefghi")},) * 2,
    }
    return Splits(**(facts | changes))


def test_the_corrected_t_is_that_of_the_formula():
    """Nadeau & Bengio: (1/J + n_test/n_train) times the variance, on J - 1 degrees of freedom."""
    d = np.array([0.05, 0.02, -0.01, 0.04, 0.03, 0.06, 0.0, 0.02, 0.01, 0.05])
    found = fold_differences.corrected_t(d, 0.25, 0.95)
    t = d.mean() / np.sqrt((1 / 10 + 0.25) * d.var(ddof=1))
    assert found.p == pytest.approx(2 * student.sf(t, 9))
    half = student.ppf(0.975, 9) * d.mean() / t
    assert (found.low, found.high) == pytest.approx((d.mean() - half, d.mean() + half))
    assert (found.folds, found.mean) == (10, pytest.approx(d.mean()))


def test_folds_without_a_class_are_left_out_and_one_is_too_few():
    nan = np.nan
    found = fold_differences.corrected_t(np.array([0.1, nan, 0.3]), 0.5, 0.95)
    assert found == fold_differences.corrected_t(np.array([0.1, 0.3]), 0.5, 0.95)
    assert fold_differences.corrected_t(np.array([0.1, nan]), 0.5, 0.95) is None


def test_no_difference_in_any_fold_is_none():
    found = fold_differences.corrected_t(np.zeros(4), 0.5, 0.95)
    assert (found.p, found.low, found.high) == (1, 0, 0)


def test_aurocs_are_those_inside_folds(one_each):
    units = one_each(60, 0, n_folds=4, repeats=2)
    found = fold_differences.inside(units, AUROC, (0,))
    split = fold_differences.plans(units)
    assert len(set(split)) == 1  # the fixture repeats one split: trainings of it, not more folds
    fold = units.fold[:, 0]
    expected = [
        np.mean([roc_auc_score(units.truth[fold == k, 0], units.by_repeat[fold == k, r, 0])
                 for r in range(2)])
        for k in range(4)
    ]  # fmt: skip
    assert found == pytest.approx(expected)


def test_other_splits_add_folds(units_of):
    keys = [f"k{n:02d}" for n in range(12)]
    units = units_of(
        keys * 2,
        [0, 1] * 12,
        np.random.default_rng(0).random(24),
        image_id=[f"i{n:02d}" for n in range(12)] * 2,
        repeat=[0] * 12 + [1] * 12,
        fold=[n // 2 % 3 for n in range(12)] + [n // 4 for n in range(12)],
    )
    assert len(set(fold_differences.plans(units))) == 2
    assert len(fold_differences.inside(units, AUROC, (0,))) == 6


def test_who_is_not_learned_from_is_not_counted():
    tested, learned = fold_differences.trained_on(plan())
    assert tested.tolist() == [3] * 6
    assert learned.tolist() == [6] * 6
    inner = ((("b",), ("a",), ("a",)),) * 2
    unused = ((("c", "f"), ("c",), ("b", "d")),) * 2
    _, learned = fold_differences.trained_on(plan(inner=inner, unused=unused))
    assert learned.tolist() == [3, 4, 3] * 2
    assert fold_differences.ratio(plan(inner=inner, unused=unused)) == pytest.approx(3 / (10 / 3))


def test_who_is_tested_nowhere_is_learned_from():
    """A held-out site of 3 patients of 40: the plan names them alone."""
    held = plan(by="hold_out", n_folds=1, test_fold=({"a": 0, "b": 0, "c": 0},))
    tested, learned = fold_differences.trained_on(held, 40)
    assert (tested.tolist(), learned.tolist()) == ([3], [37])
    apart = replace(held, inner=((("x", "y"),),), unused=((("z", "y"),),), barred=((("q",),),))
    assert fold_differences.trained_on(apart, 40)[1].tolist() == [33]
    some = plan(test_fold=({"a": 0, "b": 1, "c": 2},), balanced_test=True)
    assert fold_differences.ratio(some, 10) == pytest.approx(1 / 9)


def test_folds_by_site_have_no_correction():
    assert fold_differences.ratio(plan(by="site")) is None
