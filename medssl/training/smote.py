"""SMOTE: new rows between rows of a rare class (Chawla et al., JAIR 2002, arXiv:1106.1813).

Only ever on features of a frozen encoder, of the training part of one fold. Between two pixels
arrays lies no image, and a row made before the split carries a test patient into training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = 5  # as in the paper
_FEWEST = 3  # patients of a class; below it rows are repeated
_CHUNK = 512  # rows whose distances are in memory at once

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Rows that make every class as frequent as the most frequent one."""

    features: Floats  # (S, F)
    label: Floats  # (S,) class number
    parents: Ints  # (S, 2) the rows each lies between; twice the same where a row was repeated


def synthesise(
    features: Floats, label: Floats, patients: Sequence[str], rng: np.random.Generator
) -> Synthetic:
    """Return rows of the rarer classes: x + u (x' - x), u uniform in 0 to 1.

    x' is one of the nearest rows of the class that belong to other patients: two images of one
    patient are near copies, and so would be what lies between them. There are five of them, or one
    fewer than the class has patients. A class of one or two patients has its rows repeated.

    Args:
        features: Shape (N, F), of the training part of a fold, any unit: distances are taken of
            standardised features.
        label: Shape (N,), class number.
        patients: Whose each row is, N keys.
        rng: The only source of randomness.
    """
    owner = np.unique(np.array(patients), return_inverse=True)[1]
    spread = features.std(axis=0)
    even = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    classes, counts = np.unique(label, return_counts=True)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for name, count in zip(classes, counts, strict=True):
        rows = np.flatnonzero(label == name)
        pairs.append(_parents(rows, even[rows], owner[rows], int(counts.max() - count), rng))
    parents = np.concatenate(pairs)
    first, second = features[parents[:, 0]], features[parents[:, 1]]
    share = rng.uniform(size=(len(parents), 1))
    return Synthetic(
        features=first + share * (second - first), label=label[parents[:, 0]], parents=parents
    )


def _parents(
    rows: Ints, even: Floats, owner: Ints, wanted: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return pairs of rows of one class, shape (wanted, 2)."""
    first = rng.integers(len(rows), size=wanted)
    n_patients = len(np.unique(owner))
    if n_patients < _FEWEST:
        return np.stack([rows[first], rows[first]], axis=1)
    near = _nearest(even, owner, min(_NEIGHBOURS, n_patients - 1))
    second = near[first, rng.integers(near.shape[1], size=wanted)]
    return np.stack([rows[first], rows[second]], axis=1)


def _nearest(even: Floats, owner: Ints, count: int) -> Ints:
    """Return the nearest rows of other patients, shape (N, count), nearest first."""
    square = (even**2).sum(axis=1)
    found = []
    for start in range(0, len(even), _CHUNK):
        some = slice(start, start + _CHUNK)
        apart = square[some, None] + square - 2 * even[some] @ even.T
        apart[owner[some, None] == owner] = np.inf
        found.append(np.argsort(apart, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)
