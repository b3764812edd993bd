"""The images that are compared with each other: those of a series, a patient, a site, or all."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.thinning.metrics import Rows


@dataclass(frozen=True)
class Scope:
    """Some images in the order they are walked."""

    rows: Rows
    fixed: int = 0  # how many of the first are kept in any case


def rows_of(keys: Iterable[Any] | None, n: int) -> list[Rows]:
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


def ordered(
    scopes: Iterable[Rows], ranks: NDArray[np.int64], protected: NDArray[np.bool_]
) -> list[Scope]:
    """Return scopes with their images in the order they are walked.

    Args:
        scopes: Row numbers of each.
        ranks: Place of every image in that order, protected ones apart.
        protected: Which images come first and are kept in any case.
    """
    return [
        Scope(
            rows[np.lexsort((ranks[rows], ~protected[rows]))],
            fixed=int(protected[rows].sum()),
        )
        for rows in scopes
    ]
