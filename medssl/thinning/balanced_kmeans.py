"""Balanced k-means: a budget spread evenly over clusters of the descriptors.

After Vo et al. (2024, arXiv:2405.15613), one level: a scope is clustered by k-means, every cluster
gives the same number of images as far as it has them: the one nearest to its centre, then again and
again what is least like those. Rare kinds of images so count as much as common ones. How unlike a
dropped image may be to its representative is not bounded, only stated, and two kept images of
neighbouring clusters may be alike.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from medssl.foundation import seeding
from medssl.thinning import k_center, outcomes
from medssl.thinning.metrics import Metric, Rows
from medssl.thinning.nearest import Nearest
from medssl.thinning.outcomes import Thinned
from medssl.thinning.scoping import Scope

_BATCH = 4096
_RESTARTS = 3
_HALVINGS = 60


def select(
    metric: Metric, scopes: Sequence[Scope], budget: int, *, seed: int = 0, stage: int = 0
) -> Thinned:
    """Keep ``budget`` images of all scopes together.

    A scope has its share of the budget by its size and keeps at least one image; it is cut into
    as many clusters as the root of its share.

    Args:
        metric: Its descriptors are unit vectors; its threshold is not used.
        scopes: No image is in two of them.
        budget: At least the number of images that are fixed or first of a scope without any.
        seed: Of the clustering.
        stage: Position of the metric in its chain.

    Returns:
        A selection whose threshold is its coverage, the worst similarity of a dropped image.
    """
    least = [max(1, scope.fixed) for scope in scopes]
    sizes = [len(scope.rows) for scope in scopes]
    shares = level(np.array(sizes), budget, np.array(least), weights=np.array(sizes, dtype=float))
    chosen = [
        _chosen(metric, scope, int(share), seed)
        for scope, share in zip(scopes, shares, strict=True)
    ]
    nearest = Nearest(metric, floor=0.0)
    others = []
    for scope, kept in zip(scopes, chosen, strict=True):
        others.append(np.setdiff1d(scope.rows, kept))
        nearest.offer(others[-1], kept)
    rows = np.concatenate(others)
    similarity = nearest.similarity[rows]
    return outcomes.build(
        np.concatenate(chosen), rows, nearest.row[rows], similarity, stage,
        similarity.min(initial=1.0),
    )  # fmt: skip


def level(
    capacity: NDArray[np.int64],
    total: int,
    least: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Share ``total`` out evenly, none above its capacity or below its least.

    Args:
        capacity: The most each can take, shape (n,).
        total: What there is; between the sums of ``least`` and ``capacity`` it is all given out.
        least: What each takes in any case, shape (n,).
        weights: Shares in proportion to these; equal where None. The remainder goes to those that
            are furthest below their share, the first of equals.
    """
    weights = np.ones(len(capacity)) if weights is None else weights
    least = np.minimum(capacity, least)

    def given(height: float) -> NDArray[np.int64]:
        return np.clip(np.floor(height * weights).astype(np.int64), least, capacity)

    low, high = 0.0, float((capacity + 1).max() / weights.min())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if given(middle).sum() <= total else (low, middle)
    shares = given(low)
    wanted = np.where(shares < capacity, (shares + 1) / weights, np.inf)
    rest = max(0, min(total, int(capacity.sum())) - int(shares.sum()))
    shares[np.argsort(wanted, kind="stable")[:rest]] += 1
    return shares


def _chosen(metric: Metric, scope: Scope, share: int, seed: int) -> Rows:
    """Return the images a scope keeps, fixed ones first, then cluster by cluster."""
    fixed = scope.rows[: scope.fixed]
    rows = scope.rows[scope.fixed :]
    wanted = share - len(fixed)
    if wanted <= 0 or not len(rows):
        return fixed if len(fixed) else scope.rows[:1]
    vectors = np.asarray(metric.descriptors[rows], dtype=np.float32)
    label, distance = _clusters(vectors, max(1, round(wanted**0.5)), seed)
    members = [np.flatnonzero(label == k) for k in np.unique(label)]
    counts = level(np.array([len(m) for m in members]), wanted, np.zeros(len(members), dtype=int))
    picked = [
        _spread(metric, rows[m[np.argsort(distance[m], kind="stable")]], int(count))
        for m, count in zip(members, counts, strict=True)
    ]
    return np.concatenate([fixed, *picked])


def _spread(metric: Metric, rows: Rows, count: int) -> Rows:
    """Return ``count`` images of a cluster, the first and those least like the ones before."""
    return k_center.select(metric, [Scope(rows)], count).kept if count else rows[:0]


def _clusters(
    vectors: NDArray[np.float32], k: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the cluster of each vector and its distance to the centre, whatever the threads."""
    k = min(k, len(np.unique(vectors, axis=0)))
    model = MiniBatchKMeans(
        k, batch_size=_BATCH, n_init=_RESTARTS, random_state=seeding.derive(seed, "k-means") % 2**32
    )
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        label = model.fit_predict(vectors)
        centres = model.cluster_centers_[label].astype(np.float64)
    return label.astype(np.int64), ((vectors - centres) ** 2).sum(axis=1)
