"""Thinning scope by scope: inside each series, patient or site, all at one threshold."""

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.foundation.errors import UsageError
from medssl.reduction import _leader
from medssl.reduction._leader import Thinned

BISECTIONS = 40  # halvings of the threshold


def rows_of(keys: Iterable[Any] | None, n: int) -> list[NDArray[np.int64]]:
    """Return the row numbers of each scope, ascending; scopes in the order of their first row.

    Args:
        keys: One key per row; None: everything is one scope.
        n: Number of rows.
    """
    if keys is None:
        return [np.arange(n)]
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(str(key), []).append(row)
    return [np.array(members, dtype=np.int64) for members in rows.values()]


def describe(
    strategy: ModuleType,
    ids: Sequence[str],
    scopes: list[NDArray[np.int64]],
    config: Any,  # noqa: ANN401 - the strategy's own
) -> NDArray[Any]:
    """Return the descriptors (N, F) of a strategy that needs no pixels, scope by scope."""
    parts = [strategy.describe((), [ids[row] for row in rows], config) for rows in scopes]
    rows = np.concatenate(scopes)
    return np.asarray(np.concatenate(parts)[np.argsort(rows)])


def thin(
    strategy: ModuleType,
    descriptors: NDArray[Any],
    scopes: list[NDArray[np.int64]],
    tau: float,
    config: Any,  # noqa: ANN401 - the strategy's own
) -> Thinned:
    """Thin every scope on its own; see `_leader.select`.

    Returns:
        Row numbers of ``descriptors``.
    """
    parts = [_leader.select(strategy, descriptors[rows], tau, config) for rows in scopes]
    return _gathered(scopes, parts)


def thin_to(
    strategy: ModuleType,
    descriptors: NDArray[Any],
    scopes: list[NDArray[np.int64]],
    budget: int,
    config: Any,  # noqa: ANN401 - the strategy's own
) -> tuple[Thinned, float]:
    """Find by bisection the threshold that keeps the most images without exceeding ``budget``.

    Returns:
        The selection and its threshold.

    Raises:
        UsageError: Even the loosest threshold keeps more, as every scope keeps at least one.
    """
    low, high = 0.0, float(np.nextafter(1.0, 2.0))  # keeps one per scope; keeps all
    best = thin(strategy, descriptors, scopes, high, config)
    if len(best.kept) <= budget:
        return best, high
    best = thin(strategy, descriptors, scopes, low, config)
    if len(best.kept) > budget:
        raise UsageError(
            f"no selection of at most {budget} images: at least one of each of "
            f"{len(scopes)} scopes is kept",
            fix=f"allow {len(best.kept)}, or widen --within",
        )
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        thinned = thin(strategy, descriptors, scopes, middle, config)
        if len(thinned.kept) <= budget:
            low, best = middle, thinned
        else:
            high = middle
    return best, low


def take(
    strategy: ModuleType,
    descriptors: NDArray[Any],
    scopes: list[NDArray[np.int64]],
    counts: Sequence[int],
    config: Any,  # noqa: ANN401 - the strategy's own
) -> tuple[Thinned, NDArray[np.float64]]:
    """Keep the images that rank first, a given number of each scope.

    For a strategy like `random`, under which an image is as similar to all that rank before it.

    Args:
        strategy: A file of this folder.
        descriptors: Shape (N, F), in archive order.
        scopes: Row numbers of each scope.
        counts: How many images to keep of each scope, at least one.
        config: The strategy's options.

    Returns:
        The selection, and for each dropped image the threshold that keeps as many of its scope.
    """
    parts = [
        _take(strategy, descriptors[rows], count, config)
        for rows, count in zip(scopes, counts, strict=True)
    ]
    thinned = _gathered(scopes, parts)
    cuts = [np.full(len(part.dropped), part.similarity.min(initial=1.0)) for part in parts]
    return thinned, _sorted(scopes, parts, cuts)


def _take(
    strategy: ModuleType,
    descriptors: NDArray[Any],
    count: int,
    config: Any,  # noqa: ANN401 - the strategy's own
) -> Thinned:
    order = np.argsort(strategy.rank(descriptors, config), kind="stable")
    first, dropped = order[:1], np.sort(order[count:])
    return Thinned(
        kept=np.sort(order[:count]),
        dropped=dropped,
        representative=np.full(len(dropped), first),
        similarity=strategy.similarity(descriptors[dropped], descriptors[first], config)[:, 0],
    )


def _gathered(scopes: list[NDArray[np.int64]], parts: list[Thinned]) -> Thinned:
    """Return selections of scopes as one, in row numbers of the whole."""
    pairs = list(zip(scopes, parts, strict=True))
    return Thinned(
        kept=np.sort(np.concatenate([rows[part.kept] for rows, part in pairs])),
        dropped=np.sort(np.concatenate([rows[part.dropped] for rows, part in pairs])),
        representative=_sorted(scopes, parts, [rows[part.representative] for rows, part in pairs]),
        similarity=_sorted(scopes, parts, [part.similarity for part in parts]),
    )


def _sorted(
    scopes: list[NDArray[np.int64]], parts: list[Thinned], values: list[NDArray[Any]]
) -> NDArray[Any]:
    """Return values of the dropped images of each scope in the order of their rows."""
    dropped = [rows[part.dropped] for rows, part in zip(scopes, parts, strict=True)]
    return np.asarray(np.concatenate(values)[np.argsort(np.concatenate(dropped))])
