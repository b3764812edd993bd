"""The images a reduction looks at: those of the archive, then those it must not show."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.config.reduce import Shown
from medssl.data.shown import ShownImages
from medssl.thinning import scoping
from medssl.thinning.chains import Link

Read = Callable[[int, int], Iterable[Any]]  # the items of images start to stop
Features = Callable[[Path, pa.Table], NDArray[np.float32]]  # of some images of an archive
COLUMN = {"series": "series_key", "patient": "patient_key", "site": "site", "archive": None}


@dataclass(frozen=True)
class Images:
    """Rows of one or several archives, numbered through."""

    archives: Sequence[Path]
    tables: Sequence[pa.Table]  # rows of their images.parquet

    @property
    def table(self) -> pa.Table:
        """Rows of the archive that is reduced."""
        return self.tables[0]

    @property
    def n(self) -> int:
        """Number of images of all archives."""
        return sum(table.num_rows for table in self.tables)

    def shown(self, how: Shown) -> list[ShownImages]:
        """Return the images of each archive as strategies see them."""
        return [
            ShownImages(archive, table, how.window_hu, mask=how.mask)
            for archive, table in zip(self.archives, self.tables, strict=True)
        ]

    def read(self, link: Link, within: str, shown: Shown, features: Features | None) -> Read:
        """Return what gives a strategy the items it needs, from any thread."""
        needs = link.needs
        if needs == "pixels":
            return self._pixels(shown)
        if needs == "features":
            assert features is not None
            return self._features(features)
        items = self._column({"ids": "image_id", "digests": "pixel_sha256"}.get(needs), within)
        return lambda start, stop: items[start:stop]

    def _column(self, name: str | None, within: str) -> list[Any]:
        if name is not None:
            return [item for table in self.tables for item in table[name].to_pylist()]
        return [int(place) for table in self.tables for place in _positions(table, within)]

    def _pixels(self, shown: Shown) -> Read:
        parts = self.shown(shown)

        def read(start: int, stop: int) -> Iterable[Any]:
            for part, first, last in _cut([len(part) for part in parts], start, stop):
                yield from parts[part].of(range(first, last))

        return read

    def _features(self, features: Features) -> Read:
        def read(start: int, stop: int) -> Iterable[Any]:
            for part, first, last in _cut([t.num_rows for t in self.tables], start, stop):
                some = self.tables[part].slice(first, last - first)
                yield from features(self.archives[part], some)

        return read


def scopes_of(table: pa.Table, within: str) -> list[NDArray[np.int64]]:
    """Return the row numbers of every series, patient or site, or of all images."""
    column = COLUMN[within]
    return scoping.rows_of(table[column].to_pylist() if column else None, table.num_rows)


def _positions(table: pa.Table, within: str) -> NDArray[np.int64]:
    """Return the place of every image in its scope, from 0."""
    places = np.zeros(table.num_rows, dtype=np.int64)
    for rows in scopes_of(table, within):
        places[rows] = np.arange(len(rows))
    return places


def _cut(sizes: Sequence[int], start: int, stop: int) -> Iterable[tuple[int, int, int]]:
    """Yield which part, and from where to where in it, for items numbered through all parts."""
    offset = 0
    for part, size in enumerate(sizes):
        first, last = max(0, start - offset), min(size, stop - offset)
        if first < last:
            yield part, first, last
        offset += size
