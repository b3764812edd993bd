"""How alike images are before and after a reduction, and which pairs lie nearest its threshold.

Every image is compared with all others of its scope, but no more than `MOST` images are: drawn at
random once from all, once from those that are kept.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.foundation import seeding
from medssl.thinning import retention
from medssl.thinning.metrics import Metric, Rows
from medssl.thinning.nearest import Nearest
from medssl.thinning.outcomes import Thinned
from medssl.thinning.pools import Pool

MOST = 2000  # images that are compared with their scope
BINS = 32  # up to 1
_COARSEST, _FINEST = 1 / 32, 1 / 4096  # width of a bin
_BELOW = 0.01  # share of the images that may lie below the first bin
MOST_PAIRS = 20  # shown on each side of the threshold
MOST_SERIES = 6  # shown in full
_SLICES = 2  # least images of a series that is shown
_PART = 1024  # images of a scope that are compared before it is asked who has found one
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How alike each of some images is to one other."""

    of: int  # images there are
    n: int  # that were measured
    n_alone: int  # that were drawn, but have no other image in their scope
    quantiles: Mapping[str, float]  # of the similarity; not interpolated
    n_below: int  # less alike than the first bin begins
    counts: tuple[int, ...]  # in each bin


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Images and the most similar other image of the scope of each."""

    rows: Rows
    other: Rows
    similarity: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How alike images are under one metric."""

    metric: str
    tau: float  # from which one image stands for another
    drawn: int  # images at most of which the nearest was looked for
    edges: tuple[float, ...]  # of the bins, ascending to 1
    before: Likeness  # every image of the pool to the nearest other of its scope
    after: Likeness  # every kept image to the nearest other kept one of its scope
    represented: Likeness  # every image this metric dropped to its representative
    neighbours: Neighbours  # of the kept images, for `nearest_threshold`


@dataclass(frozen=True, slots=True)
class Nearby:
    """Two images about as alike as the threshold says."""

    row: int
    other: int
    similarity: float
    is_dropped: bool  # the first, for which the other stands; else both are kept


def measure(
    metric: Metric, pool: Pool, thinned: Thinned, seed: int, stage: int | None = None
) -> Coverage:
    """Compare at most `MOST` images with all others of their scope, before and after.

    Args:
        metric: Of the chain, at the threshold that was used; one that says how alike images are.
        pool: The images; those in no scope are not looked at.
        thinned: What was kept of them.
        seed: Of the draw.
        stage: Position of the metric in its chain; None: it dropped every image.
    """
    all_rows = np.concatenate([np.zeros(0, np.int64), *(scope.rows for scope in pool.scopes)])
    rows, alone = _neighbours(metric, _scopes(pool), _draw(np.sort(all_rows), seed, "before"))
    kept_scopes = _scopes(pool, thinned.kept)
    kept, kept_alone = _neighbours(metric, kept_scopes, _draw(thinned.kept, seed, "after"))
    own = thinned.similarity[_mine(thinned, stage)]
    edges = bins(np.concatenate([rows.similarity, kept.similarity, own]))
    return Coverage(
        metric=metric.name,
        tau=metric.tau,
        drawn=MOST,
        edges=tuple(edges.tolist()),
        before=_likeness(rows.similarity, edges, len(all_rows), alone),
        after=_likeness(kept.similarity, edges, len(thinned.kept), kept_alone),
        represented=_likeness(own, edges, len(own), 0),
        neighbours=kept,
    )


def nearest_threshold(
    coverage: Coverage,
    pool: Pool,
    thinned: Thinned,
    stage: int | None = None,
    most: int = MOST_PAIRS,
) -> tuple[tuple[Nearby, ...], tuple[Nearby, ...]]:
    """Return the pairs nearest the threshold, on either side at most ``most``.

    Of pairs equally near, those of many series come rather than many of one series.

    Args:
        coverage: As measured with the same pool and selection.
        pool: The images.
        thinned: What was kept of them.
        stage: Position of the metric in its chain; None: it dropped every image.
        most: Pairs on either side.

    Returns:
        Dropped images that are just similar enough to their representative, and kept images that
        are just not similar enough to the nearest kept one, each pair once.
    """
    mine = _mine(thinned, stage)
    dropped = Neighbours(
        rows=thinned.dropped[mine],
        other=thinned.representative[mine],
        similarity=thinned.similarity[mine],
    )
    margin = dropped.similarity - thinned.tau[mine]
    near = coverage.neighbours
    pair = np.sort(np.stack([near.rows, near.other], axis=1), axis=1)  # (n, 2)
    is_new = np.zeros(len(pair), dtype=bool)
    is_new[np.unique(pair, axis=0, return_index=True)[1]] = True
    apart = np.flatnonzero(is_new & (near.similarity < coverage.tau))
    kept = Neighbours(
        rows=near.rows[apart], other=near.other[apart], similarity=near.similarity[apart]
    )
    return (
        _first(dropped, margin, pool, most, is_dropped=True),
        _first(kept, coverage.tau - kept.similarity, pool, most, is_dropped=False),
    )


