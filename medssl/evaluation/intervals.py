"""Confidence intervals that resample patients, never images.

A drawn patient brings all of its units along. What does not depend on the share of positives, such
as the AUROC, is drawn within class, so that every resample has the classes of the cohort. What
does, such as calibration or a predictive value, is drawn over all patients: with that share held
fixed, an interval would leave out the chance of having met so many positives. A resample is a row
of weights: a metric sorts once and sees all resamples side by side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from medssl.evaluation.metrics import Floats

CHUNK = 4_000_000  # weights held at once, 32 MB
FEWEST_RESAMPLES = 1000  # for BCa, whose ends lie further out than those of a percentile interval
MOST_LEFT_OUT = 3000  # patients left out one by one; beyond it the two intervals hardly differ
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval; not-a-number where no resample had a value."""

    low: float
    high: float
    undefined: int  # resamples in which the metric has no value; they are left out
    method: Literal["percentile", "bca", "wilson"] = "percentile"

    @property
    def is_point(self) -> bool:
        """Whether no resample differs, so that the interval has no width."""
        return self.low == self.high


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which bootstrap interval is made, and why."""

    method: Literal["bca", "percentile"]
    why: str


def choose(wanted: Literal["auto", "bca", "percentile"], resamples: int, patients: int) -> Chosen:
    """Return which bootstrap interval is made where it can be had.

    BCa holds the true value more often in small cohorts and for values near their limit. It needs
    many resamples, and one more for every patient.
    """
    best = _fitting(resamples, patients)
    if wanted == "auto" or wanted == best.method:
        return best
    return Chosen(method=wanted, why="as set")


def _fitting(resamples: int, patients: int) -> Chosen:
    if resamples < FEWEST_RESAMPLES:
        why = f"BCa needs {FEWEST_RESAMPLES:,} resamples"
        return Chosen(method="percentile", why=why)
    if patients > MOST_LEFT_OUT:
        why = f"with more than {MOST_LEFT_OUT:,} patients BCa hardly differs and takes long"
        return Chosen(method="percentile", why=why)
    return Chosen(method="bca", why="it holds the true value more often in small cohorts")


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How often each patient is drawn in each resample, in two ways; each (R, P)."""

    within_class: Ints
    over_all: Ints


def draw_both(stratum: Ints, resamples: int, rng: np.random.Generator) -> Draws:
    """Return resamples within class and over all patients; see `draw` for the arguments."""
    return Draws(
        within_class=draw(stratum, resamples, rng),
        over_all=draw(np.zeros_like(stratum), resamples, rng),
    )


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


def left_out(statistic: Callable[[Floats], Floats], patient: Ints, n_patients: int) -> Floats:
    """Return a statistic without each patient in turn, shape (P, …).

    Args:
        statistic: As in `resampled`.
        patient: Shape (U,); the patient each unit belongs to.
        n_patients: P.
    """
    step = max(1, CHUNK // max(1, len(patient)))
    return np.concatenate(
        [
            statistic((patient != np.arange(start, min(start + step, n_patients))[:, None]) * 1.0)
            for start in range(0, n_patients, step)
        ]
    )


def bca(
    values: Floats, found: float, without: Floats, stratum: Ints, level: float
) -> Interval | None:
    """Return the bias-corrected and accelerated interval (Efron, J Am Stat Assoc 1987;82:171).

    Acceleration comes from leaving out each patient, with strata as samples of their own
    (Davison & Hinkley 1997, Bootstrap methods and their application, section 5.3.2).

    Args:
        values: One per resample, shape (R,); not-a-number where undefined.
        found: The statistic in the cohort.
        without: The statistic without each patient, shape (P,), from `left_out`.
        stratum: Shape (P,); what the resamples were drawn within.
        level: Of the interval, for example 0.95.

    Returns:
        None where it cannot be had: resamples or patients do not vary it, it has no value without
        some patient, or all resamples lie on one side of it.
    """
    defined = values[np.isfinite(values)]
    pull = _pull(without, stratum)
    spread = float((pull**2).sum())
    if not (np.isfinite(found) and defined.size and np.isfinite(spread) and spread > 0):
        return None
    below = ((defined < found).sum() + (defined == found).sum() / 2) / len(defined)
    if not 0 < below < 1:
        return None
    bias = ndtri(below)
    acceleration = float((pull**3).sum()) / (6 * spread**1.5)
    shifted = bias + ndtri([(1 - level) / 2, (1 + level) / 2])
    stretch = 1 - acceleration * shifted
    if (stretch <= 0).any():
        return None
    at = ndtr(bias + shifted / stretch)
    if at[0] >= at[1]:
        return None
    low, high = np.quantile(defined, at)
    return Interval(
        low=float(low), high=float(high), undefined=len(values) - len(defined), method="bca"
    )


def _pull(without: Floats, stratum: Ints) -> Floats:
    """Return how much each patient moves the statistic, over the patients of the stratum."""
    pull = np.zeros(len(without))
    for name in np.unique(stratum):
        members = stratum == name
        n = int(members.sum())
        if n > 1:  # a patient alone in a stratum is in every resample
            pull[members] = (n - 1) / n * (without[members].mean() - without[members])
    return pull


def wilson(share: float, n: int, level: float) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson, J Am Stat Assoc 1927;22:209).

    It has a width where the share is 0 or 1, and a bootstrap has none.

    Args:
        share: 0 to 1.
        n: Independent observations, at least 1.
        level: Of the interval, for example 0.95.
    """
    z = float(ndtri((1 + level) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return max(0.0, middle - half), min(1.0, middle + half)


def band(values: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the point-wise percentile band of resampled curves, (R, G) to two of (G,)."""
    intervals = [percentile(column, level) for column in values.T]
    return np.array([i.low for i in intervals]), np.array([i.high for i in intervals])
