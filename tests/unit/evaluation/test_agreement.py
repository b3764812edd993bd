import numpy as np
import pytest

from medssl.artifacts import predictions
from medssl.config.task import Task
from medssl.evaluation import agreement, intervals, units

AGE = Task(kind="regression", targets=("age",))


def amounts(table_of, label, score):
    keys = [f"k{n:04d}" for n in range(len(label))]
    table = table_of(keys, label, score, target="age")
    assert table.schema.names == predictions.PREDICTIONS.names
    return units.build(table, target="age", aggregate="mean", where="table", task=AGE)


def test_limits_are_mean_and_standard_deviations_of_the_differences(table_of):
    rng = np.random.default_rng(0)
    label = rng.normal(60, 12, 200)
    score = label + rng.normal(2, 5, 200)
    judged = amounts(table_of, label, score)
    counts = intervals.draw(judged.stratum, 500, rng)
    found = agreement.find(judged, 0, counts, 0.95)
    difference = score - label
    sd = difference.std(ddof=1)
    expected = difference.mean() + np.array([-1.96, 0, 1.96]) * sd
    assert found.limits == pytest.approx(expected, abs=1e-9)
    assert (found.low < found.limits).all()
    assert (found.limits < found.high).all()
    # half a width of the bias: 1.96 standard errors; of a limit 1.71 times that (Bland & Altman)
    half = (found.high - found.low) / 2
    assert half[1] == pytest.approx(1.96 * sd / np.sqrt(200), rel=0.1)
    assert half[0] / half[1] == pytest.approx(1.71, rel=0.12)


def test_pairs_are_sorted_and_at_most_a_few_thousand(table_of):
    rng = np.random.default_rng(0)
    label = rng.normal(size=2500)
    judged = amounts(table_of, label, label + 1)
    counts = intervals.draw(judged.stratum, 100, rng)
    found = agreement.find(judged, 0, counts, 0.95)
    assert len(found.predicted) == len(found.label) == agreement.MOST_POINTS
    assert (np.diff(found.predicted) >= 0).all()
    assert found.predicted - found.label == pytest.approx(np.ones(agreement.MOST_POINTS))
    assert (found.slope, found.intercept) == pytest.approx((1, -1))
