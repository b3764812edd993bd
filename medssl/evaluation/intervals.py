"""Confidence intervals that resample patients, never images.

A drawn patient brings all of its units along. Patients of each class are drawn among themselves,
so that every resample has the classes of the cohort. A resample is a row of weights: a metric
sorts once and sees all resamples side by side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation.metrics import Floats

CHUNK = 4_000_000  # weights held at once, 32 MB
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A percentile interval; not-a-number where no resample had a value."""

    low: float
    high: float
    undefined: int  # resamples in which the metric has no value; they are left out


def draw(stratum: Ints, resamples: int, rng: np.random.Generator) -> Ints:
    """Return how often each patient is drawn in each resample.

    Args:
        stratum: Shape (P,); as many patients are drawn from each stratum as it has.
        resamples: How many resamples, R.
        rng: The only source of randomness.

    Returns:
        Shape (R, P), whole numbers.
    """
    counts = np.zeros((resamples, len(stratum)), dtype=np.int64)
    for name in np.unique(stratum):
        members = np.flatnonzero(stratum == name)
        even = np.full(len(members), 1 / len(members))
        counts[:, members] = rng.multinomial(len(members), even, size=resamples)
    return counts


def resampled(statistic: Callable[[Floats], Floats], patient: Ints, counts: Ints) -> Floats:
    """Return a statistic in every resample.

    Args:
        statistic: Takes weights of units, shape (r, U), and returns values, shape (r, …).
        patient: Shape (U,); the patient each unit belongs to.
        counts: From `draw`, shape (R, P).

    Returns:
        Shape (R, …).
    """
    step = max(1, CHUNK // len(patient))
    return np.concatenate(
        [
            statistic(counts[start : start + step][:, patient].astype(np.float64))
            for start in range(0, len(counts), step)
        ]
    )


def percentile(values: Floats, level: float) -> Interval:
    """Return the percentile interval of resampled values, shape (R,).

    Args:
        values: One per resample; not-a-number where undefined.
        level: Of the interval, for example 0.95.
    """
    defined = values[np.isfinite(values)]
    low, high = (np.nan, np.nan)
    if defined.size:
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), undefined=len(values) - len(defined))


def band(values: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the point-wise percentile band of resampled curves, (R, G) to two of (G,)."""
    intervals = [percentile(column, level) for column in values.T]
    return np.array([i.low for i in intervals]), np.array([i.high for i in intervals])
