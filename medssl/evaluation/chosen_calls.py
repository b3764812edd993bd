"""What calls are worth at thresholds that were chosen on inner parts, on patients of test parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import intervals, operating_points
from medssl.evaluation.intervals import Draws, Interval
from medssl.evaluation.metrics import Bools, Floats
from medssl.evaluation.operating_points import Needed, Predictive
from medssl.evaluation.thresholds import FoldThreshold, Target
from medssl.evaluation.units import Units

SHARES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
}


@dataclass(frozen=True, kw_only=True)
class CallShare:
    """A share of the calls, over the test parts of all folds."""

    metric: str  # of `SHARES`
    title: str
    value: float  # mean over the repeats; predictive values of all repeats together
    low: float
    high: float
    interval: str  # bca, percentile or wilson
    n_patients: int  # in whom it is counted


@dataclass(frozen=True, kw_only=True)
class ChosenCalls:
    """What was declared, chosen and found."""

    target: Target
    folds: tuple[FoldThreshold, ...]
    shares: tuple[CallShare, ...]
    true_positives: float  # units, mean over the repeats
    false_negatives: float
    false_positives: float
    true_negatives: float
    together: float | None = None  # of an external test: the threshold of all models together
    predictive: tuple[Predictive, ...] = ()  # at the prevalences asked for
    needed: tuple[Needed, ...] = ()  # in the cohort and at these


def calls(judged: Units, chosen: Sequence[FoldThreshold]) -> Floats:
    """Return in which share of its repeats each unit is called positive, shape (U,).

    Args:
        judged: Of one column, with the folds it was tested in.
        chosen: From `choose`, one for every repeat and fold.
    """
    repeats = sorted({one.repeat for one in chosen})
    at = np.full(judged.fold.shape, np.nan)
    for one in chosen:
        n = repeats.index(one.repeat)
        at[judged.fold[:, n] == one.fold, n] = one.threshold
    there = np.isfinite(judged.by_repeat[:, :, 0])
    called = there & (np.where(there, judged.by_repeat[:, :, 0], -np.inf) >= at)
    return np.asarray(called.sum(axis=1) / there.sum(axis=1))


def judge(
    judged: Units,
    target: Target,
    chosen: tuple[FoldThreshold, ...],
    draws: Draws,
    level: float,
    *,
    leave_out: bool,
) -> ChosenCalls:
    """Return what the calls at the chosen thresholds are worth on the test parts.

    A unit counts once however many repeats tested it: by the share of them that call it positive.

    Args:
        judged: The units of the test rows, of one column.
        target: What was declared.
        chosen: From `choose`.
        draws: From `intervals.draw_both`.
        level: Of the intervals.
        leave_out: Make BCa intervals, for which each patient is left out in turn.
    """
    positive, called = judged.truth[:, 0] == 1, calls(judged, chosen)
    shares = tuple(
        _share(judged, name, sides(name, positive, called), draws, level, leave_out=leave_out)
        for name in SHARES
    )
    return ChosenCalls(
        target=target,
        folds=chosen,
        shares=shares,
        true_positives=float((positive * called).sum()),
        false_negatives=float((positive * (1 - called)).sum()),
        false_positives=float((~positive * called).sum()),
        true_negatives=float((~positive * (1 - called)).sum()),
    )


def elsewhere(
    made: ChosenCalls,
    judged: Units,
    chosen: tuple[FoldThreshold, ...],
    draws: Draws,
    settings: EvaluateSettings,
) -> ChosenCalls:
    """Return the calls with what they are worth at other prevalences.

    Args:
        made: From `judge`.
        judged: The units it was made of.
        chosen: The thresholds it was made of.
        draws: From `intervals.draw_both`.
        settings: With the prevalences and the level of intervals.
    """
    positive, called = judged.truth[:, 0] == 1, calls(judged, chosen)
    by_name = {row.metric: row for row in made.shares}
    drawn = [
        intervals.resampled(
            share(*sides(name, positive, called)), judged.patient, draws.within_class
        )
        for name in ("sensitivity", "specificity")
    ]
    ends = by_name["sensitivity"], by_name["specificity"]
    found = operating_points.elsewhere(
        ends, (drawn[0], drawn[1]), settings.prevalence, settings.level
    )
    own = by_name["ppv"]
    return replace(made, predictive=found, needed=operating_points.needed([own, *found]))


def sides(name: str, positive: Bools, called: Floats) -> tuple[Floats, Floats]:
    """Return how much of each unit counts for a share of the calls, and of whom it is one.

    Args:
        name: Of `SHARES`.
        positive: Shape (U,).
        called: Shape (U,), in which share of its repeats a unit is called positive, 0 to 1.

    Returns:
        Hits and the side they are a share of, each (U,).
    """
    side = {"sensitivity": positive * 1.0, "specificity": ~positive * 1.0,
            "ppv": called, "npv": 1 - called}[name]  # fmt: skip
    hit = {"sensitivity": positive * called, "specificity": ~positive * (1 - called),
           "ppv": positive * called, "npv": ~positive * (1 - called)}[name]  # fmt: skip
    return np.asarray(hit), np.asarray(side)


def share(hit: Floats, side: Floats) -> Callable[[Floats], Floats]:
    """Return a function from weights (R, U) to the share of hits in a side, (R,); each (U,)."""

    def statistic(weight: Floats) -> Floats:
        top, bottom = weight @ hit, weight @ side
        found = np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)
        return np.asarray(found)

    return statistic


def widened(found: Interval, value: float, n_patients: int, level: float) -> Interval:
    """Return the interval of a share, by Wilson where no resample of patients varies it."""
    if n_patients and (found.is_point or value in (0, 1)):
        low, high = intervals.wilson(value, n_patients, level)
        return replace(found, low=low, high=high, method="wilson")
    return found


def _share(
    judged: Units,
    name: str,
    parts: tuple[Floats, Floats],
    draws: Draws,
    level: float,
    *,
    leave_out: bool,
) -> CallShare:
    """Return the share of hits in a side, each (U,), with its interval."""
    hit, side = parts
    statistic = share(hit, side)
    varies = name in ("ppv", "npv")  # with the share of positives
    drawn = intervals.resampled(
        statistic, judged.patient, draws.over_all if varies else draws.within_class
    )
    value = float(statistic(np.ones((1, len(hit))))[0])
    n_patients = len(np.unique(judged.patient[side > 0]))
    interval: Interval | None = None
    if leave_out:
        stratum = np.zeros_like(judged.stratum) if varies else judged.stratum
        without = intervals.left_out(statistic, judged.patient, len(stratum))
        interval = intervals.bca(drawn, value, without, stratum, level)
    interval = widened(interval or intervals.percentile(drawn, level), value, n_patients, level)
    return CallShare(
        metric=name,
        title=SHARES[name],
        value=value,
        low=interval.low,
        high=interval.high,
        interval=interval.method,
        n_patients=n_patients,
    )
