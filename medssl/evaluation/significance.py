"""P-values of a comparison: after the intervals, and corrected for how many there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medssl.evaluation import fold_differences, leading, swaps
from medssl.evaluation.assessment import MACRO, Measured
from medssl.evaluation.comparison import Difference
from medssl.evaluation.fold_differences import CorrectedT
from medssl.evaluation.metrics import Floats, Metric
from medssl.evaluation.units import Units
from medssl.foundation import plugins, seeding
from medssl.foundation.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Tested:
    """One difference with its p-value from swapping patients, and the corrected t beside it."""

    run: str
    against: str
    metric: str
    title: str
    column: str
    value: float  # run minus against
    p: float
    p_holm: float  # corrected for all differences of the family
    family: int  # differences that were tested together
    smallest_p: float  # that any scores of these patients could reach, before the correction
    exact: bool  # every swap was looked at
    swaps: int
    patients: int  # in whom the two runs differ
    corrected_t: CorrectedT | None = None  # of the metric in random folds; second to the others


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How differences are tested."""

    metrics: tuple[str, ...]  # the family: these metrics of all pairs, from `asked`
    swaps: int
    level: float  # of the interval of the corrected t
    seed: int


def of(
    differences: Sequence[Difference],
    measured: Mapping[str, Measured],
    ratios: Mapping[str, float | None],
    plan: Plan,
) -> tuple[Tested, ...]:
    """Return the tests of a family of differences, in the order of the differences.

    Of several classes or cuts the average is tested where the metric has one, otherwise each. Of
    several targets the average and each are. A difference without a value is none of the family.

    Args:
        differences: From `comparison.differences`.
        measured: Name of each run -> what was measured; all have the same units.
        ratios: Name of each run -> patients tested for one trained on, None where folds were not
            drawn at random.
        plan: Which metrics, and how.
    """
    several_targets = any(one.units.task == "multi_label" for one in measured.values())
    averaged = {row.metric for row in differences if row.column == MACRO and not several_targets}
    found = [
        _tested(row, measured, ratios, plan)
        for row in differences
        if row.metric in plan.metrics
        and (row.metric not in averaged or row.column == MACRO)
        and np.isfinite(row.value)
    ]
    corrected = holm(np.array([one.p for one in found]))
    return tuple(
        replace(one, p_holm=float(p), family=len(found))
        for one, p in zip(found, corrected, strict=True)
    )


def holm(p: Floats) -> Floats:
    """Return p-values corrected for their number (Holm, Scand J Stat 1979;6:65), shape (F,)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1, stepped)
    return corrected


def asked(wanted: Sequence[str], there: Sequence[Metric], units: Units) -> tuple[str, ...]:
    """Return the metrics that are tested: those wanted, or else the one that stands first.

    Args:
        wanted: Names as given; empty: nobody asked for any.
        there: Metrics of the comparison.
        units: Of any run.

    Raises:
        UsageError: A metric that is wanted is none of the comparison.
    """
    testable = [one.name for one in there if one.higher_is_better is not None]
    for name in wanted:
        if name not in testable:
            raise UsageError(
                f"{units.target} has no {name} to compare: {', '.join(dict.fromkeys(testable))}",
                where="tests",
                fix=plugins.suggest(name, sorted(set(testable))),
            )
    return tuple(wanted) or (leading.metric(units.task),)


def columns_of(units: Units, metric: Metric, column: str) -> tuple[int | None, ...]:
    """Return the columns of the units behind one that a row names; None: all together.

    An average leaves out what has one class only, as its estimate does.
    """
    if column != MACRO:
        return (units.columns.index(column) if metric.task != "ordinal" else None,)
    both = (set(units.truth[units.known(k), k]) == {0, 1} for k in range(len(units.columns)))
    return tuple(k for k, known in enumerate(both) if known)


def _tested(
    row: Difference,
    measured: Mapping[str, Measured],
    ratios: Mapping[str, float | None],
    plan: Plan,
) -> Tested:
    ours, theirs = measured[row.run].units, measured[row.against].units
    metric = next(one for _, one in measured[row.run].rows if one.name == row.metric)
    columns = columns_of(ours, metric, row.column)
    rng = seeding.rng(plan.seed, "compare", "swaps")  # the same patients for every pair
    chance = swaps.swapped(metric, ours, theirs, columns, plan.swaps, rng)
    by_fold = None
    known = [one for one in (ratios[row.run], ratios[row.against]) if one is not None]
    if len(known) == 2:
        inside = [fold_differences.inside(units, metric, columns) for units in (ours, theirs)]
        by_fold = fold_differences.corrected_t(inside[0] - inside[1], max(known), plan.level)
    return Tested(
        run=row.run,
        against=row.against,
        metric=row.metric,
        title=row.title,
        column=row.column,
        value=row.value,
        p=chance.p,
        p_holm=chance.p,
        family=1,
        smallest_p=chance.smallest_p,
        exact=chance.exact,
        swaps=chance.swaps,
        patients=chance.patients,
        corrected_t=by_fold,
    )
