"""What an archive knows of an image besides its pixels, as columns of a regression."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.evaluation.controls.sides import Bools
from medssl.evaluation.metrics import Floats

_WORDS = {
    "site": ("site",),
    "scanner": ("manufacturer", "model"),
    "age band": ("age_band",),
    "sex": ("sex",),
    "view": ("view",),
    "laterality": ("laterality",),
    "body part": ("body_part",),
    "modality": ("modality",),
    "file format": ("transfer_syntax",),
    "image size": ("rows", "columns"),
}
_UNKNOWN = "unknown"
_FEWEST = 2  # rows of a value to be told from others; fewer say nothing about new patients


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact about each of N images: a word, or an amount."""

    name: str
    values: NDArray[np.str_] | Floats  # (N,)

    @property
    def is_amount(self) -> bool:
        """Whether it is a number."""
        return self.values.dtype.kind == "f"

    def design(self, train: Bools) -> Floats:
        """Return it as columns (N, P): one per word of the training rows, or one standardised.

        A word that no training row has is in no column.
        """
        if self.is_amount:
            amounts = self.values.astype(np.float64)
            spread = amounts[train].std()
            away = amounts - amounts[train].mean()
            return np.asarray(away / (spread if spread > 0 else 1.0))[:, None]
        words, counts = np.unique(self.values[train], return_counts=True)
        return np.asarray(self.values[:, None] == words[counts >= _FEWEST], dtype=np.float64)


def read(rows: pa.Table, every: Sequence[str]) -> list[Fact]:
    """Return the facts in which some images differ.

    Args:
        rows: Of `images.parquet`, N of them.
        every: Series key of every image of the archive: how many slices each series has.
    """
    found = [
        Fact(name=name, values=np.array(_texts(rows, columns)))
        for name, columns in _WORDS.items()
        if set(columns) <= set(rows.column_names)
    ]
    slices = Counter(every)
    amounts = {"slices of the series": [slices[key] for key in rows["series_key"].to_pylist()]}
    amounts |= {f"image {name}": rows[name].to_pylist() for name in ("rows", "columns")}
    found += [
        Fact(name=name, values=np.log1p(np.array(numbers, dtype=np.float64)))
        for name, numbers in amounts.items()
    ]
    return [fact for fact in found if len(np.unique(fact.values)) > 1]


def _texts(rows: pa.Table, columns: Sequence[str]) -> list[str]:
    parts = zip(*(rows[name].to_pylist() for name in columns), strict=True)
    return [" ".join(_UNKNOWN if cell is None else str(cell) for cell in cells) for cells in parts]
