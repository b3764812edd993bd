"""Images that look the same and are of different patients: one person under two ids, or a phantom.

An image that looks like images of many patients (a phantom, a blank slice, a template) says
nothing about who they are. It is told apart, and what looks like it is no sign of one person.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.artifacts.aliases import ALIAS, SHARED, Alias
from medssl.thinning.metrics import Metric, Rows
from medssl.thinning.nearest import Nearest

MOST = 3  # other patients an image may look like before it says nothing about who they are
_NOBODY = -1
_AT_ONCE = 2**16  # pairs of images that are looked at together


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """One entry per two patients who share an image, in the order of their images."""

    row: Rows  # of their two most similar images the one that stands earlier
    other: Rows
    similarity: NDArray[np.float64]  # of the two
    n_pairs: NDArray[np.int64]  # pairs of images that speak for it, at least 1
    shared: NDArray[np.bool_]  # whether only images that many patients share speak for it


def find(metric: Metric, rows: Rows, patient: NDArray[np.int64], images: pa.Table) -> list[Alias]:
    """Return the patients who may be one person; blank images speak for nobody.

    Args:
        metric: Its threshold says from when two images look the same.
        rows: Row numbers of the images to compare, each at most once.
        patient: Number of the patient of every image, shape (N,), from 0.
        images: Rows of images.parquet.
    """
    blank = metric.strategy.is_blank(metric.descriptors[rows])
    return to_aliases(pairs(metric, rows[~blank], patient, metric.tau), images, metric)


def pairs(
    metric: Metric, rows: Rows, patient: NDArray[np.int64], tau: float, most: int = MOST
) -> Pairs:
    """Find the patients who have an image that looks like one of another patient.

    An image that looks like images of more than ``most`` other patients is shared. Two patients
    are named for every pair of images that are not; a shared image is named once, beside the most
    similar image of another patient. So there are a few entries per image at most, however many
    patients share one.

    Args:
        metric: Says how alike two images are; its own threshold is not used.
        rows: Row numbers of the images to compare, each at most once.
        patient: Number of the patient of every image, shape (N,), from 0.
        tau: Similarity from which two images look the same.
        most: See above.
    """
    metric, rows = metric.at(tau), np.sort(rows)
    strangers = _strangers(metric, rows, patient, most)
    is_alike, is_shared = strangers[:, 0] != _NOBODY, strangers[:, most] != _NOBODY
    own, shared = _Found(patient), _Found(patient)
    for left, right in _alike(metric, rows[is_alike & ~is_shared], patient):
        own.add(left, right, metric.exact(left, right))
    shared.add(*_nearest(metric, rows[is_shared], rows[is_alike], patient))
    return _together(own, shared)


def to_aliases(found: Pairs, images: pa.Table, metric: Metric) -> list[Alias]:
    """Return what was found by the keys of patients and images.

    Args:
        found: Row numbers count rows of ``images``.
        images: Rows of images.parquet.
        metric: Measured it.
    """
    rows = (images.take(places) for places in (found.row, found.other))
    names = [part[name].to_pylist() for part in rows for name in ("patient_key", "image_id")]
    facts = [column.tolist() for column in (found.n_pairs, found.similarity, found.shared)]
    return [
        Alias(
            patient_key=patient,
            other_patient_key=other_patient,
            n_pairs=n_pairs,
            similarity=similarity,
            metric=metric.name,
            image_id=image,
            other_image_id=other_image,
            kind=SHARED if shared else ALIAS,
        )
        for patient, image, other_patient, other_image, n_pairs, similarity, shared in zip(
            *names, *facts, strict=True
        )
    ]


class _Found:
    """The most similar images of every two patients, and how many pairs of images there are."""

    def __init__(self, patient: NDArray[np.int64]) -> None:
        self._patient = patient
        self._radix = int(patient.max(initial=0)) + 1
        self.best: dict[int, tuple[float, int, int]] = {}  # -similarity, row, other
        self.count: dict[int, int] = {}

    def add(self, row: Rows, other: Rows, similarity: NDArray[np.float64]) -> None:
        """Add pairs of images, each once over all calls; ``row`` stands before ``other``."""
        a, b = self._patient[row], self._patient[other]
        two = np.minimum(a, b) * self._radix + np.maximum(a, b)
        order = np.lexsort((other, row, -similarity, two))
        keys, first, counts = np.unique(two[order], return_index=True, return_counts=True)
        for key, place, n in zip(
            keys.tolist(), order[first].tolist(), counts.tolist(), strict=True
        ):
            pair = (-float(similarity[place]), int(row[place]), int(other[place]))
            self.best[key] = min(self.best.get(key, pair), pair)
            self.count[key] = self.count.get(key, 0) + n


def _together(own: _Found, shared: _Found) -> Pairs:
    """Return what was found; two patients who share an image of their own are named for that."""
    best = shared.best | own.best
    count = shared.count | own.count
    keys = sorted(best, key=lambda key: best[key][1:])
    return Pairs(
        row=np.array([best[key][1] for key in keys], dtype=np.int64),
        other=np.array([best[key][2] for key in keys], dtype=np.int64),
        similarity=np.array([-best[key][0] for key in keys], dtype=np.float64),
        n_pairs=np.array([count[key] for key in keys], dtype=np.int64),
        shared=np.array([key not in own.best for key in keys], dtype=bool),
    )


def _strangers(
    metric: Metric, rows: Rows, patient: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Return the other patients whose images look like each image, as far as they are counted.

    Shape (n, most + 1), filled from the left, the rest `_NOBODY`.
    """
    place = np.zeros(len(patient), dtype=np.int64)
    place[rows] = np.arange(len(rows))
    found = np.full((len(rows), most + 1), _NOBODY)
    is_full = np.zeros(len(patient), dtype=bool)
    for left, right in _alike(metric, rows, patient, is_full):
        images = np.concatenate([left, right])
        _note(found, place[images], patient[np.concatenate([right, left])])
        is_full[images] = found[place[images], most] != _NOBODY
    return found


