"""How much a result varies from training to training: apart from the interval over patients."""

from dataclasses import dataclass

import numpy as np

from medssl.evaluation import fold_differences, metrics
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Units

ENOUGH = 3  # trainings from which a spread says something


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """AUROC of each training of the same folds; what is reported is that of their mean score."""

    aurocs: tuple[float, ...]  # one per seed

    @property
    def sd(self) -> float | None:
        """Standard deviation over trainings; None of one."""
        return float(np.std(self.aurocs, ddof=1)) if len(self.aurocs) > 1 else None


def find(units: Units, columns: tuple[int, ...]) -> Trainings:
    """Return the AUROC of each training, averaged over columns.

    Repeats with the same test folds are trainings from other seeds; a training takes one of each
    split, and the scores of a unit are averaged over splits, as they are for the report.
    """
    split = fold_differences.plans(units)
    turn = np.array([int((split[:r] == split[r]).sum()) for r in range(len(split))])
    count = int(np.bincount(split).min())
    return Trainings(
        aurocs=tuple(
            float(np.mean([_auroc(units, turn == n, k) for k in columns])) for n in range(count)
        )
    )


def _auroc(units: Units, repeats: np.ndarray, column: int) -> float:
    scores: Floats = units.by_repeat[:, repeats, column]
    present = np.isfinite(scores).any(axis=1)
    mean = np.nanmean(scores[present], axis=1)
    return float(metrics.auroc(units.truth[present, column], mean))
