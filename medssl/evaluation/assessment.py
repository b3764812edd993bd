"""Estimates with their intervals, and how they vary over folds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medssl.evaluation import intervals, metrics
from medssl.evaluation.metrics import Floats, Metric
from medssl.evaluation.units import NO_FOLD, Units

MACRO = "macro average"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One metric of one column, with its interval."""

    metric: str
    title: str
    column: str  # the target, one of its classes, or the macro average
    value: float
    low: float
    high: float
    undefined: int  # resamples without a value
    no_skill: float  # what a score that knows nothing reaches
    n_patients: int | None  # None where patients are unknown
    n_units: int
    n_events: int | None  # positive units; None for an average over classes
    meaning: str


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """AUROC inside one test fold: for display, never for a test."""

    column: str
    repeat: int
    fold: int
    n_units: int
    n_events: int
    auroc: float  # not-a-number where the fold lacks a class


@dataclass(frozen=True, kw_only=True)
class Drift:
    """AUROC pooled over the folds of a repeat against the mean over folds, both over repeats."""

    column: str
    pooled: float
    mean_of_folds: float
    n_folds: int  # folds with an AUROC
    n_undefined: int

    @property
    def difference(self) -> float:
        """Pooled minus mean; far from 0 where the folds' scores are on different scales."""
        return self.pooled - self.mean_of_folds


def usable_metrics(units: Units) -> tuple[Metric, ...]:
    """Return the metrics the scores allow: scores outside 0 to 1 are no probabilities."""
    probable = are_probabilities(units)
    return tuple(metric for metric in metrics.TABLE if probable or not metric.needs_probability)


def are_probabilities(units: Units) -> bool:
    """Say whether every score lies between 0 and 1."""
    return bool((units.score >= 0).all() and (units.score <= 1).all())


def estimates(units: Units, counts: intervals.Ints, level: float) -> tuple[Estimate, ...]:
    """Return every usable metric of every column; for several classes the macro AUROC first.

    Args:
        units: What was observed.
        counts: From `intervals.draw`; all columns share the draws.
        level: Of the intervals.
    """
    table = usable_metrics(units)
    found = _values(units, table, np.ones((1, len(units.truth))))[0]  # (K, M)

    def statistic(weight: Floats) -> Floats:
        return _values(units, table, weight)

    drawn = intervals.resampled(statistic, units.patient, counts)  # (R, K, M)
    rows = [
        _estimate(units, k, metric, found[k, m], intervals.percentile(drawn[:, k, m], level))
        for k in range(len(units.columns))
        for m, metric in enumerate(table)
    ]
    if len(units.columns) > 1:
        m = [metric.name for metric in table].index("auroc")
        interval = intervals.percentile(drawn[:, :, m].mean(axis=1), level)
        rows.insert(0, _macro(units, table[m], found[:, m].mean(), interval))
    return tuple(rows)


def folds(units: Units) -> tuple[FoldResult, ...]:
    """Return the AUROC of every test fold of every repeat; empty where folds are unknown."""
    return tuple(
        FoldResult(
            column=name,
            repeat=repeat,
            fold=int(fold),
            n_units=int(members.sum()),
            n_events=int(units.truth[members, k].sum()),
            auroc=float(
                metrics.auroc(units.truth[members, k], units.by_repeat[members, repeat, k])
            ),
        )
        for k, name in enumerate(units.columns)
        for repeat in range(units.n_repeats)
        for fold in np.unique(units.fold[:, repeat])
        if fold != NO_FOLD
        for members in [units.fold[:, repeat] == fold]
    )


def drifts(units: Units, results: Sequence[FoldResult]) -> tuple[Drift, ...]:
    """Return pooled and mean AUROC of each column; empty where folds are unknown."""
    rows = []
    for k, name in enumerate(units.columns):
        aurocs = np.array([row.auroc for row in results if row.column == name])
        defined = aurocs[np.isfinite(aurocs)]
        if not defined.size:
            continue
        pooled = [_pooled(units, repeat, k) for repeat in range(units.n_repeats)]
        rows.append(
            Drift(
                column=name,
                pooled=float(np.mean(pooled)),
                mean_of_folds=float(defined.mean()),
                n_folds=len(defined),
                n_undefined=len(aurocs) - len(defined),
            )
        )
    return tuple(rows)


def _values(units: Units, table: Sequence[Metric], weight: Floats) -> Floats:
    """Return every metric of every column for weights (r, U), shape (r, K, M)."""
    columns = [
        [metric.compute(units.truth[:, k], units.score[:, k], weight) for metric in table]
        for k in range(len(units.columns))
    ]
    return np.moveaxis(np.array(columns), -1, 0)


def _pooled(units: Units, repeat: int, column: int) -> float:
    present = np.isfinite(units.by_repeat[:, repeat, column])
    scores = units.by_repeat[present, repeat, column]
    return float(metrics.auroc(units.truth[present, column], scores))


def _estimate(
    units: Units, column: int, metric: Metric, value: float, interval: intervals.Interval
) -> Estimate:
    n_events = int(units.truth[:, column].sum())
    return Estimate(
        metric=metric.name,
        title=metric.title,
        column=units.columns[column],
        value=float(value),
        low=interval.low,
        high=interval.high,
        undefined=interval.undefined,
        no_skill=metric.no_skill(n_events / len(units.truth)),
        n_patients=units.n_patients if units.grouped else None,
        n_units=len(units.truth),
        n_events=n_events,
        meaning=metric.meaning,
    )


def _macro(units: Units, metric: Metric, value: float, interval: intervals.Interval) -> Estimate:
    return Estimate(
        metric=metric.name,
        title=metric.title,
        column=MACRO,
        value=float(value),
        low=interval.low,
        high=interval.high,
        undefined=interval.undefined,
        no_skill=metric.no_skill(0.0),
        n_patients=units.n_patients if units.grouped else None,
        n_units=len(units.truth),
        n_events=None,
        meaning="mean of the AUROCs of the classes, each against the rest",
    )
