"""How much a result varies from training to training: apart from the interval over patients."""

from dataclasses import dataclass

import numpy as np

from medssl.evaluation import assessment, fold_differences
from medssl.evaluation.metrics import Bools, Metric
from medssl.evaluation.units import Units, over_repeats

ENOUGH = 3  # trainings from which a spread says something


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """A metric of each training of the same folds; what is reported is of their mean score."""

    metric: str
    title: str
    column: str  # the target, one of several, or the macro average
    values: tuple[float, ...]  # one per seed

    @property
    def sd(self) -> float | None:
        """Standard deviation over trainings; None of one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


def count(units: Units) -> int:
    """Return how often the models of a fold were trained, from other seeds."""
    return int(np.bincount(fold_differences.plans(units)).min())


def find(units: Units, metric: Metric, columns: tuple[int | None, ...], column: str) -> Trainings:
    """Return a metric of each training, averaged over columns.

    Repeats with the same test folds are trainings from other seeds; a training takes one of each
    split, and the scores of a unit are averaged over splits, as they are for the report.

    Args:
        units: What was observed.
        metric: One that needs no threshold.
        columns: Of the units; a column in which the metric is undefined is left out.
        column: What they are called together.
    """
    split = fold_differences.plans(units)
    turn = np.array([int((split[:r] == split[r]).sum()) for r in range(len(split))])
    return Trainings(
        metric=metric.name,
        title=metric.title,
        column=column,
        values=tuple(_value(units, turn == n, metric, columns) for n in range(count(units))),
    )


def _value(units: Units, repeats: Bools, metric: Metric, columns: tuple[int | None, ...]) -> float:
    score = over_repeats(units.by_repeat[:, repeats])
    there = np.asarray(np.isfinite(score).any(axis=1))
    return assessment.value(fold_differences.scored(units, there, score[there]), metric, columns)
