"""Differences inside test folds, and the one test of them that corrects for shared patients.

The training parts of two folds overlap, so fold differences are not independent and a plain paired
t-test takes chance for a finding more often than not. Nadeau & Bengio (Machine Learning
2003;52:239) widen the variance by the share of tested to trained patients; Bouckaert & Frank
(PAKDD 2004) apply that to repeated cross-validation. It is still too ready to find something in
small cohorts, so it stands second, beside an interval over patients.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from medssl.artifacts.splits import Splits
from medssl.evaluation import assessment
from medssl.evaluation.metrics import Bools, Floats, Metric
from medssl.evaluation.units import NO_FOLD, Ints, Units

RANDOM_FOLDS = "folds"  # how folds were made: the only kind for which the correction holds


@dataclass(frozen=True, kw_only=True)
class CorrectedT:
    """The corrected resampled t of fold differences."""

    folds: int  # that have a difference
    ratio: float  # patients tested for one that was trained on
    mean: float  # of fold differences
    low: float
    high: float
    p: float  # two-sided


def plans(units: Units) -> Ints:
    """Return which split each repeat belongs to, shape (R,).

    Repeats with the same test folds are trainings of one split from several seeds.
    """
    return np.unique(units.fold, axis=1, return_inverse=True)[1].ravel().astype(np.int64)


def inside(units: Units, metric: Metric, columns: tuple[int | None, ...]) -> Floats:
    """Return a metric in each test fold of each split, shape (J,), not-a-number where undefined.

    It is the mean over columns and over the trainings of the split: neither adds folds. A column
    of None stands for all together, as in `assessment.Measured`.
    """
    split = plans(units)
    found = []
    for name in np.unique(split):
        repeats = np.flatnonzero(split == name)
        fold = units.fold[:, repeats[0]]
        for k in np.unique(fold[fold != NO_FOLD]):
            members = fold == k
            values = [
                assessment.value(
                    scored(units, members, units.by_repeat[members, r]), metric, columns
                )
                for r in repeats
            ]
            found.append(float(np.mean(values)))
    return np.array(found)


def scored(units: Units, members: Bools, score: Floats) -> Units:
    """Return some units with other scores of theirs, shape (M, K); patients keep their rows."""
    return replace(
        units,
        truth=units.truth[members],
        score=score,
        by_repeat=score[:, None],
        fold=units.fold[members, :1],
        patient=units.patient[members],
    )


def trained_on(plan: Splits, cohort: int | None = None) -> tuple[Floats, Floats]:
    """Return how many patients each fold tests and learns from, both of shape (R × K,).

    Patients set apart to choose, or left out, are not learned from.

    Args:
        plan: Who is tested, set apart and left out.
        cohort: Patients of the run; who is tested nowhere is learned from everywhere, and no plan
            names them. None: a run of old, which tested everybody.
    """
    tested, learned = [], []
    for r, of_repeat in enumerate(plan.test_fold):
        sizes = np.bincount(list(of_repeat.values()), minlength=plan.n_folds)
        for k, size in enumerate(sizes):
            apart = {
                key
                for groups in (plan.inner, plan.unused, plan.barred)
                if groups
                for key in groups[r][k]
            }
            away = sum(of_repeat.get(key) != k for key in apart)
            tested.append(int(size))
            learned.append((cohort or len(of_repeat)) - int(size) - away)
    return np.array(tested, dtype=np.float64), np.array(learned, dtype=np.float64)


def ratio(plan: Splits, cohort: int | None = None) -> float | None:
    """Return patients tested for one trained on, or None where folds were not drawn at random."""
    if plan.by != RANDOM_FOLDS:
        return None
    tested, learned = trained_on(plan, cohort)
    return float(tested.mean() / learned.mean()) if learned.mean() > 0 else None


def corrected_t(differences: Floats, ratio: float, level: float) -> CorrectedT | None:
    """Return the corrected resampled t of J fold differences; None of fewer than two.

    Args:
        differences: Shape (J,), of folds of one or more repeats; not-a-number is left out.
        ratio: Patients tested for one trained on.
        level: Of the interval, for example 0.95.
    """
    known = differences[np.isfinite(differences)]
    count = len(known)
    if count < 2:
        return None
    mean = float(known.mean())
    spread = float(np.sqrt((1 / count + ratio) * known.var(ddof=1)))
    half = float(stdtrit(count - 1, (1 + level) / 2)) * spread
    p = 1.0 if mean == 0 else 0.0
    if spread > 0:
        p = float(2 * stdtr(count - 1, -abs(mean) / spread))
    return CorrectedT(folds=count, ratio=ratio, mean=mean, low=mean - half, high=mean + half, p=p)
