"""Labels drawn by lot: with nothing to learn, a pipeline that still scores is one that leaks.

A random label of a patient can only be told by who has met that patient. Where a patient is on both
sides of a split, a model recognises the patient and scores above chance (Yagis et al. 2021, Sci Rep
11:22544: 96 % accuracy on random labels under a split by slice). Features are those of each fold's
own frozen encoder, as it was trained with the true labels.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation import intervals
from medssl.evaluation.controls import strata
from medssl.evaluation.controls.sides import Bools, Ints, Sides
from medssl.evaluation.controls.verdicts import Verdict, not_assessed
from medssl.evaluation.metrics import Floats

SHUFFLES = 200
_LEAST = 0.02  # above chance, below which a mean of shuffles is no finding
_ERRORS = 3  # standard errors of that mean
_CHANCE = 0.5
Features = Iterable[tuple[int, NDArray[np.float32]]]  # fold, and (N, D) by its encoder


def shuffled(label: Ints, patient: Ints, fold: Ints, rng: np.random.Generator) -> Ints:
    """Return labels with whole patients exchanged.

    Patients of one fold are exchanged within it, so that every training part keeps its share of
    positives; those in several folds, as a leaky split has them, among themselves.

    Args:
        label: Shape (N, K).
        patient: Shape (N,); number of the patient of each row, every one from 0 there is.
        fold: Shape (N,); fold that tests the row.
        rng: The only source of randomness.

    Returns:
        Shape (N, K). A patient with more rows than the one its labels come from repeats them.
    """
    order = np.argsort(patient, kind="stable")
    size = np.bincount(patient)
    start = np.cumsum(size) - size
    rank = np.empty(len(patient), dtype=np.int64)
    rank[order] = np.arange(len(patient)) - np.repeat(start, size)
    source = np.arange(len(size))
    held = _fold_of(patient, fold, len(size))
    for name in np.unique(held):
        members = np.flatnonzero(held == name)
        source[members] = rng.permutation(members)
    other = source[patient]
    return np.asarray(label[order[start[other] + rank % size[other]]])


def _fold_of(patient: Ints, fold: Ints, n: int) -> Ints:
    """Return the fold of each patient, one beyond all for those in several."""
    lowest, highest = np.full(n, fold.max() + 1), np.full(n, fold.min())
    np.minimum.at(lowest, patient, fold)
    np.maximum.at(highest, patient, fold)
    return np.where(lowest == highest, lowest, fold.max() + 1)


def linear_scores(features: Floats, train: Bools, test: Bools, label: Floats) -> Floats:
    """Return what a penalised logistic regression says after its first Newton step from nought.

    It shares one matrix among all label columns, so hundreds of shuffles cost as much as one.

    Args:
        features: Shape (N, D).
        train: Shape (N,).
        test: Shape (N,).
        label: Shape (N, M), 0 or 1.

    Returns:
        Log odds of the M labels in the test rows, shape (n_test, M).
    """
    known = features[train]
    middle, spread = known.mean(axis=0), known.std(axis=0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-8)
    x, seen = (known - middle) * scale, (features[test] - middle) * scale
    share = label[train].mean(axis=0)
    away = label[train] - share
    if x.shape[1] <= len(x):
        weight = np.linalg.solve(x.T @ x / 4 + np.eye(x.shape[1]), x.T @ away)
    else:
        weight = x.T @ np.linalg.solve(x @ x.T / 4 + np.eye(len(x)), away)
    return np.asarray(seen @ weight + 4 * (share - _CHANCE))


def aurocs(
    features: Features, label: Ints, patient: Ints, sides: Sides, rng: np.random.Generator
) -> tuple[float, Floats]:
    """Return the AUROC of the true labels, and those of every shuffle, in the first repeat.

    Pairs are compared within a fold; several classes are each taken against the rest, and averaged.

    Args:
        features: Fold after fold, in any order.
        label: Shape (N, K), 0 or 1.
        patient: Shape (N,), from 0.
        sides: Of the N rows.
        rng: The only source of randomness.
    """
    fold = sides.tested[0]
    drawn = [label, *(shuffled(label, patient, fold, rng) for _ in range(SHUFFLES))]
    every = np.stack(drawn, axis=1).astype(np.float64)  # (N, S, K)
    scores = np.full(every.shape, np.nan)
    for number, found in features:
        test, train = sides.test(0, number), sides.train(0, number)
        flat = every.reshape(len(every), -1)
        said = linear_scores(found.astype(np.float64), train, test, flat)
        scores[test] = said.reshape(-1, *every.shape[1:])
    seen = np.isfinite(scores[:, 0, 0])
    values = np.array(
        [
            np.mean([strata.auroc(every[seen, s, k], scores[seen, s, k], fold[seen])
                     for k in range(label.shape[1])])
            for s in range(every.shape[1])
        ]
    )  # fmt: skip
    return float(values[0]), values[1:]


def judge(true: float, values: Floats, level: float) -> Verdict:
    """Return whether labels drawn by lot can be predicted.

    Args:
        true: AUROC of the true labels by the same models.
        values: AUROC of every shuffle, shape (S,).
        level: Of the range of shuffles that has to hold chance.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return not_assessed("label_shuffle", "no fold has patients of both classes")
    found = intervals.percentile(values, level)
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    above = mean > _CHANCE + max(_LEAST, _ERRORS * error)
    leaks, off = found.low > _CHANCE, found.high < _CHANCE
    text = f"AUROC {mean:.3f} with labels drawn by lot ({found.low:.3f} to {found.high:.3f} over "
    text += f"{len(values)} shuffles of patients)"
    if leaks:
        text += ": models recognise patients, something is on both sides"
    elif above:
        text += ": a little above chance, something may be on both sides"
    elif off:
        text += ": below chance, the folds are too small to tell"
    return Verdict(
        name="label_shuffle",
        light="fail" if leaks else "warn" if above or off else "pass",
        said=text,
        value=mean,
        low=found.low,
        high=found.high,
        details={"shuffles": len(values), "true_labels": true},
    )