def _note(found: NDArray[np.int64], images: NDArray[np.int64], whose: NDArray[np.int64]) -> None:
    """Add patients to the images they belong to, each once, as far as there is room."""
    radix = int(whose.max(initial=0)) + 1
    images, whose = np.divmod(np.unique(images * radix + whose), radix)
    is_new = (found[images] != whose[:, None]).all(axis=1)
    images, whose = images[is_new], whose[is_new]
    begin = np.searchsorted(images, images)  # where the entries of the same image begin
    column = (found[images] != _NOBODY).sum(axis=1) + np.arange(len(images)) - begin
    fits = column < found.shape[1]
    found[images[fits], column[fits]] = whose[fits]


def _alike(
    metric: Metric, rows: Rows, patient: NDArray[np.int64], skip: NDArray[np.bool_] | None = None
) -> Iterator[tuple[Rows, Rows]]:
    """Yield the pairs of images of different patients that look the same, a part at a time.

    Args:
        metric: Its threshold decides.
        rows: Row numbers, ascending.
        patient: Number of the patient of every image, shape (N,).
        skip: Shape (N,): two images that are both marked by now are left out.
    """
    for start in range(0, len(rows), metric.block):
        block = rows[start : start + metric.block]
        for tile in metric.tiles(rows[start:]):
            close = metric.close(block, tile)
            step = max(1, _AT_ONCE // len(tile)) if close.any() else len(block)
            for first in range(0, len(block), step):
                some = block[first : first + step]
                wanted = close[first : first + step] & (some[:, None] < tile)
                wanted &= patient[some][:, None] != patient[tile]
                if skip is not None:
                    wanted &= ~(skip[some][:, None] & skip[tile])
                left, right = np.nonzero(wanted)
                if len(left):
                    yield some[left], tile[right]


def _nearest(
    metric: Metric, rows: Rows, among: Rows, patient: NDArray[np.int64]
) -> tuple[Rows, Rows, NDArray[np.float64]]:
    """Return each image with the most similar one of another patient, as in `_Found.add`.

    Two images that are each other's most similar one come once.
    """
    nearest = Nearest(metric, floor=metric.tau)
    for start in range(0, len(rows), metric.block):
        block = rows[start : start + metric.block]
        for tile in metric.tiles(among):
            nearest.offer(block, tile, patient[block][:, None] != patient[tile])
    two = np.sort(np.stack([rows, nearest.row[rows]]), axis=0)
    _, once = np.unique(two[0] * len(patient) + two[1], return_index=True)
    return two[0][once], two[1][once], nearest.similarity[rows][once]
