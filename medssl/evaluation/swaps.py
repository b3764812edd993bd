"""Two models of the same patients: could their difference come from swapping their scores?

If two models are equally good, it does not matter which score of a patient came from which. So the
scores of all units of a patient are swapped together, in half of the patients by chance, and the
difference found is ranked among those of swapped scores. Like the interval beside it, this takes
the fitted models as given. Nothing is resampled over folds, which share training patients.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation.metrics import Floats, Metric
from medssl.evaluation.units import Ints, Units

CHUNK = 4_000_000  # signs held at once, 32 MB
_TIE = 1e-9  # relative: differences this close are the same


@dataclass(frozen=True, kw_only=True)
class Swapped:
    """What swapping the scores of patients says about a difference."""

    value: float  # as found: ours minus theirs
    p: float  # share of swaps with a difference at least as far from 0
    smallest_p: float  # that any scores of these patients could reach
    exact: bool  # every swap was looked at
    swaps: int  # how many were
    patients: int  # in whom the models differ; to swap the others changes nothing


def swapped(
    metric: Metric,
    ours: Units,
    theirs: Units,
    columns: tuple[int, ...],
    swaps: int,
    rng: np.random.Generator,
) -> Swapped:
    """Return the two-sided p-value of the difference of a metric between two models.

    The AUROC is a sum over patients whose signs the swaps flip (Bandos, Rockette & Gur, Stat Med
    2005;24:2873), so thousands of swaps are one product of matrices. What ranks scores is taken
    from the ranks of each model, as two models need not share a scale (Venkatraman & Begg,
    Biometrika 1996;83:835). With few patients every swap is looked at; otherwise the difference
    found counts as one of them, so that the p-value is never 0.

    Args:
        metric: A larger and a smaller value both count as a difference.
        ours: Scores of one model, of the units of both.
        theirs: Scores of the other model, of the same units in the same order.
        columns: Which columns; a value is the mean over them.
        swaps: How many to draw, where not all of them are fewer.
        rng: The only source of randomness; draws for every patient, whether or not models differ.
    """
    if metric.name == "auroc":
        parts = np.mean([_of_auroc(ours, theirs, k) for k in columns], axis=0)  # (U,)
        of_patient = np.bincount(ours.patient, weights=parts, minlength=ours.n_patients)
        of_patient[np.abs(of_patient) < _TIE / len(parts)] = 0  # rounding
        differ = of_patient != 0
        signs = _signs(differ, swaps, rng)
        drawn = np.concatenate([sign @ of_patient[differ] for sign in signs])
        return _told(float(of_patient.sum()), drawn, int(differ.sum()), swaps)
    pairs = [_comparable(metric, ours, theirs, k) for k in columns]  # each two of (U,)
    differ = np.zeros(ours.n_patients, dtype=bool)
    for one, other in pairs:
        differ[ours.patient[one != other]] = True
    found = _difference(metric, ours, columns, pairs)
    drawn = np.array(
        [
            _difference(metric, ours, columns, _exchanged(pairs, ours.patient, differ, row))
            for sign in _signs(differ, swaps, rng)
            for row in sign
        ]
    )
    return _told(found, drawn, int(differ.sum()), swaps)


def midranks(score: Floats) -> Floats:
    """Return the rank of each score over their number, shape (U,); equal ones share the middle."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place] / len(score))


def _of_auroc(ours: Units, theirs: Units, column: int) -> Floats:
    """Return what each unit adds to the difference of AUROCs, shape (U,); a swap flips its sign.

    A positive adds how much further it is above the negatives of both models by our score than by
    theirs, a negative how much further below the positives of both. One without a label adds 0.
    """
    truth = ours.truth[:, column]
    positive, negative = truth == 1, truth == 0
    parts, labelled = np.zeros(len(truth)), positive | negative
    one, other = (np.full(len(truth), np.nan) for _ in range(2))
    one[labelled] = midranks(ours.score[labelled, column])
    other[labelled] = midranks(theirs.score[labelled, column])
    for members, others, sign in ((positive, negative, 1), (negative, positive, -1)):
        pool = np.sort(np.r_[one[others], other[others]])
        further = _below(pool, one[members]) - _below(pool, other[members])
        parts[members] = sign * further / members.sum()
    return parts


def _below(pool: Floats, values: Floats) -> Floats:
    """Return the share of a sorted pool below each value; equal ones count half."""
    left, right = (np.searchsorted(pool, values, side) for side in ("left", "right"))
    return np.asarray((left + right) / (2 * len(pool)))


def _comparable(metric: Metric, ours: Units, theirs: Units, column: int) -> tuple[Floats, Floats]:
    scores = (ours.score[:, column], theirs.score[:, column])
    if metric.needs_probability:
        return scores
    return midranks(scores[0]), midranks(scores[1])


def _difference(
    metric: Metric, units: Units, columns: tuple[int, ...], pairs: list[tuple[Floats, Floats]]
) -> float:
    values = [
        metric.compute(units.truth[:, k], one) - metric.compute(units.truth[:, k], other)
        for k, (one, other) in zip(columns, pairs, strict=True)
    ]
    return float(np.mean(values))


def _exchanged(
    pairs: list[tuple[Floats, Floats]],
    patient: Ints,
    differ: NDArray[np.bool_],
    sign: Floats,
) -> list[tuple[Floats, Floats]]:
    flipped = np.zeros(len(differ), dtype=bool)
    flipped[differ] = sign < 0
    swap = flipped[patient]
    return [(np.where(swap, b, a), np.where(swap, a, b)) for a, b in pairs]


def _signs(differ: NDArray[np.bool_], swaps: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield rows of signs, -1 = swapped, (r, D) for the D patients in whom models differ."""
    count = int(differ.sum())
    if _is_exact(count, swaps):
        number = np.arange(2**count)[:, None]
        yield 1 - 2 * ((number >> np.arange(count)) & 1).astype(np.float64)
        return
    step = max(1, CHUNK // len(differ))
    for start in range(0, swaps, step):
        rows = min(step, swaps - start)
        drawn = rng.integers(0, 2, size=(rows, len(differ)), dtype=np.int8)
        yield 1 - 2 * drawn[:, differ].astype(np.float64)


def _is_exact(count: int, swaps: int) -> bool:
    return bool(2**count <= swaps)


def _told(found: float, drawn: Floats, differ: int, swaps: int) -> Swapped:
    as_far = np.abs(drawn) >= abs(found) * (1 - _TIE) - _TIE * 1e-3
    exact = _is_exact(differ, swaps)
    own = 0 if exact else 1  # all swaps hold the identity
    least = min(1.0, 2.0 ** (1 - differ))  # no swap, and that of everybody, are equally far
    return Swapped(
        value=found,
        p=float((own + as_far.sum()) / (own + len(drawn))),
        smallest_p=least if exact else max(least, 1 / (1 + len(drawn))),
        exact=exact,
        swaps=len(drawn),
        patients=differ,
    )
