"""Estimates with their intervals, and how they vary over folds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medssl.evaluation import intervals, metrics, proportions, sizes
from medssl.evaluation.intervals import Draws, Interval
from medssl.evaluation.metrics import Floats, Metric
from medssl.evaluation.units import NO_FOLD, Units

MACRO = "macro average"
MACRO_MEANING = "mean of the AUROCs of the classes, each against the rest"
DEFAULT_THRESHOLD = 0.5  # of a probability


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Every metric of every column, in the cohort and in each resample."""

    units: Units
    threshold: float | None
    rows: tuple[tuple[int | None, Metric], ...]  # (M,) column, None for the macro average
    found: Floats  # (M,)
    drawn: Floats  # (R, M)

    def column(self, row: int) -> str:
        """Return what the column of a row is called."""
        k = self.rows[row][0]
        return MACRO if k is None else self.units.columns[k]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One metric of one column, with its interval."""

    metric: str
    title: str
    column: str  # the target, one of its classes, or the macro average
    threshold: float | None  # None: it needs none
    value: float
    low: float
    high: float
    interval: str  # how it was made: bootstrap or wilson
    undefined: int  # resamples without a value
    no_skill: float | None  # what a score that knows nothing reaches; None: it depends
    ideal: float | None  # where neither more nor less is better
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


def are_probabilities(units: Units) -> bool:
    """Say whether every score lies between 0 and 1."""
    return bool((units.score >= 0).all() and (units.score <= 1).all())


def usable_metrics(units: Units, column: int, threshold: float | None = None) -> tuple[Metric, ...]:
    """Return the metrics that scores, threshold and number of patients allow in a column."""
    probable, enough = are_probabilities(units), sizes.suffice(units, column)
    return tuple(
        metric
        for metric in metrics.TABLE
        if (probable or not metric.needs_probability)
        and (enough or not metric.needs_patients)
        and not (metric.thresholded and threshold is None)
    )


def measure(units: Units, draws: Draws, threshold: float | None = None) -> Measured:
    """Return every usable metric of every column; for several classes the macro AUROC first.

    Args:
        units: What was observed.
        draws: From `intervals.draw_both`; all rows share them.
        threshold: From which score on a unit is called positive; None leaves out what needs one.
    """
    rows = [
        (k, metric)
        for k in range(len(units.columns))
        for metric in usable_metrics(units, k, threshold)
    ]
    found = np.empty(len(rows))
    drawn = np.empty((len(draws.over_all), len(rows)))
    for varies, counts in ((False, draws.within_class), (True, draws.over_all)):
        places = [n for n, (_, metric) in enumerate(rows) if metric.needs_prevalence == varies]
        statistic = _statistic(units, [rows[n] for n in places], threshold)
        found[places] = statistic(np.ones((1, len(units.truth))))[0]
        drawn[:, places] = intervals.resampled(statistic, units.patient, counts)
    named: list[tuple[int | None, Metric]] = [*rows]
    if len(units.columns) > 1:
        aurocs = [n for n, (_, metric) in enumerate(rows) if metric.name == "auroc"]
        named.insert(0, (None, rows[aurocs[0]][1]))
        found = np.r_[found[aurocs].mean(), found]
        drawn = np.c_[drawn[:, aurocs].mean(axis=1), drawn]
    return Measured(units=units, threshold=threshold, rows=tuple(named), found=found, drawn=drawn)


def _statistic(
    units: Units, rows: Sequence[tuple[int, Metric]], threshold: float | None
) -> Callable[[Floats], Floats]:
    """Return a function from weights (r, U) to the metrics of the rows, (r, M)."""

    def compute(weight: Floats) -> Floats:
        values = np.empty((len(weight), len(rows)))
        for n, (k, metric) in enumerate(rows):
            score = metric.of(units.score[:, k], threshold)
            values[:, n] = metric.compute(units.truth[:, k], score, weight)
        return values

    return compute


def estimates(measured: Measured, level: float) -> tuple[Estimate, ...]:
    """Return every measured metric with its interval.

    A proportion that no resample varies, such as a sensitivity of 1, gets a Wilson interval.
    """
    return tuple(
        _estimate(measured, row, _interval(measured, row, level))
        for row in range(len(measured.rows))
    )


def _interval(measured: Measured, row: int, level: float) -> Interval:
    found = intervals.percentile(measured.drawn[:, row], level)
    k, metric = measured.rows[row]
    if k is None or measured.threshold is None or not metric.thresholded:
        return found
    called = measured.units.score[:, k] >= measured.threshold
    return proportions.widened(found, measured.units, k, called, metric.parts, level)


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


def _pooled(units: Units, repeat: int, column: int) -> float:
    present = np.isfinite(units.by_repeat[:, repeat, column])
    scores = units.by_repeat[present, repeat, column]
    return float(metrics.auroc(units.truth[present, column], scores))


def _estimate(measured: Measured, row: int, interval: Interval) -> Estimate:
    units, (k, metric) = measured.units, measured.rows[row]
    n_events = None if k is None else int(units.truth[:, k].sum())
    return Estimate(
        metric=metric.name,
        title=metric.title,
        column=measured.column(row),
        threshold=measured.threshold if metric.thresholded else None,
        value=float(measured.found[row]),
        low=interval.low,
        high=interval.high,
        interval=interval.method,
        undefined=interval.undefined,
        no_skill=metric.no_skill((n_events or 0) / len(units.truth)),
        ideal=metric.ideal,
        n_patients=units.n_patients if units.grouped else None,
        n_units=len(units.truth),
        n_events=n_events,
        meaning=metric.meaning if k is not None else MACRO_MEANING,
    )
