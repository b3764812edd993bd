"""P-values of a comparison: after the intervals, and corrected for how many there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medssl.artifacts.splits import Splits
from medssl.evaluation import fold_differences, swaps
from medssl.evaluation.assessment import MACRO, Measured
from medssl.evaluation.comparison import Difference
from medssl.evaluation.fold_differences import CorrectedT
from medssl.evaluation.metrics import Floats
from medssl.foundation import seeding


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
    smallest_p: float  # that any scores of these patients could reach
    exact: bool  # every swap was looked at
    swaps: int
    patients: int  # in whom the two runs differ
    corrected_t: CorrectedT | None = None  # of AUROCs in random folds; second to the others


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How differences are tested."""

    metrics: tuple[str, ...]  # the family: these metrics of all pairs
    swaps: int
    level: float  # of the interval of the corrected t
    seed: int


def of(
    differences: Sequence[Difference],
    measured: Mapping[str, Measured],
    splits: Mapping[str, Splits],
    plan: Plan,
) -> tuple[Tested, ...]:
    """Return the tests of a family of differences, in the order of the differences.

    Of several classes the average is tested where the metric has one, otherwise each class.

    Args:
        differences: From `comparison.differences`.
        measured: Name of each run -> what was measured; all have the same units.
        splits: Name of each run -> its folds.
        plan: Which metrics, and how.
    """
    averaged = {row.metric for row in differences if row.column == MACRO}
    found = [
        _tested(row, measured, splits, plan)
        for row in differences
        if row.metric in plan.metrics and (row.metric not in averaged or row.column == MACRO)
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


def _tested(
    row: Difference,
    measured: Mapping[str, Measured],
    splits: Mapping[str, Splits],
    plan: Plan,
) -> Tested:
    ours, theirs = measured[row.run].units, measured[row.against].units
    whole = row.column == MACRO
    columns = tuple(range(len(ours.columns))) if whole else (ours.columns.index(row.column),)
    metric = next(one for _, one in measured[row.run].rows if one.name == row.metric)
    rng = seeding.rng(plan.seed, "compare", "swaps")  # the same patients for every pair
    chance = swaps.swapped(metric, ours, theirs, columns, plan.swaps, rng)
    by_fold = None
    ratios = [fold_differences.ratio(splits[name]) for name in (row.run, row.against)]
    known = [one for one in ratios if one is not None]
    if row.metric == "auroc" and len(known) == 2:
        inside = [fold_differences.aurocs(units, columns) for units in (ours, theirs)]
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
