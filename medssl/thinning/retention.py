"""What a reduction keeps of whom: images and patients before and after, stratum by stratum.

A stratum is marked where it loses more than all images together, and more than a random selection
of the same size would take from it by chance. Only the draw is random in that, so that it does not
matter that images of a patient resemble each other; of other patients it says nothing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.stats import hypergeom

COLUMNS = ("label", "site", "modality", "body_part", "scanner", "sex", "age_band")
LOWER_BY = 0.10  # a share kept that is so much lower than that of all images is marked,
LOWER_TIMES = 2  # as is one of less than half
LEAST_IMAGES = 20  # of a marked stratum
CHANCE = 0.001  # share of random selections of the same size that keep as few or fewer of it
MOST_VALUES = 50  # of a column; smaller ones are put together
BINS = 10  # of the share that a patient or a series keeps
QUANTILES = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Images that have a value in common."""

    column: str  # one of `COLUMNS`
    target: str | None  # of a label
    value: str | None  # None: not stated; of a label: unlabelled
    n_values: int  # more than 1: so many rare values together, and `value` is None
    images: int  # of the pool
    images_kept: int
    images_left_out: int  # not in the pool
    patients: int  # with an image in the pool
    patients_kept: int  # with an image that is kept
    is_low: bool  # it keeps a smaller share than all images together

    @property
    def share(self) -> float | None:
        """Share of the images that is kept; None where all were left out."""
        return self.images_kept / self.images if self.images else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The share of its images that each patient, or each series, keeps."""

    n: int  # with an image in the pool
    n_without: int  # of them without an image that is kept
    quantiles: Mapping[str, float]  # not interpolated
    counts: tuple[int, ...]  # in `BINS` bins of equal width from 0 to 1


def strata(table: pa.Table, labels: pa.Table, kept: Mask, pool: Mask) -> tuple[Stratum, ...]:
    """Return what is kept of every value of every column that has one.

    Args:
        table: Rows of images.parquet.
        labels: Rows of labels.parquet.
        kept: Which images are kept, shape (N,).
        pool: Which images could have been, shape (N,).
    """
    counted = _Counted(numbers(table["patient_key"]), kept, pool)
    found = [row for target, column in _labels(table, labels)
             for row in counted.by("label", target, column)]  # fmt: skip
    for name in COLUMNS[1:]:
        column = _scanners(table) if name == "scanner" else table[name]
        if column.null_count < len(column):
            found += counted.by(name, None, column)
    return tuple(found)


def groups(table: pa.Table, key: str, kept: Mask, pool: Mask) -> pa.Table:
    """Return for every patient or series how many images it has and keeps, in archive order.

    Args:
        table: Rows of images.parquet.
        key: `patient_key` or `series_key`.
        kept: Which images are kept, shape (N,).
        pool: Which images could have been, shape (N,).

    Returns:
        The columns `patient_key`, `series_key` where asked for, `images` (of the pool),
        `images_kept` and `images_left_out`.
    """
    number = numbers(table[key])
    n = int(number.max(initial=-1)) + 1
    _, first = np.unique(number, return_index=True)
    names = {name: table[name].take(first) for name in dict.fromkeys(("patient_key", key))}
    counts = {
        name: np.bincount(number[mask], minlength=n).astype(np.int32)
        for name, mask in (("images", pool), ("images_kept", kept), ("images_left_out", ~pool))
    }
    return pa.table({**names, **counts})


def shares(grouped: pa.Table) -> Shares:
    """Return how the shares kept are spread over patients or series.

    Args:
        grouped: As returned by `groups`; what has no image in the pool does not count.
    """
    images, kept = (grouped[name].to_numpy().astype(np.int64) for name in ("images", "images_kept"))
    images, kept = images[images > 0], kept[images > 0]
    place = np.minimum(BINS - 1, BINS * kept // np.maximum(1, images))
    return Shares(
        n=len(images),
        n_without=int((kept == 0).sum()),
        quantiles=quantiles(kept / images),
        counts=tuple(np.bincount(place, minlength=BINS).tolist()),
    )


def quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    """Return values that occur, from the least to the most; nothing of nothing."""
    if not len(values):
        return {}
    found = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf")
    return dict(zip(QUANTILES, found.tolist(), strict=True))


def numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a number for every value, from 0 in the order they come; null counts as a value."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices.to_numpy(), dtype=np.int64)


class _Counted:
    """The images of a reduction, to be counted by one column after the other."""

    def __init__(self, patient: NDArray[np.int64], kept: Mask, pool: Mask) -> None:
        self._patient, self._kept, self._pool = patient, kept, pool
        self._n_kept, self._n = int(kept.sum()), int(pool.sum())

    def by(self, column: str, target: str | None, values: pa.ChunkedArray) -> Iterator[Stratum]:
        """Yield the strata of a column, rare values put together at the end."""
        number = numbers(values)
        _, first = np.unique(number, return_index=True)
        names: list[str | None] = values.take(first).to_pylist()
        size = np.bincount(number)
        order = sorted(range(len(names)), key=lambda k: _place(column, names[k], int(size[k])))
        by_size = sorted(order, key=lambda k: -size[k])
        shown = set(by_size[:MOST_VALUES] if len(by_size) > MOST_VALUES + 1 else by_size)
        alone = [k for k in order if k in shown]
        code = np.full(len(names), len(alone))
        code[alone] = np.arange(len(alone))
        n_rare = len(names) - len(alone)
        for n, counts in enumerate(self._counts(code[number], len(alone) + bool(n_rare))):
            is_rare = n == len(alone)
            yield Stratum(
                column=column,
                target=target,
                value=None if is_rare else names[alone[n]],
                n_values=n_rare if is_rare else 1,
                **counts,
                is_low=self._is_low(counts["images_kept"], counts["images"]),
            )

    def _counts(self, code: NDArray[np.int64], n: int) -> list[dict[str, int]]:
        """Return the counts of each of ``n`` strata."""
        columns = {
            "images": np.bincount(code[self._pool], minlength=n),
            "images_kept": np.bincount(code[self._kept], minlength=n),
            "images_left_out": np.bincount(code[~self._pool], minlength=n),
            "patients": self._patients(code, self._pool, n),
            "patients_kept": self._patients(code, self._kept, n),
        }
        return [{name: int(column[k]) for name, column in columns.items()} for k in range(n)]

    def _patients(self, code: NDArray[np.int64], mask: Mask, n: int) -> NDArray[np.int64]:
        n_patients = int(self._patient.max(initial=0)) + 1
        pairs = np.unique(code[mask] * n_patients + self._patient[mask])
        return np.bincount(pairs // n_patients, minlength=n)

    def _is_low(self, kept: int, images: int) -> bool:
        if images < LEAST_IMAGES:
            return False
        expected = self._n_kept / self._n * images
        if kept >= expected - LOWER_BY * images and LOWER_TIMES * kept >= expected:
            return False
        return float(hypergeom.cdf(kept, self._n, self._n_kept, images)) < CHANCE


def _labels(table: pa.Table, labels: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield every target with its value for each image, null where it has none."""
    for target in sorted(pc.unique(labels["target"]).to_pylist()):
        some = labels.filter(pc.equal(labels["target"], target))
        place = pc.index_in(table["image_id"], value_set=some["image_id"].combine_chunks())
        column = some["value"].take(place)
        if column.null_count < len(column):
            yield target, column


def _scanners(table: pa.Table) -> pa.ChunkedArray:
    """Return manufacturer and model in one word, null where neither is stated."""
    both = (pc.fill_null(table[name], "") for name in ("manufacturer", "model"))
    joined = pc.utf8_trim_whitespace(pc.binary_join_element_wise(*both, " "))
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined)


def _place(column: str, value: str | None, size: int) -> tuple[Any, ...]:
    """Return what sorts values: ages by age, all else by the number of images; nulls last."""
    if column == "age_band":
        years = re.match(r"\d+", value or "")
        return (value is None, int(years[0]) if years else 1000, value or "")
    return (value is None, -size, value or "")
