"""Net benefit: is it worth treating by the score, at the price that a threshold stands for?

Vickers & Elkin, Med Decis Making 2006;26:565. A threshold probability pt says that a false positive
weighs pt / (1 - pt) of a true positive. Net benefit needs calibrated probabilities, and its range
of thresholds is declared, never read off the curve.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation import intervals
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Units

POINTS = 101  # of a curve


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Net benefit of the model, of treating all and of the gain over the better of all and none."""

    column: str
    declared: bool  # a range was declared; else it is the one threshold of the report
    threshold: Floats  # (T,) probabilities
    model: Floats  # (T,)
    low: Floats  # (T,)
    high: Floats  # (T,)
    treat_all: Floats  # (T,); treating none has 0 everywhere
    gain: Floats  # (T,) model minus the better of all and none
    gain_low: Floats  # (T,)
    gain_high: Floats  # (T,)


def net_benefit(
    target: NDArray[np.generic], score: Floats, thresholds: Floats, weight: Floats | None = None
) -> Floats:
    """Return TP / n - FP / n * pt / (1 - pt) at each threshold, per unit.

    Args:
        target: Shape (N,), 1 for the positive class.
        score: Probabilities, shape (N,); a unit is treated from the threshold on.
        thresholds: Shape (T,), each below 1.
        weight: Shape (R, N), >= 0; None counts every unit once.

    Returns:
        Shape (R, T); not-a-number where nothing has weight.
    """
    weight = np.ones((1, len(score))) if weight is None else weight
    # a unit counts up to the last threshold its score reaches: few sums per threshold
    order = np.argsort(thresholds, kind="stable")
    reach = np.searchsorted(thresholds[order], score, side="right")
    passed = reach[:, None] > np.arange(len(thresholds))
    positive = (target == 1)[:, None] & passed
    hits, calls = weight @ positive.astype(np.float64), weight @ passed.astype(np.float64)
    odds = thresholds[order] / (1 - thresholds[order])
    total = weight.sum(axis=1, keepdims=True)
    found = np.full(hits.shape, np.nan)
    np.divide(hits - (calls - hits) * odds, total, out=found, where=total > 0)
    return np.asarray(found[:, np.argsort(order, kind="stable")])


def treat_all(
    target: NDArray[np.generic], thresholds: Floats, weight: Floats | None = None
) -> Floats:
    """Return the net benefit of treating everyone; see `net_benefit`."""
    everyone = np.ones(len(target))
    return net_benefit(target, everyone, thresholds, weight)


def curve(
    units: Units,
    column: int,
    counts: intervals.Ints,
    level: float,
    thresholds: Floats,
    *,
    declared: bool,
) -> Decision:
    """Return net benefit over thresholds with point-wise bands over resampled patients.

    Args:
        units: With probabilities as scores.
        column: Of the units.
        counts: From `intervals.draw`, over all patients: net benefit depends on the prevalence.
        level: Of the bands.
        thresholds: Shape (T,), between 0 and 1.
        declared: Whether somebody declared them as a range.
    """
    part = units.only(column)
    truth, score = part.truth[:, 0], part.score[:, 0]
    statistic = _both(truth, score, thresholds)
    found = statistic(np.ones((1, len(truth))))[0]
    drawn = intervals.resampled(statistic, part.patient, counts)
    low, high = intervals.band(drawn[:, 0], level)
    gain_low, gain_high = intervals.band(drawn[:, 1], level)
    return Decision(
        column=part.columns[0],
        declared=declared,
        threshold=thresholds,
        model=found[0],
        low=low,
        high=high,
        treat_all=treat_all(truth, thresholds)[0],
        gain=found[1],
        gain_low=gain_low,
        gain_high=gain_high,
    )


def _both(truth: Floats, score: Floats, thresholds: Floats) -> Callable[[Floats], Floats]:
    """Return a statistic: net benefit and gain over the better default, (r, 2, T)."""

    def compute(weight: Floats) -> Floats:
        model = net_benefit(truth, score, thresholds, weight)
        default = np.maximum(treat_all(truth, thresholds, weight), 0)
        return np.stack([model, model - default], axis=1)

    return compute
