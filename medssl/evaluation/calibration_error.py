"""The expected calibration error, beside what a perfectly calibrated model would get by chance.

The binned error (Naeini et al., AAAI 2015) is far from 0 for a perfect model in a small cohort, so
that the number alone says nothing (Metrics Reloaded, Reinke et al., Nat Methods 2024;21:182).
Outcomes are drawn from the scores themselves, and the error of each draw is one of that model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Units

BINS = 10  # of equal width, from 0 to 1
DRAWS = 2000  # of outcomes
_CHUNK = 4_000_000  # outcomes held at once, 32 MB


@dataclass(frozen=True, kw_only=True)
class CalibrationError:
    """A calibration error and its spread under perfect calibration, same scores, same size."""

    column: str
    bins: int
    value: float
    expected: float  # mean under perfect calibration
    low: float  # and the range of 95 % of it
    high: float
    share_as_large: float  # of perfectly calibrated models, those with as large an error


def binned(target: NDArray[np.generic], score: Floats) -> Floats:
    """Return the mean distance of mean probability and share of positives, over bins of units.

    Args:
        target: Outcomes, shape (N,), or (S, N) for several sets of them.
        score: Probabilities, shape (N,).

    Returns:
        One value per set of outcomes; not-a-number without units.
    """
    if not score.size:
        return np.full(target.shape[:-1], np.nan)
    place = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], score)
    member = (place[:, None] == np.arange(BINS)).astype(np.float64)
    gap = (np.asarray(target, dtype=np.float64) - score) @ member
    return np.asarray(np.abs(gap).sum(axis=-1) / len(score))


def find(units: Units, column: int, rng: np.random.Generator) -> CalibrationError | None:
    """Return the calibration error of a column beside its expectation under perfect calibration.

    Args:
        units: With probabilities as scores.
        column: Of the units.
        rng: The only source of randomness.

    Returns:
        None where patients have several units: their outcomes are not drawn apart, and independent
        draws would make the expectation too small.
    """
    part = units.only(column)
    if len(np.unique(part.patient)) < len(part.patient):
        return None
    truth, score = part.truth[:, 0], part.score[:, 0]
    step = max(1, _CHUNK // len(score))
    chance = np.concatenate(
        [
            binned(rng.random((min(step, DRAWS - start), len(score))) < score, score)
            for start in range(0, DRAWS, step)
        ]
    )
    value = float(binned(truth, score))
    low, high = np.quantile(chance, [0.025, 0.975])
    return CalibrationError(
        column=part.columns[0],
        bins=BINS,
        value=value,
        expected=float(chance.mean()),
        low=float(low),
        high=float(high),
        share_as_large=float((chance >= value).mean()),
    )
