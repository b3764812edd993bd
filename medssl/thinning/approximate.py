"""Leader thinning of very many images: what is alike is looked for near by only, with faiss.

The images kept so far lie in cells around centres, and an image is compared with those of the cells
nearest to it. What is found is decided exactly, so every dropped image has a kept representative
within the threshold, as always. What is not found is lost: an image may be kept although a kept
one stands for it, and a representative need not be the most similar one. How often that happens
is measured.

The index holds the descriptors of the kept images in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.config.reduce import ReduceSettings
from medssl.foundation import seeding
from medssl.foundation.errors import MissingExtra, UsageError
from medssl.thinning.chains import Link
from medssl.thinning.leader import Search, compare
from medssl.thinning.metrics import Metric, Rows
from medssl.thinning.nearest import Nearest
from medssl.thinning.outcomes import Recall, Thinned
from medssl.thinning.scoping import Scope

ABOVE = 500_000  # images of a scope; smaller ones are thinned exactly
PROBES = 32  # cells an image is looked for in
DRAWN = 1000  # images looked at afterwards
BLOCK = 1024  # images handled at a time, which are all compared with each other
_CELLS = 4  # times the root of the images of a scope
_PER_CELL = 16  # images from which the centres are found
_CANDIDATES = 8  # that are decided exactly
_PART = 1024  # kept images that are compared with those drawn at a time


def check(
    settings: ReduceSettings, chain: Sequence[Link], scopes: Sequence[Rows]
) -> tuple[str, ...]:
    """Return what is to be said beforehand of the approximate search, if one is wanted.

    Raises:
        UsageError: What the strategy describes images by cannot be searched so.
        MissingExtra: faiss is not installed.
    """
    if not settings.approximate:
        return ()
    if not chain[0].strategy.VECTORS:
        raise UsageError(
            f"what {chain[0].name} describes images by cannot be searched approximately",
            where="approximate",
            fix="use --by embedding, or leave out --approximate",
        )
    _faiss()
    n_exact = sum(len(rows) <= ABOVE for rows in scopes)
    if not n_exact:
        return ()
    which = f"in {n_exact:,} of {len(scopes):,} scopes" if n_exact < len(scopes) else "all the same"
    return (f"exact thinning {which}: --approximate begins above {ABOVE:,} images in one scope",)


def how(metric: Metric, seed: int) -> dict[str, Any]:
    """Return how `leader.select` is to thin by one metric, large scopes approximately.

    Args:
        metric: Of unit vectors.
        seed: Of the images from which the cells are made.
    """

    def search(scope: Scope) -> Search:
        return _Cells(metric, scope, seed) if _is_large(scope) else compare(scope)

    return {"block": BLOCK, "searches": search}  # another block would find other images


def measure(metric: Metric, scopes: Sequence[Scope], thinned: Thinned, seed: int) -> Recall | None:
    """Compare some images of each large scope with all that were kept before them.

    They are drawn from those that could be dropped, but not from the first block of a scope: there
    nothing is searched.

    Args:
        metric: With the threshold that was used.
        scopes: As they were thinned.
        thinned: With the images that were restored afterwards, which count as found.
        seed: Of the draw.

    Returns:
        How much was found; None where no scope is large.
    """
    large = [scope for scope in scopes if _is_large(scope)]
    if not large:
        return None
    drawn = _drawn(np.concatenate([s.rows[max(BLOCK, s.fixed) :] for s in large]), seed)
    is_kept = np.zeros(len(metric.descriptors), dtype=bool)
    is_kept[np.setdiff1d(thinned.kept, thinned.restored)] = True
    nearest = Nearest(metric, floor=metric.tau)
    for scope in large:
        walked = np.flatnonzero(is_kept[scope.rows])  # places in the scope
        wanted = walked[np.isin(scope.rows[walked], drawn)]
        for start in range(0, len(walked), _PART):
            part = walked[start : start + _PART]
            nearest.offer(scope.rows[wanted], scope.rows[part], part < wanted[:, None])
    found = int((~is_kept[drawn]).sum())
    missed = int((nearest.row[drawn] >= 0).sum())
    return Recall(scopes=len(large), drawn=len(drawn), covered=found + missed, found=found)


def told(recall: Recall) -> str:
    """Return a recall as a note."""
    share = "unknown" if recall.share is None else f"{recall.share:.3f}"
    return (
        f"approximate search: recall {share} of {recall.drawn:,} images drawn ({recall.found:,} of "
        f"{recall.covered:,} that a kept image stands for were found)"
    )


def record(recall: Recall | None) -> Mapping[str, Any]:
    """Return what files say of an approximate search; nothing where there was none."""
    if recall is None:
        return {}
    return {"recall": recall.share, **asdict(recall), "above": ABOVE, "probes": PROBES}


class _Cells:
    """The images of a scope that were kept so far, in cells (a `Search`)."""

    def __init__(self, metric: Metric, scope: Scope, seed: int) -> None:
        n, width = len(scope.rows), metric.descriptors.shape[1]
        n_cells = min(n, int(_CELLS * np.sqrt(n)))
        rng = seeding.rng(seed, "approximate", "cells", int(scope.rows[0]))
        some = scope.rows[rng.choice(n, min(n, _PER_CELL * n_cells), replace=False)]
        faiss = _faiss()
        self._metric = metric
        self._index = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(width), width, n_cells, faiss.METRIC_INNER_PRODUCT
        )
        self._index.nprobe = min(n_cells, PROBES)
        self._index.cp.min_points_per_centroid = 1  # it would print a warning
        with _one_thread():
            self._index.train(self._vectors(np.sort(some)))

    def __call__(self, nearest: Nearest, rows: Rows, kept: Rows) -> None:
        """Offer ``rows`` the images near them among those kept, of which some may be new."""
        with _one_thread():
            self._index.add(self._vectors(kept[self._index.ntotal :]))
            cosine, places = self._index.search(self._vectors(rows), _CANDIDATES)
        least = self._metric.tau - self._metric.error
        row, column = np.nonzero((places >= 0) & (np.maximum(cosine, 0) >= least))
        place = places[row, column]
        order = np.lexsort((place, row))  # of equals, the one kept first
        nearest.offer_pairs(rows, row[order], kept[place[order]])

    def _vectors(self, rows: Rows) -> NDArray[np.float32]:
        return np.ascontiguousarray(self._metric.descriptors[rows], dtype=np.float32)


def _is_large(scope: Scope) -> bool:
    return len(scope.rows) > ABOVE


def _drawn(rows: Rows, seed: int) -> Rows:
    rng = seeding.rng(seed, "approximate", "recall")
    return np.sort(rng.choice(rows, min(DRAWN, len(rows)), replace=False))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep faiss from adding numbers in an order that depends on the number of its threads."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _faiss() -> Any:  # noqa: ANN401 - it has no types
    try:
        import faiss  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise MissingExtra(
            "faiss, which searches approximately, is not installed",
            where="approximate",
            fix="pip install 'medssl[faiss]', or leave out --approximate",
        ) from error
    return faiss
