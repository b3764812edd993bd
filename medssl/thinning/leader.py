"""Leader thinning: what is kept where a threshold says what is alike.

Images are walked in order; one that a kept image stands for, under any metric of the chain, is
dropped and names the most similar of those, every other is kept. That gives both guarantees at
once: every dropped image has a kept representative within the threshold, and no two kept images
are within one. Connected components give neither: on a smooth series they keep one image of three
hundred.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medssl.thinning import outcomes
from medssl.thinning.metrics import Metric, Rows
from medssl.thinning.nearest import Nearest
from medssl.thinning.outcomes import Thinned
from medssl.thinning.scoping import Scope

KEPT = -1


Watch = Callable[[Iterable["_Part"], int], Iterable["_Part"]]
Search = Callable[[Nearest, Rows, Rows], None]  # offers some rows what was kept before them


def compare(scope: Scope) -> Search:
    """Return the search that compares images with all that were kept."""
    del scope
    return Nearest.offer


class _Part(NamedTuple):
    """Images in the order they were walked."""

    rows: Rows
    stage: NDArray[np.int32]  # which metric of the chain drops each; KEPT: none


def select(
    chain: Sequence[Metric],
    scopes: Sequence[Scope],
    block: int | None = None,
    watch: Watch | None = None,
    searches: Callable[[Scope], Search] = compare,
) -> Thinned:
    """Thin every scope on its own.

    Args:
        chain: Under any of these an image may stand for another; the first that does is named.
        scopes: No image is in two of them.
        block: Images handled at a time; it does not change the result of an exact search.
        watch: Shows progress: given the blocks as they are done and their number, yields them.
        searches: Says for each scope how what is alike is found among the images kept in earlier
            blocks; it is given them in the order they were walked, each time more of them.
    """
    found = [Nearest(metric, floor=metric.tau) for metric in chain]
    parts = [_Part(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32))]
    size = block or min(metric.block for metric in chain)
    blocks = (
        part for scope in scopes for part in _walk(chain, found, scope, size, searches(scope))
    )
    n_blocks = sum(-(-len(scope.rows) // size) for scope in scopes)
    parts += watch(blocks, n_blocks) if watch else blocks
    rows, stage = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    dropped, stage = rows[stage != KEPT], stage[stage != KEPT]
    representative = np.zeros(len(dropped), dtype=np.int64)
    similarity = np.zeros(len(dropped))
    for k, nearest in enumerate(found):
        mine = stage == k
        representative[mine] = nearest.row[dropped[mine]]
        similarity[mine] = nearest.similarity[dropped[mine]]
    kept = np.setdiff1d(rows, dropped, assume_unique=True)
    tau = np.array([metric.tau for metric in chain])[stage]
    return outcomes.build(kept, dropped, representative, similarity, stage, tau)


def _walk(
    chain: Sequence[Metric], found: Sequence[Nearest], scope: Scope, size: int, search: Search
) -> Iterator[_Part]:
    """Yield the images of a scope, block by block, with what stands for them in ``found``."""
    kept = scope.rows[:0]
    for start in range(0, len(scope.rows), size):
        rows, fixed = scope.rows[start : start + size], max(0, scope.fixed - start)
        stage = _covered(chain, found, rows, kept, fixed, search)
        stage = _walked(chain, rows, stage, fixed)
        leaders = np.flatnonzero(stage == KEPT)
        for k, nearest in enumerate(found):
            mine = np.flatnonzero(stage == k)
            nearest.offer(rows[mine], rows[leaders], leaders[None, :] < mine[:, None])
        kept = np.concatenate([kept, rows[leaders]])
        yield _Part(rows, stage)


def _covered(
    chain: Sequence[Metric],
    found: Sequence[Nearest],
    rows: Rows,
    kept: Rows,
    fixed: int,
    search: Search,
) -> NDArray[np.int32]:
    """Return the first metric under which an image kept earlier stands for each row, or KEPT."""
    stage = np.full(len(rows), KEPT, dtype=np.int32)
    for k, (metric, nearest) in enumerate(zip(chain, found, strict=True)):
        places = fixed + np.flatnonzero(stage[fixed:] == KEPT)
        search(nearest, rows[places], kept)
        stage[places[nearest.similarity[rows[places]] >= metric.tau]] = k
    return stage


def _walked(
    chain: Sequence[Metric], rows: Rows, stage: NDArray[np.int32], fixed: int
) -> NDArray[np.int32]:
    """Return the same after the images of the block were walked one by one."""
    close = np.zeros((len(chain), len(rows), len(rows)), dtype=bool)  # metric, later, earlier
    leaders = np.flatnonzero(stage == KEPT)  # of which some may still be dropped
    for k, metric in enumerate(chain):
        places = fixed + np.flatnonzero((stage[fixed:] == KEPT) | (stage[fixed:] > k))
        close[k][np.ix_(places, leaders)] = metric.close(rows[places], rows[leaders])
    close &= np.tri(len(rows), k=-1, dtype=bool)
    stage = stage.copy()
    is_kept = stage == KEPT
    for place in np.flatnonzero(close.any(axis=(0, 2))):
        by = np.flatnonzero((close[:, place] & is_kept).any(axis=1))
        if len(by):
            stage[place] = by[0] if stage[place] == KEPT else min(stage[place], by[0])
            is_kept[place] = False
    return stage
