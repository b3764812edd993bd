"""Each group of patients by itself: does the model serve them alike?

A group is judged at the threshold of the whole report, never at one of its own. Groups share the
resamples of patients, so that the gap between two of them has an interval as well, whoever is in
both. Average precision is not compared: it follows the share of positives, in which groups differ.
Accuracy in a small group need not rise with that in a large one (Liang et al., ICML 2023, arXiv
2305.02995), so both are given over all thresholds.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medssl.evaluation import assessment, intervals, proportions, sizes
from medssl.evaluation.attributes import Attribute
from medssl.evaluation.intervals import Draws, Interval
from medssl.evaluation.metrics import Bools, Floats, Metric
from medssl.evaluation.units import Units

METRICS = ("auroc", "sensitivity", "specificity", "calibration_intercept")
COMPARED = METRICS[:3]  # of which more is better, so that a group is the worst
TASKS = ("binary", "multi_class")
MOST_GROUPS = 20  # of one attribute; an amount has more values and makes no groups
POINTS = 101  # thresholds of a curve


@dataclass(frozen=True, kw_only=True)
class Value:
    """One metric of one group, with its interval over resampled patients."""

    metric: str
    title: str
    value: float
    low: float
    high: float
    interval: str  # how it was made: percentile or wilson
    undefined: int  # resamples without a value


@dataclass(frozen=True, kw_only=True)
class Group:
    """The units that share a word, in one column; without values where they are too few."""

    column: str
    name: str
    n_patients: int | None  # None where patients are unknown
    n_units: int
    n_events: int  # positive units
    patients_with: int  # a positive unit; units where patients are unknown
    patients_without: int  # patients with a negative unit; likewise
    too_few: bool  # fewer than `sizes.FEWEST_PATIENTS` of a class
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How far the lowest group lies below the highest, in the same resamples."""

    column: str
    metric: str
    title: str
    worst: str
    best: str
    n_groups: int  # among which these two are the ends
    value: float  # best minus worst
    low: float
    high: float
    interval: str  # percentile, or newcombe where resampling does not vary one of the two


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """Accuracy of the largest and of the smallest judged group at each threshold."""

    larger: str
    smaller: str
    threshold: Floats  # (G,)
    of_larger: Floats  # (G,)
    of_smaller: Floats  # (G,)


@dataclass(frozen=True, kw_only=True)
class Subgroups:
    """The groups of one attribute."""

    attribute: str
    reason: str  # why it is not assessed; empty where it is
    n_unknown: int  # units of which it is not known
    n_several: int  # patients whose images differ in it
    groups: tuple[Group, ...] = ()
    gaps: tuple[Gap, ...] = ()
    accuracies: Accuracies | None = None  # of two classes, and probabilities


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """A group with its metrics in every resample."""

    group: Group
    part: Units
    drawn: Mapping[str, Floats]  # (R,) by metric


def assess(
    attribute: Attribute, units: Units, draws: Draws, threshold: float | None, level: float
) -> Subgroups:
    """Return the groups of an attribute with their intervals and the gaps between them.

    Args:
        attribute: One word per unit.
        units: What was observed; of two or more classes.
        draws: From `intervals.draw_both`, of the same patients.
        threshold: From which score on a unit is called positive; None: nothing is.
        level: Of the intervals.
    """
    names = _ordered({value for value in attribute.values if value is not None})
    found = Subgroups(
        attribute=attribute.name,
        reason=_why_not(attribute, units, names),
        n_unknown=attribute.n_unknown,
        n_several=attribute.n_several,
    )
    if found.reason:
        return found
    values = np.array([value or "" for value in attribute.values])
    groups: list[Group] = []
    gaps: list[Gap] = []
    for k in range(len(units.columns)):
        judged = [
            _judge(name, _part(units, k, values == name), draws, threshold, level) for name in names
        ]
        groups += [one.group for one in judged]
        gaps += _gaps(judged, level)
    curve = _accuracies(units, groups, values) if len(units.columns) == 1 else None
    return replace(found, groups=tuple(groups), gaps=tuple(gaps), accuracies=curve)


def _why_not(attribute: Attribute, units: Units, names: Sequence[str]) -> str:
    if units.task not in TASKS:
        return "only of the classes of one target"
    if attribute.reason:
        return attribute.reason
    if len(names) > MOST_GROUPS:
        return f"{len(names)} different values make no groups"
    if len(names) == 1:
        return f"there is one group only: {names[0]}"
    return "" if names else "the images of every patient differ in it"


def _ordered(names: set[str]) -> list[str]:
    """Sort words; those that start with a number, such as 6-12 and 13-17, by that number."""

    def place(name: str) -> tuple[int, str]:
        number = re.match(r"\d+", name)
        return (int(number.group()) if number else -1), name

    return sorted(names, key=place)


