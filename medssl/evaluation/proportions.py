"""Intervals of proportions where resampling patients cannot give one.

If all of 30 positives are called positive, so are those of every resample: the bootstrap interval
of the sensitivity is 1 to 1. There the Wilson interval is used, on the number of patients: where
the unit is the image, a patient counts once, as if the images of a patient held no more than one.
"""

import math

import numpy as np

from medssl.evaluation import intervals, metrics
from medssl.evaluation.intervals import Interval
from medssl.evaluation.metrics import Bools
from medssl.evaluation.units import Units


def widened(
    found: Interval,
    units: Units,
    column: int,
    called: Bools,
    parts: tuple[str, ...],
    level: float,
) -> Interval:
    """Return the interval of a mean share, by Wilson where a part is all or nothing.

    The intervals of two parts are added in quadrature (Newcombe, Stat Med 1998;17:873).

    Args:
        found: By resampling patients; returned as it is where patients vary it.
        units: What was observed.
        column: Of the units.
        called: Shape (U,), who reaches the threshold.
        parts: Of `metrics.PARTS`.
        level: Of the interval.
    """
    counted = [_share(units, column, called, part) for part in parts]
    if not all(n for _, n in counted):
        return found
    shares = [share for share, _ in counted]
    if not found.is_point and all(0 < share < 1 for share in shares):
        return found
    ends = [intervals.wilson(share, n, level) for share, n in counted]
    below = math.hypot(*(share - low for share, (low, _) in zip(shares, ends, strict=True)))
    above = math.hypot(*(high - share for share, (_, high) in zip(shares, ends, strict=True)))
    mean = sum(shares) / len(shares)
    return Interval(
        low=mean - below / len(shares),
        high=mean + above / len(shares),
        undefined=found.undefined,
        method="wilson",
    )


def _share(units: Units, column: int, called: Bools, part: str) -> tuple[float, int]:
    """Return the share of a part's units who count, and how many patients the part has."""
    within, counts = metrics.PARTS[part](units.truth[:, column] == 1, called)
    n_patients = len(np.unique(units.patient[within]))
    return (float(counts[within].mean()) if n_patients else math.nan), n_patients
