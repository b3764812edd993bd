"""AUROC among pairs that share something: a fold, a site, a view."""

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation import metrics
from medssl.evaluation.metrics import Floats


def auroc(
    target: NDArray[np.generic],
    score: Floats,
    group: NDArray[np.generic],
    weight: Floats | None = None,
) -> Floats:
    """Return the chance that a positive scores above a negative of the same group.

    Whatever differs between groups, such as the scale of scores or the share of positives, does
    not count. A tie counts half.

    Args:
        target: Shape (N,), 1 for the positive class.
        score: Shape (N,).
        group: Shape (N,).
        weight: Shape (N,) or (R, N); None: all count once.

    Returns:
        Shape () or (R,); not-a-number where no group has both classes.
    """
    weight = np.ones(len(score)) if weight is None else weight
    won = pairs = np.zeros(weight.shape[:-1])
    for name in np.unique(group):
        members = group == name
        positive, negative = metrics.by_score(target[members], score[members], weight[..., members])
        below = np.cumsum(negative, axis=-1) - negative
        won = won + (positive * (below + negative / 2)).sum(axis=-1)
        pairs = pairs + positive.sum(axis=-1) * negative.sum(axis=-1)
    return np.asarray(np.divide(won, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0))
