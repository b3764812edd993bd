"""Estimates with their intervals, and how they vary over folds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from medssl.evaluation import amounts, intervals, metrics, ordered, proportions, sizes
from medssl.evaluation.intervals import Draws, Interval, Ints
from medssl.evaluation.metrics import Bools, Floats, Metric
from medssl.evaluation.units import NO_FOLD, Units

MACRO = "macro average"
MACRO_MEANING = {
    "multi_class": "mean of the AUROCs of the classes, each against the rest",
    "multi_label": "mean of the AUROCs of the targets",
    "ordinal": "mean of the AUROCs of the cuts between the classes",
}
DEFAULT_THRESHOLD = 0.5  # of a probability


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Every metric of every column, in the cohort and in each resample."""

    units: Units
    threshold: float | None
    rows: tuple[tuple[int | None, Metric], ...]  # (M,) column, None for all columns together
    found: Floats  # (M,)
    drawn: Floats  # (R, M)
    without: Floats | None = None  # (P, M) each patient left out in turn; None: not asked for

    def column(self, row: int) -> str:
        """Return what the column of a row is called."""
        k, metric = self.rows[row]
        if k is not None:
            return self.units.columns[k]
        return self.units.target if metric.task == "ordinal" else MACRO

    def stratum(self, row: int) -> Ints:
        """Return within what the resamples of a row were drawn, shape (P,)."""
        varies = self.rows[row][1].needs_prevalence
        return np.zeros_like(self.units.stratum) if varies else self.units.stratum


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
    interval: str  # how it was made: bca, percentile or wilson
    undefined: int  # resamples without a value
    no_skill: float | None  # what a score that knows nothing reaches; None: it depends
    ideal: float | None  # where neither more nor less is better
    n_patients: int | None  # None where patients are unknown
    n_units: int
    n_events: int | None  # positive units; None for an average over classes
    meaning: str
    improper: bool = False  # a model that predicts worse can have the better value


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
    pooled_ranks: float  # of ranks within folds, which have no scale
    mean_of_folds: float
    n_folds: int  # folds with an AUROC
    n_undefined: int

    @property
    def difference(self) -> float:
        """Pooled minus mean; far from 0 where the folds' scores are on different scales."""
        return self.pooled - self.mean_of_folds


def are_probabilities(units: Units) -> bool:
    """Say whether every score lies between 0 and 1 and is no amount."""
    score = units.score[np.isfinite(units.score)]
    return units.task != "regression" and bool((score >= 0).all() and (score <= 1).all())


def usable_metrics(units: Units, column: int, threshold: float | None = None) -> tuple[Metric, ...]:
    """Return the metrics that scores, threshold and number of patients allow in a column."""
    probable, enough = are_probabilities(units), sizes.suffice(units, column)
    return tuple(
        metric
        for metric in (amounts.TABLE if units.task == "regression" else metrics.TABLE)
        if (probable or not metric.needs_probability)
        and (enough or not metric.needs_patients)
        and not (metric.thresholded and threshold is None)
    )


def metrics_of(units: Units, threshold: float | None = None) -> tuple[Metric, ...]:
    """Return every metric that is estimated, in order, as often as it is."""
    return tuple(metric for _, metric in _rows(units, threshold))


def measure(
    units: Units, draws: Draws, threshold: float | None = None, *, leave_out: bool = False
) -> Measured:
    """Return every usable metric of every column, those of all columns together first.

    Args:
        units: What was observed.
        draws: From `intervals.draw_both`; all rows share them.
        threshold: From which score on a unit is called positive; None leaves out what needs one.
        leave_out: Leave out each patient in turn as well, for BCa intervals.
    """
    rows = _rows(units, threshold)
    found = np.empty((1, len(rows)))
    drawn = np.empty((len(draws.over_all), len(rows)))
    without = np.empty((units.n_patients, len(rows)))
    for varies, counts in ((False, draws.within_class), (True, draws.over_all)):
        places = [n for n, (_, metric) in enumerate(rows) if metric.needs_prevalence == varies]
        statistic = _statistic(units, [rows[n] for n in places], threshold)
        found[:, places] = statistic(np.ones((1, len(units.truth))))
        drawn[:, places] = intervals.resampled(statistic, units.patient, counts)
        if leave_out and places:
            without[:, places] = intervals.left_out(statistic, units.patient, units.n_patients)
    aurocs = [n for n, (k, metric) in enumerate(rows) if k is not None and metric.name == "auroc"]
    known = [n for n in aurocs if np.isfinite(found[0, n])]
    if len(units.columns) > 1 and known:  # a target with one class only has no AUROC
        first = sum(k is None for k, _ in rows)
        rows.insert(first, (None, rows[aurocs[0]][1]))
        found, drawn, without = (
            np.insert(values, first, values[:, known].mean(axis=1), axis=1)
            for values in (found, drawn, without)
        )
    return Measured(
        units=units,
        threshold=threshold,
        rows=tuple(rows),
        found=found[0],
        drawn=drawn,
        without=without if leave_out else None,
    )


def _rows(units: Units, threshold: float | None) -> list[tuple[int | None, Metric]]:
    together = ordered.TABLE if units.task == "ordinal" else ()
    return [(None, metric) for metric in together] + [
        (k, metric)
        for k in range(len(units.columns))
        for metric in usable_metrics(units, k, threshold)
    ]


