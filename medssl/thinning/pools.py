"""A pool of images, how few and how many of a patient may be kept, and thinning under that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.foundation.errors import UsageError
from medssl.thinning import leader, outcomes
from medssl.thinning.metrics import Metric, Rows
from medssl.thinning.outcomes import Thinned
from medssl.thinning.scoping import Scope

HALVINGS = 30  # of the threshold
_FINEST = 1e-6  # no threshold is searched closer than this
_JUST_ABOVE_1 = float(np.nextafter(1.0, 2.0))  # keeps everything


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The images to choose from."""

    scopes: Sequence[Scope]  # every image is in one
    protected: NDArray[np.bool_]  # (N,) kept in any case
    patient: NDArray[np.int64]  # (N,) number of its patient
    series: NDArray[np.int64]  # (N,) number of its series
    min_per_patient: int = 0  # or all there are
    min_per_series: int = 0
    max_per_patient: int | None = None  # protected images and the first of each scope stay

    @property
    def floors(self) -> tuple[tuple[NDArray[np.int64], int], ...]:
        """The groups of which enough images have to be kept, and how many that is."""
        return (self.patient, self.min_per_patient), (self.series, self.min_per_series)

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.protected)


def thin(chain: Sequence[Metric], pool: Pool, **how: Any) -> Thinned:  # noqa: ANN401 - of `select`
    """Thin every scope by the thresholds of a chain; see `leader.select`.

    A patient with more images left than allowed is thinned again, by the highest threshold of
    the last metric that leaves few enough. Where a patient or a series has too few, those of its
    dropped images that are least like their representative stay.
    """
    thinned = leader.select(chain, pool.scopes, **how)
    if pool.max_per_patient is not None:
        thinned = _capped(chain, pool, thinned, pool.max_per_patient)
    return floored(thinned, pool)


def floored(thinned: Thinned, pool: Pool) -> Thinned:
    """Return a selection with enough images of each patient and each series."""
    for groups, least in pool.floors:
        thinned = _floored(thinned, groups, least)
    return thinned


def require(budget: int | None, least: int) -> None:
    """Check that a budget, if there is one, allows what has to be kept.

    Raises:
        UsageError: It does not.
    """
    if budget is not None and budget < least:
        raise UsageError(
            f"no selection of at most {budget} images: what is alike to nothing kept, one of each "
            f"scope, protected images and the least number of each patient and series come to "
            f"{least}",
            where="budget",
            fix=f"allow {least}, widen --within, or protect fewer",
        )


def thin_to(
    chain: Sequence[Metric], pool: Pool, budget: int, told: Callable[[float, int], None]
) -> tuple[Thinned, float]:
    """Find the threshold of the last metric that keeps the most images within ``budget``.

    It is searched by bisection; leader thinning is not strictly monotone in its threshold, so
    another one may keep a few more.

    Args:
        chain: The thresholds of all but the last are used.
        pool: The images.
        budget: How many images may be kept.
        told: Called with every threshold that is tried and what it keeps.

    Returns:
        The selection and the threshold.

    Raises:
        UsageError: Even the loosest threshold keeps more.
    """

    def kept_at(tau: float) -> Thinned:
        thinned = thin((*chain[:-1], chain[-1].at(tau)), pool)
        told(tau, len(thinned.kept))
        return thinned

    low, high = _lowest(chain[-1]), _JUST_ABOVE_1  # keeps the least; keeps all
    best = kept_at(high)
    if len(best.kept) <= budget:
        return best, high
    best = kept_at(low)
    require(budget, len(best.kept))
    finest = max(_FINEST, chain[-1].strategy.STEP / 2)
    for _ in range(HALVINGS):
        if len(best.kept) == budget or high - low < finest:
            break
        middle = (low + high) / 2
        thinned = kept_at(middle)
        if len(thinned.kept) <= budget:
            low, best = middle, thinned
        else:
            high = middle
    return best, low


def _lowest(metric: Metric) -> float:
    """Return the lowest threshold that means anything: at 0 all images are alike."""
    return max(_FINEST, metric.strategy.STEP)


def take(metric: Metric, pool: Pool, counts: Sequence[int]) -> Thinned:
    """Keep the images that rank first, a given number of each scope.

    For a strategy like `random`, under which an image is as similar to all that rank before it.
    Protected images and the least number of each patient and series come first.

    Args:
        metric: Its threshold is not used.
        pool: The images; its scopes are in order of rank.
        counts: How many images to keep of each scope, at least one.

    Returns:
        A selection in which the threshold of each scope is the one that keeps as many.
    """
    scopes = with_floors(pool, counts)
    parts = [_first(metric, scope.rows, count) for scope, count in zip(scopes, counts, strict=True)]
    return outcomes.join(parts)


