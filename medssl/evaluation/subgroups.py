"""Each group of patients by itself: does the model serve them alike?

A group is judged by the calls of the whole report, never at a threshold of its own: those at
thresholds chosen on inner parts where there are any, else those at the declared one. Groups share
the resamples of patients, so that the gap between two of them has an interval as well, whoever is
in both. Average precision is not compared: it follows the share of positives, in which groups
differ. Accuracy in a small group need not rise with that in a large one (Liang et al., ICML 2023,
arXiv 2305.02995), so both are given over all thresholds.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from medssl.config.subgroups import CROSS, MOST_GROUPS
from medssl.evaluation import assessment, chosen_calls, intervals, sizes
from medssl.evaluation.attributes import Attribute
from medssl.evaluation.chosen_calls import SHARES
from medssl.evaluation.intervals import Draws, Interval
from medssl.evaluation.metrics import Bools, Floats, Metric
from medssl.evaluation.thresholds import FoldThreshold
from medssl.evaluation.units import Units

METRICS = ("auroc", "sensitivity", "specificity", "calibration_intercept")
COMPARED = METRICS[:3]  # of which more is better, so that a group is the worst
CALLED = METRICS[1:3]  # shares of the calls
MOST_CELLS = 40  # of two attributes together
POINTS = 101  # thresholds of a curve


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Who is called positive, and by which thresholds."""

    at: Literal["threshold", "chosen_thresholds"]
    called: Floats  # (U, K) in which share of its repeats a unit is called positive


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
    calls: str = "none"  # by which sensitivity and specificity are: threshold, or
    # chosen_thresholds, those of each model
    groups: tuple[Group, ...] = ()
    gaps: tuple[Gap, ...] = ()
    accuracies: Accuracies | None = None  # of two classes, and probabilities


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """A group with its metrics in every resample."""

    group: Group
    drawn: Mapping[str, Floats]  # (R,) by metric


def calls(
    units: Units, threshold: float | None, chosen: Sequence[FoldThreshold] = ()
) -> Calls | None:
    """Return who is called positive in the whole report; None: nobody is.

    Args:
        units: What was observed.
        threshold: From which score on a unit is called positive; None: nothing is.
        chosen: The thresholds of all models, for a declared target; they go first.
    """
    if chosen:
        called = chosen_calls.calls(units, chosen)[:, None]
        return Calls(at="chosen_thresholds", called=called)
    if threshold is None:
        return None
    return Calls(at="threshold", called=(units.score >= threshold).astype(np.float64))


def assess(
    attribute: Attribute, units: Units, draws: Draws, made: Calls | None, level: float
) -> Subgroups:
    """Return the groups of an attribute with their intervals and the gaps between them.

    Args:
        attribute: One word per unit.
        units: What was observed; of two or more classes.
        draws: From `intervals.draw_both`, of the same patients.
        made: From `calls`.
        level: Of the intervals.
    """
    names = ordered({value for value in attribute.values if value is not None})
    found = Subgroups(
        attribute=attribute.name,
        reason=_why_not(attribute, units, names),
        n_unknown=attribute.n_unknown,
        n_several=attribute.n_several,
        calls=made.at if made else "none",
    )
    if found.reason:
        return found
    values = np.array([value or "" for value in attribute.values])
    groups: list[Group] = []
    gaps: list[Gap] = []
    for k in range(len(units.columns)):
        called = None if made is None else made.called[:, k]
        judged = [
            _judge(name, *_part(units, k, values == name, called), draws, level) for name in names
        ]
        groups += [one.group for one in judged]
        gaps += _gaps(judged, level)
    curve = _accuracies(units, groups, values) if len(units.columns) == 1 else None
    return replace(found, groups=tuple(groups), gaps=tuple(gaps), accuracies=curve)


