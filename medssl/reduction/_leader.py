"""Leader thinning: the one selector, for any strategy.

Images are walked in order; one that is at least ``tau`` similar to an image kept before it is
dropped and names the most similar of those, every other is kept. That gives both guarantees at
once: every dropped image has a kept representative within the threshold, and no two kept images
are within it. Connected components give neither: on a smooth series they keep one image of three
hundred.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024  # rows compared at a time: bounds the memory, does not change the result


@dataclass(frozen=True)
class Thinned:
    """Row numbers of kept and dropped images, ascending; the last three run in parallel."""

    kept: NDArray[np.int64]
    dropped: NDArray[np.int64]
    representative: NDArray[np.int64]
    similarity: NDArray[np.float64]


def select(
    strategy: ModuleType,
    descriptors: NDArray[Any],
    tau: float,
    config: Any,  # noqa: ANN401 - the strategy's own
    block: int = BLOCK,
) -> Thinned:
    """Thin one scope.

    Args:
        strategy: A file of this folder.
        descriptors: Shape (N, F), in archive order.
        tau: Similarity from which one image stands for another.
        config: The strategy's options.
        block: Rows handled at a time.
    """
    order = np.argsort(strategy.rank(descriptors, config), kind="stable")
    nearest = _Nearest(len(order))
    kept: list[int] = []
    for start in range(0, len(order), block):
        rows = order[start : start + block]
        for first in range(0, len(kept), block):  # kept in earlier blocks
            tile = np.array(kept[first : first + block])
            table = strategy.similarity(descriptors[rows], descriptors[tile], config)  # (n, m)
            column = table.argmax(axis=1)
            nearest.improve(rows, table[np.arange(len(rows)), column], tile[column])
        inside = strategy.similarity(descriptors[rows], descriptors[rows], config)
        for place, row in enumerate(rows):
            if nearest.similarity[row] < tau:
                kept.append(int(row))
                nearest.improve(rows[place + 1 :], inside[place, place + 1 :], row)
    dropped = np.setdiff1d(np.arange(len(order)), kept)
    return Thinned(np.sort(np.array(kept, dtype=np.int64)), dropped, *nearest.of(dropped))


class _Nearest:
    """The most similar kept image seen so far, for every row; the first of equals stays."""

    def __init__(self, n: int) -> None:
        self.similarity = np.full(n, -np.inf)
        self.representative = np.full(n, -1, dtype=np.int64)

    def improve(
        self,
        rows: NDArray[np.int64],
        values: NDArray[np.float64],
        representatives: NDArray[np.int64] | np.int64,
    ) -> None:
        """Take a kept image where it is more similar than the one known."""
        better = values > self.similarity[rows]
        self.similarity[rows[better]] = values[better]
        names = np.broadcast_to(representatives, rows.shape)
        self.representative[rows[better]] = names[better]

    def of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return representatives and similarities of ``rows``."""
        return self.representative[rows], self.similarity[rows]