def with_floors(pool: Pool, counts: Sequence[int] | None = None) -> list[Scope]:
    """Return the scopes with the least number of each series and patient fixed as well.

    Of each group those that are walked first.

    Args:
        pool: The images.
        counts: No more of each scope are fixed than this; None: as many as are needed.
    """
    needed = pool.protected.copy()
    room = [len(scope.rows) for scope in pool.scopes] if counts is None else list(counts)
    room = [n - scope.fixed for n, scope in zip(room, pool.scopes, strict=True)]
    for groups, least in reversed(pool.floors):  # an image of a series counts for its patient too
        _need(needed, pool.scopes, groups, least, room)
    return [
        Scope(
            scope.rows[np.argsort(~needed[scope.rows], kind="stable")],
            fixed=int(needed[scope.rows].sum()),
        )
        for scope in pool.scopes
    ]


def _need(
    needed: NDArray[np.bool_],
    scopes: Sequence[Scope],
    groups: NDArray[np.int64],
    least: int,
    room: list[int],
) -> None:
    """Mark the first images of each group until it has ``least`` of them, or there is no room."""
    if not least:
        return
    have = np.bincount(groups[needed], minlength=int(groups.max(initial=-1)) + 1)
    for place, scope in enumerate(scopes):
        for row in scope.rows:
            if room[place] > 0 and not needed[row] and have[groups[row]] < least:
                needed[row] = True
                have[groups[row]] += 1
                room[place] -= 1


def _first(metric: Metric, rows: Rows, count: int) -> Thinned:
    """Keep the first ``count`` images; the first of all stands for the others."""
    kept, dropped = rows[:count], rows[count:]
    representative = np.full(len(dropped), rows[0])
    similarity = metric.exact(dropped, representative)
    return outcomes.build(kept, dropped, representative, similarity, 0, similarity.min(initial=1.0))


def _floored(thinned: Thinned, groups: NDArray[np.int64], least: int) -> Thinned:
    """Return the selection with enough images of each group."""
    if not least:
        return thinned
    n_groups = int(groups.max(initial=-1)) + 1
    missing = np.maximum(0, least - np.bincount(groups[thinned.kept], minlength=n_groups))
    mine = groups[thinned.dropped]
    order = np.lexsort((thinned.dropped, thinned.similarity, mine))  # least alike first
    starts = np.searchsorted(mine[order], mine[order])  # where the group of each begins
    place = np.arange(len(order)) - starts
    return thinned.restore(thinned.dropped[order[place < missing[mine[order]]]])


def _capped(chain: Sequence[Metric], pool: Pool, thinned: Thinned, most: int) -> Thinned:
    """Return the selection with the scopes of every patient with too many images thinned again."""
    counts = np.bincount(pool.patient[thinned.kept])
    over = set(np.flatnonzero(counts > most).tolist())
    if not over:
        return thinned
    scopes: dict[int, list[Scope]] = {}
    for scope in pool.scopes:  # of one patient each: see `ReduceSettings`
        scopes.setdefault(int(pool.patient[scope.rows[0]]), []).append(scope)
    again = [_loosened(chain, scopes[patient], most) for patient in sorted(over)]
    stays = ~np.isin(pool.patient, list(over))
    rest = _part(thinned, stays)
    return outcomes.join([rest, *again])


def _loosened(chain: Sequence[Metric], scopes: Sequence[Scope], most: int) -> Thinned:
    """Return the largest selection found with at most ``most`` images, or the smallest there is."""
    low, high = _lowest(chain[-1]), chain[-1].tau
    best = leader.select((*chain[:-1], chain[-1].at(low)), scopes)
    while high - low >= _FINEST and len(best.kept) < most:
        middle = (low + high) / 2
        tried = leader.select((*chain[:-1], chain[-1].at(middle)), scopes)
        if len(tried.kept) <= most:
            low, best = middle, tried
        else:
            high = middle
    return best


def _part(thinned: Thinned, mine: NDArray[np.bool_]) -> Thinned:
    """Return what a selection says of some images."""
    some = mine[thinned.dropped]
    return outcomes.build(
        thinned.kept[mine[thinned.kept]],
        thinned.dropped[some],
        thinned.representative[some],
        thinned.similarity[some],
        thinned.stage[some],
        thinned.tau[some],
    )