def _why_not(attribute: Attribute, units: Units, names: Sequence[str]) -> str:
    if units.task == "regression":
        return "only of classes, not of amounts"
    if attribute.reason:
        return attribute.reason
    if len(names) > (MOST_CELLS if CROSS in attribute.name else MOST_GROUPS):
        return f"{len(names)} different values make no groups"
    if len(names) == 1:
        return f"there is one group only: {names[0]}"
    return "" if names else "the images of every patient differ in it"


def ordered(names: Iterable[str]) -> list[str]:
    """Sort words; numbers in them, such as in 6-12 and 13-17, by their size."""

    def place(name: str) -> list[tuple[str, int]]:
        return [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name)]

    return sorted(names, key=lambda name: (place(name), name))  # 1 and 01 are equal numbers


def _part(
    units: Units, column: int, members: Bools, called: Floats | None = None
) -> tuple[Units, Floats | None]:
    """Return one column of the units of a group, and their calls; patients keep their rows."""
    known = units.known(column)
    one, inside = units.only(column), members[known]
    part = replace(
        one,
        truth=one.truth[inside],
        score=one.score[inside],
        by_repeat=one.by_repeat[inside],
        fold=one.fold[inside],
        patient=one.patient[inside],
    )
    return part, None if called is None else called[known][inside]


def _judge(name: str, part: Units, called: Floats | None, draws: Draws, level: float) -> _Judged:
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
        return _Judged(group=group, drawn={})
    values, drawn = [], {}
    for metric in assessment.usable_metrics(part, 0):
        if metric.name in METRICS:
            drawn[metric.name] = _drawn(part, metric, draws)
            values.append(_value(part, metric, drawn[metric.name], level))
    if called is not None:
        for share in CALLED:
            value, drawn[share] = _share(part, share, called, draws, level)
            values.append(value)
    values.sort(key=lambda value: METRICS.index(value.metric))
    return _Judged(group=replace(group, values=tuple(values)), drawn=drawn)


def _drawn(part: Units, metric: Metric, draws: Draws) -> Floats:
    """Return a metric of a group in every resample, shape (R,)."""
    counts = draws.over_all if metric.needs_prevalence else draws.within_class
    truth, score = part.truth[:, 0], part.score[:, 0]
    return intervals.resampled(
        lambda weight: metric.compute(truth, score, weight), part.patient, counts
    )


def _value(part: Units, metric: Metric, drawn: Floats, level: float) -> Value:
    found = intervals.percentile(drawn, level)
    value = float(metric.compute(part.truth[:, 0], part.score[:, 0]))
    return _told(metric.name, metric.title, value, found)


def _share(
    part: Units, name: str, called: Floats, draws: Draws, level: float
) -> tuple[Value, Floats]:
    """Return a share of the calls in a group, and in every resample, shape (R,)."""
    hit, side = chosen_calls.sides(name, part.truth[:, 0] == 1, called)
    statistic = chosen_calls.share(hit, side)
    drawn = intervals.resampled(statistic, part.patient, draws.within_class)
    value = float(statistic(np.ones((1, len(hit))))[0])
    n_patients = len(np.unique(part.patient[side > 0]))
    found = chosen_calls.widened(intervals.percentile(drawn, level), value, n_patients, level)
    return _told(name, SHARES[name], value, found), drawn


def _told(name: str, title: str, value: float, found: Interval) -> Value:
    return Value(
        metric=name,
        title=title,
        value=value,
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
            worst, *_, best = sorted(held, key=lambda row: row[0].value)  # two, of equal ones too
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
    shares = [_right(_part(units, 0, values == name)[0], at) for name in ends]
    return Accuracies(
        larger=ends[0], smaller=ends[1], threshold=at, of_larger=shares[0], of_smaller=shares[1]
    )


def _right(part: Units, at: Floats) -> Floats:
    """Return the share called rightly at each threshold, shape (G,)."""
    called = part.score[:, 0] >= at[:, None]
    return np.asarray((called == (part.truth[:, 0] == 1)).mean(axis=1))
