"""The variance of an AUROC without resampling, as a second opinion on the bootstrap.

DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837, by midranks as Sun & Xu, IEEE Signal
Process Lett 2014;21:1389, in float64 throughout. It takes every unit for independent, so it is
given only where a patient has one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from medssl.evaluation.assessment import Measured
from medssl.evaluation.metrics import Floats
from medssl.evaluation.sizes import suffice
from medssl.evaluation.units import Units

MOST_APART = 0.2  # between the two standard errors, as a share of DeLong's


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """DeLong's standard error and interval of an AUROC beside those of the bootstrap."""

    column: str
    auroc: float
    standard_error: float
    low: float  # of the normal interval, kept within 0 to 1
    high: float
    bootstrap_standard_error: float

    @property
    def apart(self) -> float:
        """How far the bootstrap's standard error is from DeLong's, as a share; 0: the same."""
        if self.standard_error == 0:
            return 0.0 if self.bootstrap_standard_error == 0 else np.inf
        return self.bootstrap_standard_error / self.standard_error - 1


def auroc(target: NDArray[np.generic], score: Floats) -> tuple[float, float]:
    """Return an AUROC and DeLong's variance of it; a tie counts half.

    Args:
        target: Shape (N,), 1 for the positive class.
        score: Shape (N,), higher for the positive class.

    Returns:
        Two numbers; the variance is not-a-number with fewer than two units of a class.
    """
    positive, negative = score[target == 1], score[target != 1]
    m, n = len(positive), len(negative)
    if not m or not n:
        return np.nan, np.nan
    together = rankdata(np.r_[positive, negative])
    # how often a positive beats a negative, seen from each positive and from each negative
    from_positive = (together[:m] - rankdata(positive)) / n
    from_negative = 1 - (together[m:] - rankdata(negative)) / m
    value = float(from_positive.mean())
    if min(m, n) < 2:
        return value, np.nan
    return value, float(from_positive.var(ddof=1) / m + from_negative.var(ddof=1) / n)


def one_unit_each(units: Units) -> bool:
    """Say whether no known patient has two units, which DeLong's variance takes for granted."""
    return units.grouped and len(np.unique(units.patient)) == len(units.patient)


def check(measured: Measured, level: float) -> tuple[CrossCheck, ...]:
    """Return DeLong's view on every AUROC that has one.

    Args:
        measured: From `assessment.measure`; its resamples are what is checked.
        level: Of the intervals, for example 0.95.

    Returns:
        One per column with enough patients of both classes; none where patients have several
        units or are unknown, or where scores are amounts.
    """
    units = measured.units
    if not one_unit_each(units):
        return ()
    return tuple(
        _check(units.only(k), measured.drawn[:, row], level)
        for row, (k, metric) in enumerate(measured.rows)
        if k is not None and metric.name == "auroc" and suffice(units, k)
    )


def _check(units: Units, drawn: Floats, level: float) -> CrossCheck:
    value, variance = auroc(units.truth[:, 0], units.score[:, 0])
    error = float(np.sqrt(variance))
    half = float(ndtri((1 + level) / 2)) * error
    return CrossCheck(
        column=units.columns[0],
        auroc=value,
        standard_error=error,
        low=max(0.0, value - half),
        high=min(1.0, value + half),
        bootstrap_standard_error=float(np.nanstd(drawn, ddof=1)),
    )
