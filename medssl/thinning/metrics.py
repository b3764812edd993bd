"""A strategy at work: its options, its descriptors and its threshold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from medssl.reduction._contract import StrategyModule

MEMORY = 256 * 2**20  # bytes one comparison of blocks may need, unless the user says
_MOST_ROWS = 1024  # of a block
_MOST_COLUMNS = 4096
_DEAR_NS = 1000
_FEW_ROWS = 16  # of a block then
_PAIRS = 2**22  # float64 numbers compared at a time where values have to be exact

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One strategy of a chain."""

    name: str  # of the strategy
    strategy: StrategyModule
    config: Any  # the strategy's options
    descriptors: NDArray[Any]  # (N, F), in archive order; may be a memory map
    tau: float  # similarity from which one image stands for another
    places: Rows | None = None  # (N,) of a strategy with an order of its own: an image stands for
    # those behind it only
    device: str = "cpu"
    memory: int = MEMORY  # bytes; decides how much is compared at a time, never the result

    def at(self, tau: float) -> Self:
        """Return the same metric with another threshold."""
        return replace(self, tau=tau)

    @property
    def error(self) -> float:
        """Largest error of `table`."""
        return self.strategy.ERROR

    @property
    def block(self) -> int:
        """Rows to compare with each other at a time; few where comparing is dear.

        Within a block all pairs are compared, also those with images that will be dropped.
        """
        most = _FEW_ROWS if self.strategy.PAIR_NS > _DEAR_NS else _MOST_ROWS
        return max(8, min(most, self._rows, int(np.sqrt(self._pairs))))

    def tiles(self, rows: Rows) -> Iterator[Rows]:
        """Yield ``rows`` in parts that can be compared with a whole block."""
        size = max(8, min(_MOST_COLUMNS, self._rows, self._pairs // self.block))
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def table(self, a: Rows, b: Rows) -> NDArray[np.floating[Any]]:
        """Return how alike images ``a`` are to images ``b`` that may stand for them, (n, m).

        Each value is off by `error` at most, and -1 where an image may not stand for another.
        """
        left, right = self.descriptors[a], self.descriptors[b]
        table = self.strategy.similarity(left, right, self.config, self.device)
        if self.places is not None:
            table[self.places[a][:, None] <= self.places[b][None, :]] = -1
        return table

    def exact(self, a: Rows, b: Rows) -> NDArray[np.float64]:
        """Return the similarities (n,) of pairs of images by row number."""
        size = max(1, _PAIRS // max(1, self.descriptors.shape[1]))
        parts = [
            self.strategy.exact(
                self.descriptors[a[start : start + size]],
                self.descriptors[b[start : start + size]],
                self.config,
            )
            for start in range(0, len(a), size)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def close(self, a: Rows, b: Rows) -> NDArray[np.bool_]:
        """Say which images are alike, shape (n, m)."""
        table = self.table(a, b)
        alike = table >= _not_below(self.tau, table.dtype)
        if self.error:
            left, right = np.nonzero(np.abs(table - self.tau) <= self.error)
            alike[left, right] = self.exact(a[left], b[right]) >= self.tau
        return alike

    @property
    def _rows(self) -> int:
        """Descriptors that may be gathered at a time."""
        width = self.descriptors.itemsize * int(np.prod(self.descriptors.shape[1:]))
        return self.memory // (8 * width)

    @property
    def _pairs(self) -> int:
        return max(64, self.memory // (4 * max(1, self.strategy.pair_bytes(self.descriptors))))


def _not_below(tau: float, dtype: np.dtype[Any]) -> np.floating[Any]:
    """Return the smallest number of a type that is not below ``tau``."""
    rounded: np.floating[Any] = dtype.type(tau)
    above: np.floating[Any] = np.nextafter(rounded, dtype.type(np.inf))
    return rounded if float(rounded) >= tau else above


def own_order(
    strategy: StrategyModule,
    config: Any,  # noqa: ANN401 - the strategy's own
    descriptors: NDArray[Any],
) -> Rows | None:
    """Return the place of every image in the order a strategy needs, None where it needs none."""
    if not strategy.OWN_ORDER:
        return None
    return _places([strategy.rank(descriptors, config)])


def ranks(chain: tuple[Metric, ...]) -> NDArray[np.int64]:
    """Return the place of every image in the order they are walked, protected ones apart.

    A strategy's own rank decides first, the earlier one of a chain before the later; then archive
    order.
    """
    return _places(
        [metric.strategy.rank(metric.descriptors, metric.config) for metric in reversed(chain)]
    )


def _places(keys: Sequence[NDArray[np.float64]]) -> Rows:
    order = np.lexsort((np.arange(len(keys[0])), *keys))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places
