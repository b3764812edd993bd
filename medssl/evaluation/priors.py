"""Classes drawn more often than they occur, and probabilities for those that do occur.

Oversampling and loss weights teach a model another prevalence than that of the cohort. Its
probabilities are brought back by Bayes' rule (Elkan, IJCAI 2001; Buda et al., arXiv:1710.05381).
The order of scores of one target stays as it is, and so does its AUROC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medssl.config.task import Task

Floats = NDArray[np.float64]
How = Literal["none", "natural", "balanced", "sqrt"]
_POWER = {"none": 0.0, "natural": 0.0, "balanced": 1.0, "sqrt": 0.5}  # of 1 / share


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Shares of the classes among the training rows of a fold, and as a model learns them.

    ``prior`` and ``drawn`` have one row per question: a target of several classes is one, of
    `multi_label` each target is one with (no, yes). They are empty for amounts.
    """

    prior: tuple[tuple[float, ...], ...]
    drawn: tuple[tuple[float, ...], ...]
    image_weight: Floats | None  # (N,) how often each row is drawn, sum 1; None: once an epoch
    loss_weight: Floats | None  # (classes,), or (T, 2); mean 1 over the rows; None: all the same
    binary: bool  # one score per question, that of the second class


def shares(label: Floats, task: Task, sampling: How, loss_weights: How) -> Shares:
    """Return the shares of the classes under a way of drawing and of weighting them.

    Args:
        label: Of the training rows, (N, T); see `data.cohort.Cohort`.
        task: What is predicted.
        sampling: How rows are drawn: natural as they are, balanced with every class as often,
            sqrt by the square root of what balances them.
        loss_weights: The same for the weight of a class in the loss.

    Raises:
        ValueError: Rows of several targets, or amounts, cannot be drawn by class.
    """
    if sampling != "natural" and task.kind in ("multi_label", "regression"):
        raise ValueError(f"rows of a {task.kind} task have no class to be drawn by")
    if task.kind == "regression":
        return Shares(prior=(), drawn=(), image_weight=None, loss_weight=None, binary=True)
    n_classes = len(task.classes) or 2
    prior = np.stack([_shares(column, n_classes) for column in label.T])  # (T, K)
    seldom = np.divide(1, prior, out=np.zeros_like(prior), where=prior > 0)  # 0: never learned
    shown = _normed(prior * seldom ** _POWER[sampling])
    weight = seldom ** _POWER[loss_weights]
    mean = (shown * weight).sum(axis=1, keepdims=True)  # over the rows as they are drawn
    weight = np.divide(weight, mean, out=np.ones_like(weight), where=mean > 0)
    image_weight = None
    if sampling != "natural":
        image_weight = (seldom[0] ** _POWER[sampling])[label[:, 0].astype(int)]
        image_weight = image_weight / image_weight.sum()
    multi_label = task.kind == "multi_label"
    return Shares(
        prior=_rows(prior),
        drawn=_rows(_normed(shown * weight)),
        image_weight=image_weight,
        loss_weight=None if loss_weights == "none" else weight if multi_label else weight[0],
        binary=task.kind in ("binary", "multi_label"),
    )


def corrected(score: Floats, known: Shares) -> Floats:
    """Return probabilities under the prior of the cohort, of those under the prior learned.

    Args:
        score: Shape (N, columns): of the positive class of each question, or of every class.
        known: What `shares` returned, or a record of it.
    """
    return moved(score, known.prior, known.drawn, binary=known.binary)


def moved(
    score: Floats,
    prior: Sequence[Sequence[float]],
    drawn: Sequence[Sequence[float]],
    *,
    binary: bool,
) -> Floats:
    """Return probabilities under ``prior`` of those under ``drawn``; see `Shares`."""
    if not len(prior):
        return score
    before, after = np.asarray(drawn, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    ratio = np.divide(after, before, out=np.ones_like(before), where=before > 0)  # (T, K)
    if binary:
        no: Floats = (1 - score) * ratio[:, 0]
        yes: Floats = score * ratio[:, 1]
        return np.asarray(np.divide(yes, yes + no, out=score.copy(), where=yes + no > 0))
    every: Floats = score * ratio[0]
    total = every.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(every, total, out=score.copy(), where=total > 0))


def _shares(column: Floats, n_classes: int) -> Floats:
    known = column[np.isfinite(column)].astype(int)
    counts = np.bincount(known, minlength=n_classes)[:n_classes]
    return np.asarray(counts / max(1, counts.sum()), dtype=np.float64)


def _normed(values: Floats) -> Floats:
    """Return rows that add up to 1; one of zeros stays."""
    total = values.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(values, total, out=np.zeros_like(values), where=total > 0))


def _rows(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in values)