def _part(units: Units, column: int, members: Bools) -> Units:
    """Return one column of the units of a group; patients keep their rows in resamples."""
    one, inside = units.only(column), members[units.known(column)]
    return replace(
        one,
        truth=one.truth[inside],
        score=one.score[inside],
        by_repeat=one.by_repeat[inside],
        fold=one.fold[inside],
        patient=one.patient[inside],
    )


def _judge(name: str, part: Units, draws: Draws, threshold: float | None, level: float) -> _Judged:
    group = Group(
        column=part.columns[0],
        name=name,
        n_patients=part.n_patients if part.grouped else None,
        n_units=len(part.truth),
        n_events=int(part.truth.sum()),
        patients_with=part.patients_with(0),
        patients_without=part.patients_without(0),
        too_few=not sizes.suffice(part, 0),
        values=(),
    )
    if group.too_few:
        return _Judged(group=group, part=part, drawn={})
    usable = [
        metric for metric in assessment.usable_metrics(part, 0, threshold) if metric.name in METRICS
    ]
    drawn = {metric.name: _drawn(part, metric, draws, threshold) for metric in usable}
    values = [_value(part, metric, drawn[metric.name], threshold, level) for metric in usable]
    return _Judged(group=replace(group, values=tuple(values)), part=part, drawn=drawn)


def _drawn(part: Units, metric: Metric, draws: Draws, threshold: float | None) -> Floats:
    """Return a metric of a group in every resample, shape (R,)."""
    counts = draws.over_all if metric.needs_prevalence else draws.within_class
    truth, score = part.truth[:, 0], metric.of(part.score[:, 0], threshold)
    return intervals.resampled(
        lambda weight: metric.compute(truth, score, weight), part.patient, counts
    )


def _value(
    part: Units, metric: Metric, drawn: Floats, threshold: float | None, level: float
) -> Value:
    score = part.score[:, 0]
    found = intervals.percentile(drawn, level)
    if metric.parts and threshold is not None:
        found = proportions.widened(found, part, 0, score >= threshold, metric.parts, level)
    return Value(
        metric=metric.name,
        title=metric.title,
        value=float(metric.compute(part.truth[:, 0], metric.of(score, threshold))),
        low=found.low,
        high=found.high,
        interval=found.method,
        undefined=found.undefined,
    )


def _gaps(judged: Sequence[_Judged], level: float) -> list[Gap]:
    """Return the gap of every compared metric that two groups or more have."""
    found = []
    for name in COMPARED:
        held = [
            (value, one)
            for one in judged
            for value in one.group.values
            if value.metric == name and math.isfinite(value.value)
        ]
        if len(held) > 1:
            worst, best = (end(held, key=lambda row: row[0].value) for end in (min, max))
            found.append(_gap(worst, best, len(held), level))
    return found


def _gap(
    worst: tuple[Value, _Judged], best: tuple[Value, _Judged], n_groups: int, level: float
) -> Gap:
    (low, below), (high, above) = worst, best
    apart = high.value - low.value
    found = intervals.percentile(above.drawn[high.metric] - below.drawn[low.metric], level)
    wilson = "wilson" in (low.interval, high.interval)
    if wilson:
        found = _newcombe(low, high, found)
    return Gap(
        column=below.group.column,
        metric=low.metric,
        title=low.title,
        worst=below.group.name,
        best=above.group.name,
        n_groups=n_groups,
        value=apart,
        low=found.low,
        high=found.high,
        interval="newcombe" if wilson else "percentile",
    )


def _newcombe(worst: Value, best: Value, found: Interval) -> Interval:
    """Return the interval of best minus worst from theirs (Newcombe, Stat Med 1998;17:873)."""
    apart = best.value - worst.value
    below = math.hypot(best.value - best.low, worst.high - worst.value)
    above = math.hypot(best.high - best.value, worst.value - worst.low)
    return replace(found, low=apart - below, high=apart + above)


def _accuracies(units: Units, groups: Sequence[Group], values: np.ndarray) -> Accuracies | None:
    """Return accuracy over thresholds in the largest and the smallest group that is judged."""
    enough = [group for group in groups if not group.too_few]
    if len(enough) < 2 or not assessment.are_probabilities(units):
        return None
    ends = [end(enough, key=lambda group: group.n_units).name for end in (max, min)]
    if ends[0] == ends[1]:  # all of one size
        ends[1] = enough[-1].name
    at = np.linspace(0, 1, POINTS)
    shares = [_right(_part(units, 0, values == name), at) for name in ends]
    return Accuracies(
        larger=ends[0], smaller=ends[1], threshold=at, of_larger=shares[0], of_smaller=shares[1]
    )


def _right(part: Units, at: Floats) -> Floats:
    """Return the share called rightly at each threshold, shape (G,)."""
    called = part.score[:, 0] >= at[:, None]
    return np.asarray((called == (part.truth[:, 0] == 1)).mean(axis=1))
