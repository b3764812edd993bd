"""Differences between runs: from the same resamples, with a sign that follows the order."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medssl.artifacts.splits import Splits
from medssl.config.task import Task
from medssl.evaluation import assessment, comparison, intervals
from medssl.foundation.errors import DataError


@pytest.fixture
def models(units_of):
    """Two models of 120 patients: they share most of their errors, and the second is better."""
    rng = np.random.default_rng(0)
    label = np.arange(120) % 3 == 0
    shared = rng.normal(size=120)
    keys = [f"k{n:03d}" for n in range(120)]

    def model(shift, own):
        logit = 1.3 * shared + shift * label + own * rng.normal(size=120) - 1
        return units_of(keys, label, 1 / (1 + np.exp(-logit)))

    return {"old": model(1.0, 0.4), "new": model(1.6, 0.4)}


def measured(models, resamples=500, seed=0):
    first = next(iter(models.values()))
    draws = intervals.draw_both(first.stratum, resamples, np.random.default_rng(seed))
    return {name: assessment.measure(units, draws) for name, units in models.items()}


def by_metric(found):
    return {row.metric: row for row in found}


def test_a_difference_is_that_of_scikit_learn_in_every_resample(models):
    found = by_metric(comparison.differences(measured(models, 200), [("new", "old")], 0.95))
    truth = models["old"].truth[:, 0]
    old, new = (models[name].score[:, 0] for name in ("old", "new"))
    row = found["auroc"]
    assert row.value == pytest.approx(roc_auc_score(truth, new) - roc_auc_score(truth, old))
    counts = intervals.draw(models["old"].stratum, 200, np.random.default_rng(0))
    drawn = [np.repeat(np.arange(120), count) for count in counts]
    values = [roc_auc_score(truth[n], new[n]) - roc_auc_score(truth[n], old[n]) for n in drawn]
    assert (row.low, row.high) == pytest.approx(np.quantile(values, [0.025, 0.975]))
    assert (row.run, row.against, row.column) == ("new", "old", "finding")


def test_a_run_differs_from_itself_by_nothing(models):
    same = measured({"a": models["old"], "b": models["old"]})
    for row in comparison.differences(same, [("b", "a")], 0.95):
        assert (row.value, row.low, row.high, row.undefined) == (0, 0, 0, 0)


def test_the_other_order_has_the_other_sign(models):
    known = measured(models)
    there = comparison.differences(known, [("new", "old")], 0.95)
    back = comparison.differences(known, [("old", "new")], 0.95)
    for one, other in zip(there, back, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx(
            (-other.value, -other.high, -other.low), abs=1e-12
        )
        assert one.higher_is_better == other.higher_is_better


def test_errors_in_common_cancel(models):
    """The same two models from draws of their own have a much wider difference."""
    paired = by_metric(comparison.differences(measured(models), [("new", "old")], 0.95))
    apart = measured({"old": models["old"]}) | measured({"new": models["new"]}, seed=1)
    loose = by_metric(comparison.differences(apart, [("new", "old")], 0.95))
    for name in ("auroc", "average_precision", "brier"):
        assert paired[name].value == loose[name].value
        assert paired[name].high - paired[name].low < 0.7 * (loose[name].high - loose[name].low)


def test_only_what_has_a_better_side_is_subtracted(models):
    found = comparison.differences(measured(models), [("new", "old")], 0.95)
    assert [row.metric for row in found] == [
        "auroc", "average_precision", "brier", "scaled_brier",
    ]  # fmt: skip
    assert [row.higher_is_better for row in found] == [True, True, False, True]


def test_what_one_run_lacks_is_left_out(models, units_of):
    """Scores that are no probabilities have no Brier score to subtract."""
    old = models["old"]
    keys = [f"k{n:03d}" for n in range(120)]
    ranks = units_of(keys, old.truth[:, 0], 5 * old.score[:, 0])
    known = measured({"old": old, "ranks": ranks})
    for pair in (("ranks", "old"), ("old", "ranks")):
        found = comparison.differences(known, [pair], 0.95)
        assert [row.metric for row in found] == ["auroc", "average_precision"]
        assert found[0].value == 0


def test_a_resample_without_a_value_is_counted(units_of):
    keys = [f"k{n}" for n in range(6)]
    models = {
        name: units_of(keys, [1, 0, 0, 0, 0, 0], scores)
        for name, scores in (("a", [0.9, 0.1, 0.2, 0.3, 0.4, 0.5]), ("b", [0.3] * 6))
    }
    known = measured(models)
    missed = np.isnan(known["a"].drawn[:, 1]).sum()  # nobody positive was drawn
    assert missed > 50
    found = by_metric(comparison.differences(known, [("b", "a")], 0.95))
    assert found["average_precision"].undefined == missed


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (False, (("b", "a"), ("c", "a"))),
        (True, (("b", "a"), ("c", "a"), ("c", "b"))),
    ],
)
def test_pairs(every, expected):
    assert comparison.pairs(["a", "b", "c"], every=every) == expected


TASK = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")


def plan(**changes):
    facts = {
        "task": TASK,
        "seed": 0,
        "group": "patient",
        "by": "folds",
        "n_folds": 2,
        "test_fold": ({"a": 0, "b": 1, "c": 0},),
    }
    return Splits(**(facts | changes))


def test_the_same_images_in_the_same_folds_may_be_compared(table_of):
    one = table_of("abc", [1, 0, 0], [0.5, 0.2, 0.1], fold=[0, 1, 0])
    other = table_of("abc", [1, 0, 0], [0.1, 0.9, 0.3], fold=[0, 1, 0]).take([2, 0, 1])
    comparison.require_same({"x": plan(), "y": plan(seed=3)}, {"x": one, "y": other})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": replace(TASK, targets=("other",))}, "another target: other where x has finding"),
        (
            {"task": replace(TASK, classes=("0", "2"))},
            "another set of classes: 0, 2 where x has 0, 1",
        ),
        (
            {"task": replace(TASK, kind="ordinal")},
            "another kind of task: ordinal where x has binary",
        ),
        ({"task": replace(TASK, positive="0")}, "another positive class: 0 where x has 1"),
        ({"group": "none"}, "another grouping: none where x has patient"),
        ({"test_fold": ({"a": 1, "b": 0, "c": 0},)}, "another split into folds"),
    ],
)
def test_another_plan_is_refused(table_of, changes, message):
    table = table_of("abc", [1, 0, 0], [0.5, 0.2, 0.1], fold=[0, 1, 0])
    with pytest.raises(DataError, match=message) as caught:
        comparison.require_same({"x": plan(), "y": plan(**changes)}, {"x": table, "y": table})
    assert caught.value.where == "y"
    assert "--folds" in caught.value.fix


@pytest.mark.parametrize(
    ("patients", "labels", "columns", "message"),
    [
        ("abb", [1, 0, 0], {}, "some images have another patient than x"),
        ("abc", [1, 0, 1], {}, "some images have another label than x"),
        ("ab", [1, 0], {}, "1 images are missing and 0 are others than x"),
        ("abc", [1, 0, 0], {"image_id": ["i00000", "i00001", "j"]}, "1 images are missing and 1"),
    ],
)
def test_other_images_are_refused(table_of, patients, labels, columns, message):
    one = table_of("abc", [1, 0, 0], [0.5, 0.2, 0.1])
    other = table_of(patients, labels, [0.1] * len(patients), **columns)
    with pytest.raises(DataError, match=message):
        comparison.require_same({"x": plan(), "y": plan()}, {"x": one, "y": other})
