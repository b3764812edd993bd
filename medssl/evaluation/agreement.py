"""How predicted amounts agree with labels: pairs, calibration line, limits of agreement.

Limits of agreement: Bland & Altman, Lancet 1986;327:307, as the mean and 1.96 standard deviations
of the differences. Their intervals are by percentiles over resampled patients.
"""

from dataclasses import dataclass

import numpy as np

from medssl.evaluation import amounts, intervals
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Units

WIDTH = 1.96  # standard deviations on either side that hold 95 % of a normal distribution
MOST_POINTS = 2000  # of a drawn scatter


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One amount as predicted and as labelled."""

    column: str
    predicted: Floats  # (N,) at most MOST_POINTS, ascending
    label: Floats  # (N,)
    intercept: float  # of the line of label over prediction
    slope: float
    limits: Floats  # (3,) lower limit of agreement, bias, upper limit
    low: Floats  # (3,) of their intervals
    high: Floats  # (3,)


def find(units: Units, column: int, counts: intervals.Ints, level: float) -> Agreement:
    """Return the agreement of one column of amounts.

    Args:
        units: Of amounts.
        column: Of the units.
        counts: From `intervals.draw`, over all patients.
        level: Of the intervals of the limits.
    """
    part = units.only(column)
    label, score = part.truth[:, 0], part.score[:, 0]
    difference = score - label

    def limits(weight: Floats) -> Floats:
        total = weight.sum(axis=1)
        mean = weight @ difference / total
        square = (weight * (difference - mean[:, None]) ** 2).sum(axis=1)
        sd = np.sqrt(square / np.maximum(total - 1, 1))
        return np.stack([mean - WIDTH * sd, mean, mean + WIDTH * sd], axis=1)

    drawn = intervals.resampled(limits, part.patient, counts) if len(label) else np.empty((0, 3))
    low, high = intervals.band(drawn, level)
    order = np.lexsort((label, score))
    shown = np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST_POINTS)).astype(int))
    return Agreement(
        column=part.columns[0],
        predicted=score[order][shown],
        label=label[order][shown],
        intercept=float(amounts.intercept(label, score)),
        slope=float(amounts.slope(label, score)),
        limits=limits(np.ones((1, len(label))))[0],
        low=low,
        high=high,
    )
