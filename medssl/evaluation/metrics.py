"""Metrics: one function and one row of the table each; weights carry resampling."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Compute(Protocol):
    """What a metric is: a function of targets, scores and weights."""

    def __call__(
        self, target: NDArray[np.generic], score: Floats, weight: Floats | None = None
    ) -> Floats:
        """Return one value per row of weights; not-a-number where the metric is undefined.

        Args:
            target: Shape (N,), 1 or True for the positive class.
            score: Shape (N,), higher for the positive class.
            weight: Shape (N,) or (R, N), >= 0; None counts every unit once.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row of the table: everything a report needs to know about a metric."""

    name: str  # as in report.json and on the command line
    title: str
    compute: Compute
    higher_is_better: bool
    task: str  # binary; several classes are taken one against the rest
    reference: str  # the scikit-learn function it equals, called (target, score)
    no_skill: Callable[[float], float]  # prevalence -> value of a score that knows nothing
    needs_probability: bool  # defined for probabilities only, not for any ranking
    meaning: str  # a few words for the report


def auroc(target: NDArray[np.generic], score: Floats, weight: Floats | None = None) -> Floats:
    """Return the area under the ROC curve; a tie counts half. See `Compute`.

    It is undefined where a class is absent or has no weight.
    """
    positive, negative = by_score(target, score, weight)
    below = np.cumsum(negative, axis=-1) - negative
    won = (positive * (below + negative / 2)).sum(axis=-1)
    return _ratio(won, positive.sum(axis=-1) * negative.sum(axis=-1))


def average_precision(
    target: NDArray[np.generic], score: Floats, weight: Floats | None = None
) -> Floats:
    """Return the average precision, the step-wise area under precision and recall. See `Compute`.

    It is undefined without positives.
    """
    positive, negative = (part[..., ::-1] for part in by_score(target, score, weight))
    hits = np.cumsum(positive, axis=-1)
    called = hits + np.cumsum(negative, axis=-1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return _ratio((positive * precision).sum(axis=-1), positive.sum(axis=-1))


def brier(target: NDArray[np.generic], score: Floats, weight: Floats | None = None) -> Floats:
    """Return the mean squared difference between probability and outcome. See `Compute`."""
    weight = _weights(score, weight)
    squares = (score - target.astype(np.float64)) ** 2
    return _ratio(weight @ squares, weight.sum(axis=-1))


def scaled_brier(
    target: NDArray[np.generic], score: Floats, weight: Floats | None = None
) -> Floats:
    """Return 1 - Brier / Brier of predicting the prevalence for everyone. See `Compute`.

    It is undefined where a class is absent or has no weight.
    """
    weight = _weights(score, weight)
    positive, negative = weight @ (target == 1).astype(float), weight @ (target != 1).astype(float)
    no_skill = _ratio(positive * negative, (positive + negative) ** 2)
    return 1 - _ratio(brier(target, score, weight), no_skill)


TABLE = (
    Metric(
        name="auroc",
        title="AUROC",
        compute=auroc,
        higher_is_better=True,
        task="binary",
        reference="sklearn.metrics.roc_auc_score",
        no_skill=lambda _: 0.5,
        needs_probability=False,
        meaning="chance that a positive scores above a negative",
    ),
    Metric(
        name="average_precision",
        title="Average precision",
        compute=average_precision,
        higher_is_better=True,
        task="binary",
        reference="sklearn.metrics.average_precision_score",
        no_skill=lambda prevalence: prevalence,
        needs_probability=False,
        meaning="precision averaged over recall; judge it against the prevalence",
    ),
    Metric(
        name="brier",
        title="Brier score",
        compute=brier,
        higher_is_better=False,
        task="binary",
        reference="sklearn.metrics.brier_score_loss",
        no_skill=lambda prevalence: prevalence * (1 - prevalence),
        needs_probability=True,
        meaning="mean squared error of the probabilities; lower is better",
    ),
    Metric(
        name="scaled_brier",
        title="Scaled Brier score",
        compute=scaled_brier,
        higher_is_better=True,
        task="binary",
        reference="sklearn.metrics.d2_brier_score",
        no_skill=lambda _: 0.0,
        needs_probability=True,
        meaning="share of the no-skill error removed; 1 is perfect, 0 is no skill",
    ),
)


def by_score(
    target: NDArray[np.generic], score: Floats, weight: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return the weight of positives and of negatives at each distinct score, ascending, (…, G)."""
    weight = _weights(score, weight)
    if not score.size:
        return weight, weight
    order = np.argsort(score, kind="stable")
    ranked, is_positive = weight[..., order], target[order].astype(bool)
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf) > 0)
    positive = np.add.reduceat(ranked * is_positive, starts, axis=-1)
    return positive, np.add.reduceat(ranked * ~is_positive, starts, axis=-1)


def _weights(score: Floats, weight: Floats | None) -> Floats:
    return np.ones(score.shape) if weight is None else weight


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide; nothing by nothing, or anything by nothing, is not-a-number."""
    below = np.asarray(below)
    return np.asarray(np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0))
