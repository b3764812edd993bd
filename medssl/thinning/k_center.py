"""Greedy k-center (Gonzalez, 1985): a budget spent on what is least like anything kept.

Again and again the image that is least similar to its nearest kept one is kept as well. The worst
similarity that is left, the coverage, is at most twice as far from 1 as that of the best choice
where 1 - similarity is a metric, and no two kept images are more alike than it.
"""

from collections.abc import Sequence

import numpy as np

from medssl.thinning import outcomes
from medssl.thinning.metrics import Metric
from medssl.thinning.outcomes import Thinned
from medssl.thinning.scoping import Scope


def select(metric: Metric, scopes: Sequence[Scope], budget: int, stage: int = 0) -> Thinned:
    """Keep ``budget`` images of all scopes together.

    Images of two scopes do not stand for each other, so every scope keeps at least one.

    Args:
        metric: Says how alike two images are; its threshold is not used.
        scopes: No image is in two of them.
        budget: At least the number of images that are fixed or first of a scope without any.
        stage: Position of the metric in its chain.

    Returns:
        A selection whose threshold is its coverage.
    """
    search = _Search(metric, scopes)
    for scope in scopes:
        for row in scope.rows[: max(1, scope.fixed)]:
            search.keep(int(row))
    while search.n_kept < min(budget, search.n):
        search.keep(search.farthest())
    return search.result(stage)


class _Search:
    """The kept images so far, and how alike every other image is to the nearest of them."""

    def __init__(self, metric: Metric, scopes: Sequence[Scope]) -> None:
        self._metric = metric
        # Walking order: `farthest` takes the first of equals.
        self._rows = np.concatenate([scope.rows for scope in scopes])
        ends = np.cumsum([len(scope.rows) for scope in scopes])
        self._slice = {
            int(row): slice(end - len(scope.rows), end)
            for scope, end in zip(scopes, ends, strict=True)
            for row in scope.rows
        }
        self._value = np.full(len(self._rows), -np.inf)
        self._nearest = np.full(len(self._rows), -1, dtype=np.int64)
        self._kept: list[int] = []

    @property
    def n(self) -> int:
        return len(self._rows)

    @property
    def n_kept(self) -> int:
        return len(self._kept)

    def farthest(self) -> int:
        """Return the image least like any kept one of its scope; of equals the first."""
        return int(self._rows[self._value.argmin()])

    def keep(self, row: int) -> None:
        """Keep an image; those it resembles most from now on are named after it."""
        here = self._slice[row]
        rows, value = self._rows[here], self._value[here]
        table = np.concatenate(
            [self._metric.table(np.array([row]), tile)[0] for tile in self._metric.tiles(rows)]
        )
        closer = np.flatnonzero(table > value - self._metric.error)
        exact = self._metric.exact(np.full(len(closer), row), rows[closer])
        better = exact > value[closer]
        value[closer[better]] = exact[better]
        self._nearest[here][closer[better]] = row
        value[np.flatnonzero(rows == row)] = np.inf
        self._kept.append(row)

    def result(self, stage: int) -> Thinned:
        """Return the selection."""
        kept = np.array(self._kept, dtype=np.int64)
        open_ = np.isfinite(self._value)
        similarity = self._value[open_]
        return outcomes.build(
            kept, self._rows[open_], self._nearest[open_], similarity, stage,
            similarity.min(initial=1.0),
        )  # fmt: skip
