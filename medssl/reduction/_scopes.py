"""Thinning scope by scope: inside each series, patient or site, all at one threshold."""

from collections.abc import Iterable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.foundation.errors import UsageError
from medssl.reduction import _leader
from medssl.reduction._leader import Thinned

_BISECTIONS = 40  # halvings of the threshold


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
    found = []
    for rows in scopes:
        part = _leader.select(strategy, descriptors[rows], tau, config)
        found.append(
            replace(
                part,
                kept=rows[part.kept],
                dropped=rows[part.dropped],
                representative=rows[part.representative],
            )
        )
    dropped = np.concatenate([part.dropped for part in found])
    order = np.argsort(dropped)
    return Thinned(
        kept=np.sort(np.concatenate([part.kept for part in found])),
        dropped=dropped[order],
        representative=np.concatenate([part.representative for part in found])[order],
        similarity=np.concatenate([part.similarity for part in found])[order],
    )


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
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        thinned = thin(strategy, descriptors, scopes, middle, config)
        if len(thinned.kept) <= budget:
            low, best = middle, thinned
        else:
            high = middle
    return best, low