def _statistic(
    units: Units, rows: Sequence[tuple[int | None, Metric]], threshold: float | None
) -> Callable[[Floats], Floats]:
    """Return a function from weights (r, U) to the metrics of the rows, (r, M)."""
    parts = [prepared(units, k, metric, threshold) for k, metric in rows]

    def compute(weight: Floats) -> Floats:
        values = np.empty((len(weight), len(rows)))
        for n, (metric, target, score, known) in enumerate(parts):
            values[:, n] = metric.compute(
                target, score, weight if known is None else weight[:, known]
            )
        return values

    return compute


def value(units: Units, metric: Metric, columns: Sequence[int | None]) -> float:
    """Return a metric without a threshold, the mean over the columns in which it is defined.

    Args:
        units: What was observed.
        metric: To compute.
        columns: None stands for all columns together, as in `Measured.rows`.
    """
    parts = (prepared(units, k, metric, None) for k in columns)
    found = np.array([float(metric.compute(truth, score)) for _, truth, score, _ in parts])
    defined = found[np.isfinite(found)]
    return float(defined.mean()) if defined.size else float("nan")


def prepared(
    units: Units, column: int | None, metric: Metric, threshold: float | None
) -> tuple[Metric, Floats, Floats, Bools | None]:
    """Return a metric with its targets, its scores, and who has them; None: all."""
    if column is None:
        return metric, *ordered.classes(units), None
    known = units.known(column)
    score = metric.of(units.score[known, column], threshold)
    return metric, units.truth[known, column], score, None if known.all() else known


def estimates(measured: Measured, level: float) -> tuple[Estimate, ...]:
    """Return every measured metric with its interval.

    The interval is BCa where patients were left out in turn and it can be had, else by percentiles.
    A proportion that no resample varies, such as a sensitivity of 1, gets a Wilson interval.
    """
    return tuple(
        _estimate(measured, row, _interval(measured, row, level))
        for row in range(len(measured.rows))
    )


def _interval(measured: Measured, row: int, level: float) -> Interval:
    drawn = measured.drawn[:, row]
    corrected = None
    if measured.without is not None:
        corrected = intervals.bca(
            drawn,
            float(measured.found[row]),
            measured.without[:, row],
            measured.stratum(row),
            level,
        )
    found = corrected or intervals.percentile(drawn, level)
    k, metric = measured.rows[row]
    if k is None or measured.threshold is None or not metric.parts:
        return found
    part = measured.units.only(k)
    called = part.score[:, 0] >= measured.threshold
    return proportions.widened(found, part, 0, called, metric.parts, level)


def folds(units: Units) -> tuple[FoldResult, ...]:
    """Return the AUROC of every test fold of every repeat; empty where folds are unknown.

    Amounts have none.
    """
    if units.task == "regression":
        return ()
    return tuple(
        FoldResult(
            column=name,
            repeat=repeat,
            fold=int(fold),
            n_units=int(members.sum()),
            n_events=int(part.truth[members, 0].sum()),
            auroc=float(metrics.auroc(part.truth[members, 0], part.by_repeat[members, repeat, 0])),
        )
        for k, name in enumerate(units.columns)
        for part in [units.only(k)]
        for repeat in range(units.n_repeats)
        for fold in np.unique(part.fold[:, repeat])
        if fold != NO_FOLD
        for members in [part.fold[:, repeat] == fold]
    )


def drifts(units: Units, results: Sequence[FoldResult]) -> tuple[Drift, ...]:
    """Return pooled and mean AUROC of each column; empty where folds are unknown."""
    rows = []
    for k, name in enumerate(units.columns):
        aurocs = np.array([row.auroc for row in results if row.column == name])
        defined = aurocs[np.isfinite(aurocs)]
        if not defined.size:
            continue
        pooled = [_pooled(units.only(k), repeat) for repeat in range(units.n_repeats)]
        raw, ranks = np.mean(pooled, axis=0)
        rows.append(
            Drift(
                column=name,
                pooled=float(raw),
                pooled_ranks=float(ranks),
                mean_of_folds=float(defined.mean()),
                n_folds=len(defined),
                n_undefined=len(aurocs) - len(defined),
            )
        )
    return tuple(rows)


def _pooled(part: Units, repeat: int) -> tuple[float, float]:
    """Return the AUROC of the scores of all folds together, and of ranks within each fold."""
    present = np.isfinite(part.by_repeat[:, repeat, 0])
    truth, score = part.truth[present, 0], part.by_repeat[present, repeat, 0]
    fold, ranks = part.fold[present, repeat], np.empty(len(score))
    for name in np.unique(fold):
        members = fold == name
        ranks[members] = rankdata(score[members]) / (members.sum() + 1)
    return float(metrics.auroc(truth, score)), float(metrics.auroc(truth, ranks))


def _estimate(measured: Measured, row: int, interval: Interval) -> Estimate:
    units, (k, metric) = measured.units, measured.rows[row]
    part = units if k is None else units.only(k)
    n_events = None if k is None or units.task == "regression" else int(part.truth.sum())
    macro = k is None and metric.task != "ordinal"
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
        no_skill=metric.no_skill((n_events or 0) / len(part.truth)),
        ideal=metric.ideal,
        n_patients=part.n_patients if units.grouped else None,
        n_units=len(part.truth),
        n_events=n_events,
        meaning=MACRO_MEANING[units.task] if macro else metric.meaning,
        improper=metric.improper,
    )
