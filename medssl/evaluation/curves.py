"""Curves behind the figures, each with a point-wise band over resampled patients."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medssl.evaluation import intervals, metrics
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Units

GRID = 101  # points of a band
MOST_POINTS = 1000  # of a drawn ROC curve
SPAN = 0.75  # share of units one smoothed point sees (Austin & Steyerberg, Stat Med 2014;33:517)
BINS = 40  # of the risk distribution


@dataclass(frozen=True, kw_only=True)
class Roc:
    """An ROC curve, and a band of its sensitivity at fixed false positive rates."""

    column: str
    false_positive_rate: Floats  # (T,) of the curve, from 0 to 1
    sensitivity: Floats  # (T,)
    grid: Floats  # (G,) false positive rates of the band
    low: Floats  # (G,)
    high: Floats  # (G,)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Observed share of positives over predicted probability."""

    column: str
    predicted: Floats  # (G,)
    observed: Floats  # (G,) smoothed
    low: Floats  # (G,)
    high: Floats  # (G,)


@dataclass(frozen=True, kw_only=True)
class Risks:
    """How the scores of each outcome spread."""

    column: str
    bin_edges: Floats  # (BINS + 1,) from 0 to 1 for probabilities, else over the scores there are
    positives: Floats  # (BINS,) units per bin
    negatives: Floats  # (BINS,)


def roc(units: Units, column: int, counts: intervals.Ints, level: float) -> Roc:
    """Return the ROC curve of one column; ``counts`` come from `intervals.draw`."""
    units = units.only(column)
    truth, score = units.truth[:, 0], units.score[:, 0]
    grid = np.linspace(0, 1, GRID)

    def at_grid(weight: Floats) -> Floats:
        rates = zip(*roc_points(truth, score, weight), strict=True)
        return np.array([np.interp(grid, fpr, tpr) for fpr, tpr in rates])

    low, high = intervals.band(intervals.resampled(at_grid, units.patient, counts), level)
    fpr, tpr = roc_points(truth, score, np.ones(len(truth)))
    shown = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), MOST_POINTS)).astype(int))
    return Roc(
        column=units.columns[0],
        false_positive_rate=fpr[shown],
        sensitivity=tpr[shown],
        grid=grid,
        low=low,
        high=high,
    )


def roc_points(truth: Floats, score: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return false positive rate and sensitivity at falling thresholds, each (…, T).

    They start at (0, 0) and end at (1, 1); not-a-number where a class has no weight.
    """
    rates = []
    for part in reversed(metrics.by_score(truth, score, weight)):  # negatives, then positives
        passed = np.cumsum(part[..., ::-1], axis=-1)
        total = passed[..., -1:]
        share = np.divide(passed, total, out=np.full_like(passed, np.nan), where=total > 0)
        rates.append(np.concatenate([np.where(total > 0, 0.0, np.nan), share], axis=-1))
    return rates[0], rates[1]


def calibration(
    units: Units, column: int, counts: intervals.Ints, level: float
) -> Calibration | None:
    """Return the smoothed calibration curve of one column; None if all scores are equal."""
    units = units.only(column)
    truth, score = units.truth[:, 0], units.score[:, 0]
    if np.ptp(score) == 0:
        return None
    grid = np.linspace(score.min(), score.max(), GRID)
    smooth = smoother(score, truth, grid, span=SPAN)
    low, high = intervals.band(intervals.resampled(smooth, units.patient, counts), level)
    return Calibration(
        column=units.columns[0],
        predicted=grid,
        observed=smooth(np.ones((1, len(score))))[0],
        low=low,
        high=high,
    )


def risks(units: Units, column: int) -> Risks:
    """Return how many units of each outcome have which score."""
    units = units.only(column)
    truth, score = units.truth[:, 0], units.score[:, 0]
    span = (0.0, 1.0) if ((score >= 0) & (score <= 1)).all() else (score.min(), score.max())
    edges = np.histogram_bin_edges(score, BINS, span)
    return Risks(
        column=units.columns[0],
        bin_edges=edges,
        positives=np.histogram(score[truth == 1], edges)[0].astype(np.float64),
        negatives=np.histogram(score[truth == 0], edges)[0].astype(np.float64),
    )


def smoother(x: Floats, y: Floats, grid: Floats, *, span: float) -> Callable[[Floats], Floats]:
    """Return a local linear regression (LOWESS without its robust rounds) as a statistic.

    Neighbourhoods are those of the full sample in every resample, so that one set of kernel
    moments serves all of them.

    Args:
        x: Shape (N,), not all equal.
        y: Shape (N,), 0 to 1; so is the result.
        grid: Shape (G,), where to evaluate.
        span: Share of the sample in a neighbourhood.

    Returns:
        A function from weights (r, N) to curves (r, G).
    """
    offset = x[:, None] - grid  # (N, G)
    nearest = max(2, int(span * len(x)))
    reach = np.partition(np.abs(offset), nearest - 1, axis=0)[nearest - 1]
    reach = np.maximum(reach, 1e-6 * np.ptp(x))
    kernel = (1 - np.minimum(np.abs(offset) / reach, 1) ** 3) ** 3  # tricube
    offset = offset / reach
    moments = [kernel, kernel * offset, kernel * offset**2]
    moments += [kernel * y[:, None], kernel * offset * y[:, None]]

    def fit(weight: Floats) -> Floats:
        s0, s1, s2, t0, t1 = (weight @ moment for moment in moments)
        spread = s0 * s2 - s1**2
        slope_known = spread > 1e-9 * s0**2
        level = np.divide(t0, s0, out=np.full_like(s0, np.nan), where=s0 > 0)
        line = np.divide(s2 * t0 - s1 * t1, spread, out=level, where=slope_known)
        return np.asarray(np.clip(line, 0, 1))

    return fit
