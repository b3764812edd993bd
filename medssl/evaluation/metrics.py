"""Metrics: one function and one row of the table each; weights carry resampling."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation import recalibration

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


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
    compute: Compute  # of a thresholded metric it takes calls, 1 or 0, in place of scores
    higher_is_better: bool | None  # None: best at its ideal
    task: str  # binary, ordinal or regression; classes and cuts are binary each
    reference: str  # the function it equals, called (target, score) or (target, call)
    no_skill: Callable[[float], float | None]  # prevalence -> value of a score that knows nothing
    needs_probability: bool  # defined for probabilities only, not for any ranking
    needs_prevalence: bool  # depends on the share of positives, so resamples vary that too
    meaning: str  # a few words for the report
    parts: tuple[str, ...] = ()  # of `PARTS`, of whose shares it is the mean
    ideal: float | None = None  # where neither more nor less is better
    options: Mapping[str, object] = field(default_factory=dict)  # of the reference
    called: bool = False  # it counts who reaches a threshold, and is no mean of shares
    improper: bool = False  # a model that predicts worse can have the better value

    @property
    def thresholded(self) -> bool:
        """Whether it counts who reaches a threshold."""
        return self.called or bool(self.parts)

    @property
    def needs_patients(self) -> bool:
        """Whether it means nothing for a handful of patients of a class."""
        return self.thresholded or self.ideal is not None

    def of(self, score: Floats, threshold: float | None) -> Floats:
        """Return what `compute` takes: the scores, or who reaches the threshold."""
        if not self.thresholded:
            return score
        if threshold is None:
            raise ValueError(f"{self.name} needs a threshold")
        return (score >= threshold).astype(np.float64)


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


PARTS: Mapping[str, Callable[[Bools, Bools], tuple[Bools, Bools]]] = {
    # (positive, called) -> of whom, and who of them counts
    "sensitivity": lambda positive, called: (positive, called),
    "specificity": lambda positive, called: (~positive, ~called),
    "ppv": lambda positive, called: (called, positive),
    "npv": lambda positive, called: (~called, ~positive),
}


def mean_share(
    target: NDArray[np.generic],
    call: Floats,
    weight: Floats | None = None,
    *,
    parts: tuple[str, ...],
) -> Floats:
    """Return the share of `PARTS` who count, or the mean over several parts. See `Compute`.

    ``call`` is 1 where the score reaches the threshold. Undefined where nobody is in a part.
    """
    weight = _weights(call, weight)
    shares = [
        _ratio(weight @ (within & counted).astype(float), weight @ within.astype(float))
        for within, counted in (PARTS[part](target == 1, call == 1) for part in parts)
    ]
    return np.asarray(np.mean(shares, axis=0))


def f1(target: NDArray[np.generic], score: Floats, weight: Floats | None = None) -> Floats:
    """Return the harmonic mean of sensitivity and positive predictive value. See `Compute`.

    ``score`` is 1 for who reaches the threshold, else 0. Undefined where nobody is positive and
    nobody is called so. Improper, as negatives who are called rightly do not count (Van Calster
    et al., Lancet Digit Health 2025;7:100916).
    """
    weight = _weights(score, weight)
    positive, called = (target == 1).astype(float), (score == 1).astype(float)
    return _ratio(2 * (weight @ (positive * called)), weight @ positive + weight @ called)


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
        needs_prevalence=False,
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
        needs_prevalence=True,
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
        needs_prevalence=True,
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
        needs_prevalence=True,
        meaning="share of the no-skill error removed; 1 is perfect, 0 is no skill",
    ),
    Metric(
        name="calibration_intercept",
        title="Calibration intercept",
        compute=recalibration.intercept,
        higher_is_better=None,
        task="binary",
        reference="statsmodels.api.GLM",
        no_skill=lambda _: None,
        needs_probability=True,
        needs_prevalence=True,
        meaning="shift of the logits that fits the average; above 0 the probabilities are too low",
        ideal=0.0,
    ),
    Metric(
        name="calibration_slope",
        title="Calibration slope",
        compute=recalibration.slope,
        higher_is_better=None,
        task="binary",
        reference="statsmodels.api.GLM",
        no_skill=lambda _: None,
        needs_probability=True,
        needs_prevalence=True,
        meaning="below 1 the probabilities are too extreme, above 1 too moderate",
        ideal=1.0,
    ),
    Metric(
        name="balanced_accuracy",
        title="Balanced accuracy",
        compute=partial(mean_share, parts=("sensitivity", "specificity")),
        parts=("sensitivity", "specificity"),
        higher_is_better=True,
        task="binary",
        reference="sklearn.metrics.balanced_accuracy_score",
        no_skill=lambda _: 0.5,
        needs_probability=False,
        needs_prevalence=False,
        meaning="mean of sensitivity and specificity",
    ),
    Metric(
        name="sensitivity",
        title="Sensitivity",
        compute=partial(mean_share, parts=("sensitivity",)),
        parts=("sensitivity",),
        higher_is_better=True,
        task="binary",
        reference="sklearn.metrics.recall_score",
        no_skill=lambda _: None,
        needs_probability=False,
        needs_prevalence=False,
        meaning="share of the positives who are called positive",
    ),
    Metric(
        name="specificity",
        title="Specificity",
        compute=partial(mean_share, parts=("specificity",)),
        parts=("specificity",),
        higher_is_better=True,
        task="binary",
        reference="sklearn.metrics.recall_score",
        no_skill=lambda _: None,
        needs_probability=False,
        needs_prevalence=False,
        meaning="share of the negatives who are called negative",
        options={"pos_label": 0},
    ),
    Metric(
        name="ppv",
        title="Positive predictive value",
        compute=partial(mean_share, parts=("ppv",)),
        parts=("ppv",),
        higher_is_better=True,
        task="binary",
        reference="sklearn.metrics.precision_score",
        no_skill=lambda prevalence: prevalence,
        needs_probability=False,
        needs_prevalence=True,
        meaning="share of positives among those called positive, at this prevalence",
        options={"zero_division": np.nan},
    ),
    Metric(
        name="npv",
        title="Negative predictive value",
        compute=partial(mean_share, parts=("npv",)),
        parts=("npv",),
        higher_is_better=True,
        task="binary",
        reference="sklearn.metrics.precision_score",
        no_skill=lambda prevalence: 1 - prevalence,
        needs_probability=False,
        needs_prevalence=True,
        meaning="share of negatives among those called negative, at this prevalence",
        options={"pos_label": 0, "zero_division": np.nan},
    ),
    Metric(
        name="f1",
        title="F1 score (improper)",
        compute=f1,
        called=True,
        improper=True,
        higher_is_better=True,
        task="binary",
        reference="sklearn.metrics.f1_score",
        no_skill=lambda _: None,
        needs_probability=False,
        needs_prevalence=True,
        meaning="ignores negatives called rightly; a worse model can have more: choose none by it",
        options={"zero_division": np.nan},
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