def longest_series(
    table: pa.Table, inside: NDArray[np.bool_], most: int = MOST_SERIES
) -> tuple[Rows, ...]:
    """Return the rows of the longest series, slices in order; modalities and sites take turns.

    Args:
        table: Rows of images.parquet.
        inside: Which images are in the pool, shape (N,).
        most: How many series.
    """
    rows = np.flatnonzero(inside)
    series = retention.numbers(table["series_key"])[rows]
    order = np.argsort(series, kind="stable")
    parts = np.split(rows[order], np.flatnonzero(np.diff(series[order])) + 1)
    long = sorted((part for part in parts if len(part) >= _SLICES), key=lambda part: -len(part))
    first = np.array([part[0] for part in long], dtype=np.int64)
    kinds = zip(table["modality"].take(first).to_pylist(),
                table["site"].take(first).to_pylist(), strict=True)  # fmt: skip
    turns = _turns(kinds)
    return tuple(long[k] for k in sorted(range(len(long)), key=lambda k: (turns[k], k))[:most])


def bins(values: Values) -> Values:
    """Return the edges of equal bins that end at 1 and hold nearly all values.

    Their width is a power of two, so that a hash of 64 bits has one distance in each, not one in
    every other.

    Args:
        values: Similarities, 0 to 1.
    """
    width = _COARSEST
    if len(values):
        distinct = np.unique(values)
        gap = np.diff(distinct).min(initial=1.0)
        low = float(np.quantile(values, _BELOW, method="inverted_cdf"))
        while width / 2 >= max(gap, _FINEST) and low >= 1 - BINS * width / 2:
            width /= 2
    return np.asarray(1 - width * np.arange(BINS, -1, -1), dtype=np.float64)


def _draw(rows: Rows, seed: int, purpose: str) -> Rows:
    """Return at most `MOST` of some rows, ascending."""
    if len(rows) <= MOST:
        return rows
    picked = seeding.rng(seed, "coverage", purpose).choice(len(rows), MOST, replace=False)
    return rows[np.sort(picked)]


def _scopes(pool: Pool, among: Rows | None = None) -> list[Rows]:
    """Return the images of each scope in archive order, or those of them that are ``among``."""
    inside = np.ones(pool.n, dtype=bool) if among is None else np.zeros(pool.n, dtype=bool)
    if among is not None:
        inside[among] = True
    return [np.sort(scope.rows[inside[scope.rows]]) for scope in pool.scopes]


def _neighbours(metric: Metric, scopes: Sequence[Rows], drawn: Rows) -> tuple[Neighbours, int]:
    """Return the most similar other image of each drawn one, and how many have no other."""
    nearest = Nearest(metric, floor=0.0)
    is_drawn = np.zeros(len(metric.descriptors), dtype=bool)
    is_drawn[drawn] = True
    for members in scopes:
        rows = members[is_drawn[members]]
        if len(rows) and len(members) > 1:
            _offer(metric, nearest, rows, members)
    found = drawn[nearest.row[drawn] >= 0]
    neighbours = Neighbours(
        rows=found, other=nearest.row[found], similarity=nearest.similarity[found]
    )
    return neighbours, len(drawn) - len(found)


def _offer(metric: Metric, nearest: Nearest, rows: Rows, members: Rows) -> None:
    """Compare images with all others of their scope.

    Once an image has one that is the same but for rounding, it needs no better one: thousands of
    blank images would have to be compared exactly. The parts are of one size whatever the memory,
    so that the result is.
    """
    same = 1.0 - metric.error
    for start in range(0, len(members), _PART):
        part = members[start : start + _PART]
        wanting = rows[nearest.similarity[rows] < same]
        for first in range(0, len(wanting), _PART):
            block = wanting[first : first + _PART]
            nearest.offer(block, part, block[:, None] != part)


def _mine(thinned: Thinned, stage: int | None) -> NDArray[np.bool_]:
    everything = np.ones(len(thinned.dropped), dtype=bool)
    return everything if stage is None else thinned.stage == stage


def _likeness(values: Values, edges: Values, of: int, n_alone: int) -> Likeness:
    counts, _ = np.histogram(values, edges)
    return Likeness(
        of=of,
        n=len(values),
        n_alone=n_alone,
        quantiles=retention.quantiles(values),
        n_below=int((values < edges[0]).sum()),
        counts=tuple(counts.tolist()),
    )


def _first(
    pairs: Neighbours, margin: Values, pool: Pool, most: int, *, is_dropped: bool
) -> tuple[Nearby, ...]:
    """Return the pairs of the smallest margins; among equals series take turns."""
    order = np.lexsort((pairs.rows, margin))
    turns = _turns(zip(margin[order].tolist(), pool.series[pairs.rows[order]], strict=True))
    picked = order[np.lexsort((np.arange(len(order)), turns, margin[order]))][:most]
    return tuple(
        Nearby(int(pairs.rows[k]), int(pairs.other[k]), float(pairs.similarity[k]), is_dropped)
        for k in picked
    )


def _turns(kinds: Iterable[Any]) -> NDArray[np.int64]:
    """Return how many of the same kind came before each."""
    seen: Counter[Any] = Counter()
    turns = []
    for kind in kinds:
        turns.append(seen[kind])
        seen[kind] += 1
    return np.array(turns, dtype=np.int64)
