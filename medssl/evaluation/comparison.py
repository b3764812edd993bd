"""Runs side by side: differences between models of the same patients, from the same resamples.

Two models that err on the same patients vary together from resample to resample, so the interval
of a difference is taken from differences within resamples, never from two intervals. Nothing here
tests over folds: folds share training patients, and such tests find differences where none are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pyarrow as pa
import pyarrow.compute as pc

from medssl.artifacts.splits import Splits
from medssl.evaluation import intervals
from medssl.evaluation.assessment import Measured
from medssl.foundation.errors import DataError

_WHO = ("image_id", "target", "repeat", "patient_key", "label", "fold")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of one run minus that of another, with its interval."""

    run: str
    against: str
    metric: str
    title: str
    column: str  # the target, one of its classes, or the macro average
    value: float  # run minus against
    low: float
    high: float
    undefined: int  # resamples in which one of the two has no value
    higher_is_better: bool


def require_same(plans: Mapping[str, Splits], tables: Mapping[str, pa.Table]) -> None:
    """Check that runs predicted the same images, of the same target, in the same folds.

    Args:
        plans: Name of each run -> its folds.
        tables: Name of each run -> its predictions.

    Raises:
        DataError: A run differs from the first; the message says in what.
    """
    first, *others = plans
    same = (
        "finetune both on the same archive with the same --target, --folds, --repeats, --seeds "
        "and --seed"
    )
    for name in others:
        for what, ours, theirs in (
            ("target", plans[first].target, plans[name].target),
            ("set of classes", plans[first].task.classes, plans[name].task.classes),
            ("kind of task", plans[first].task.kind, plans[name].task.kind),
            ("positive class", plans[first].positive, plans[name].positive),
            ("grouping", plans[first].group, plans[name].group),
            ("split into folds", plans[first].digest, plans[name].digest),
        ):
            if ours != theirs:
                raise DataError(
                    f"another {what}: {_said(theirs)} where {first} has {_said(ours)}",
                    where=name,
                    fix=same,
                )
        problem = _difference_in_rows(tables[first], tables[name])
        if problem:
            raise DataError(f"{problem} {first}", where=name, fix=same)


def pairs(names: Sequence[str], *, every: bool) -> tuple[tuple[str, str], ...]:
    """Return which run is compared with which, as (run, against).

    Args:
        names: The first is what the others are compared with.
        every: Compare all pairs, the later run with the earlier.
    """
    chosen = combinations(names, 2) if every else ((names[0], name) for name in names[1:])
    return tuple((later, earlier) for earlier, later in chosen)


def differences(
    measured: Mapping[str, Measured], compared: Sequence[tuple[str, str]], level: float
) -> tuple[Difference, ...]:
    """Return the difference of every metric in which more or less is better, for each pair.

    Args:
        measured: Name of each run -> its metrics, all from the same draws.
        compared: From `pairs`.
        level: Of the intervals.
    """
    return tuple(
        difference
        for run, against in compared
        for difference in _pair(measured, run, against, level)
    )


def _pair(
    measured: Mapping[str, Measured], run: str, against: str, level: float
) -> list[Difference]:
    ours, theirs = measured[run], measured[against]
    places = {(k, metric.name): n for n, (k, metric) in enumerate(theirs.rows)}
    found = []
    for n, (k, metric) in enumerate(ours.rows):
        other = places.get((k, metric.name))
        if other is None or metric.higher_is_better is None or metric.thresholded:
            continue
        interval = intervals.percentile(ours.drawn[:, n] - theirs.drawn[:, other], level)
        found.append(
            Difference(
                run=run,
                against=against,
                metric=metric.name,
                title=metric.title,
                column=ours.column(n),
                value=float(ours.found[n] - theirs.found[other]),
                low=interval.low,
                high=interval.high,
                undefined=interval.undefined,
                higher_is_better=metric.higher_is_better,
            )
        )
    return found


def _said(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return str(value)


def _difference_in_rows(first: pa.Table, other: pa.Table) -> str:
    """Return what differs between the tested images of two runs, ending in "than", or nothing."""
    ours, theirs = (_who(table) for table in (first, other))
    if not ours["image_id"].equals(theirs["image_id"]):
        images = [set(table["image_id"].to_pylist()) for table in (ours, theirs)]
        lacking, surplus = len(images[0] - images[1]), len(images[1] - images[0])
        return f"{lacking} images are missing and {surplus} are others than"
    for name in _WHO[1:]:
        if not ours[name].equals(theirs[name]):
            return f"some images have another {name.removesuffix('_key')} than"
    return ""


def _who(table: pa.Table) -> pa.Table:
    """Return who was predicted in which fold, without the scores, in one order."""
    tested = table.filter(pc.equal(table["part"], "test")).select(_WHO)
    return tested.sort_by([(name, "ascending") for name in _WHO]).combine_chunks()
