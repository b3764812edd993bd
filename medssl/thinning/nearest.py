"""The most similar of some images, found in blocks and decided without rounding errors."""

import numpy as np
from numpy.typing import NDArray

from medssl.thinning.metrics import Metric, Rows


class Nearest:
    """For every row the most similar image offered so far; of equals, the one offered first.

    Args:
        metric: Says how alike two images are.
        floor: Images less similar than this are not taken.
    """

    def __init__(self, metric: Metric, floor: float) -> None:
        n = len(metric.descriptors)
        self._metric = metric
        self._floor = floor
        self.similarity = np.full(n, -np.inf)  # exact; -inf: none was similar enough
        self.row = np.full(n, -1, dtype=np.int64)

    def offer(self, rows: Rows, among: Rows, allowed: NDArray[np.bool_] | None = None) -> None:
        """Compare ``rows`` with the images ``among``.

        Args:
            rows: Row numbers, each at most once.
            among: Row numbers, in the order in which they are preferred.
            allowed: Shape (rows, among): which pairs count; all where None.
        """
        size = self._metric.block
        for first in range(0, len(rows), size):
            block, start = rows[first : first + size], 0
            for tile in self._metric.tiles(among):
                table = self._metric.table(block, tile)
                if allowed is not None:
                    inside = allowed[first : first + size, start : start + len(tile)]
                    table = np.where(inside, table, -np.inf)
                self._take(block, tile, table)
                start += len(tile)

    def offer_pairs(self, rows: Rows, place: Rows, names: Rows) -> None:
        """Compare some pairs, exactly.

        Args:
            rows: Row numbers, each at most once.
            place: Which of them each pair is about.
            names: The other image of each pair, for one row in the order in which they are
                preferred.
        """
        values = self._metric.exact(rows[place], names)
        best = np.lexsort((np.arange(len(place)), -values, place))
        best = best[np.unique(place[best], return_index=True)[1]]  # the first of each row
        self._improve(rows[place[best]], names[best], values[best])

    def _take(self, rows: Rows, tile: Rows, table: NDArray[np.floating]) -> None:
        error = self._metric.error
        top = table.max(axis=1)
        bound = np.maximum(self.similarity[rows], self._floor) - error
        some = np.flatnonzero(top >= bound)
        if not len(some):
            return
        if not error:
            self._improve(rows[some], tile[table[some].argmax(axis=1)], top[some].astype(float))
            return
        some = self._take_copies(rows, tile, table, some)
        candidates = table[some] >= np.maximum(bound[some], top[some] - 2 * error)[:, None]
        place, column = np.nonzero(candidates)
        self.offer_pairs(rows[some], place, tile[column])

    def _take_copies(self, rows: Rows, tile: Rows, table: NDArray[np.floating], some: Rows) -> Rows:
        """Take images that are equal, of which there may be thousands; return the other rows.

        The first that is nearly so is the first that can be: nothing is more similar.
        """
        nearly = table[some] >= 1 - self._metric.error
        has = np.flatnonzero(nearly.any(axis=1))
        first = nearly[has].argmax(axis=1)
        value = self._metric.exact(rows[some[has]], tile[first])
        is_copy = value == 1.0
        self._improve(rows[some[has[is_copy]]], tile[first[is_copy]], value[is_copy])
        return np.delete(some, has[is_copy])

    def _improve(self, rows: Rows, names: Rows, values: NDArray[np.float64]) -> None:
        better = (values >= self._floor) & (values > self.similarity[rows])
        self.similarity[rows[better]] = values[better]
        self.row[rows[better]] = names[better]
