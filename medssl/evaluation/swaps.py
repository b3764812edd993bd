"""Two models of the same patients: could their difference come from swapping their scores?

If two models are equally good, it does not matter which score of a patient came from which. So the
scores of all units of a patient are swapped together, in half of the patients by chance, and the
difference found is ranked among those of swapped scores. Like the interval beside it, this takes
the fitted models as given. Nothing is resampled over folds, which share training patients.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medssl.evaluation import assessment
from medssl.evaluation.metrics import Floats, Metric
from medssl.evaluation.units import Ints, Units

CHUNK = 4_000_000  # signs held at once, 32 MB
_TIE = 1e-9  # relative: differences this close are the same
_OF_RANKS = ("average_precision", "spearman")  # the same for any scale of the scores


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
    columns: tuple[int | None, ...],
    swaps: int,
    rng: np.random.Generator,
) -> Swapped:
    """Return the two-sided p-value of the difference of a metric between two models.

    The AUROC is a sum over patients whose signs the swaps flip (Bandos, Rockette & Gur, Stat Med
    2005;24:2873), so thousands of swaps are one product of matrices. What ranks scores is taken
    from the ranks of each model, as two models need not share a scale (Venkatraman & Begg,
    Biometrika 1996;83:835); probabilities, amounts and classes are swapped as they are. With few
    patients every swap is looked at; otherwise the difference found counts as one of them, so that
    the p-value is never 0.

    Args:
        metric: A larger and a smaller value both count as a difference; it needs no threshold.
        ours: Scores of one model, of the units of both.
        theirs: Scores of the other model, of the same units in the same order.
        columns: Which columns, None for all together as in `assessment.Measured`; a value is the
            mean over them.
        swaps: How many to draw, where not all of them are fewer.
        rng: The only source of randomness; draws for every patient, whether or not models differ.
    """
    if metric.name == "auroc":
        both = [_of_auroc(ours, theirs, k) for k in columns if k is not None]
        parts = np.mean(both, axis=0)  # (U,)
        of_patient = np.bincount(ours.patient, weights=parts, minlength=ours.n_patients)
        of_patient[np.abs(of_patient) < _TIE / len(parts)] = 0  # rounding
        differ = of_patient != 0
        signs = _signs(differ, swaps, rng)
        drawn = np.concatenate([sign @ of_patient[differ] for sign in signs])
        return _told(float(of_patient.sum()), drawn, int(differ.sum()), swaps)
    pairs = [_pair(metric, ours, theirs, k) for k in columns]
    differ = np.zeros(ours.n_patients, dtype=bool)
    for pair in pairs:
        differ[pair.patient[pair.ours != pair.theirs]] = True
    found = _difference(metric, pairs)
    drawn = np.array(
        [
            _difference(metric, _exchanged(pairs, differ, row))
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


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """What two models say of the units that have a label in a column; each (N,)."""

    truth: Floats
    ours: Floats
    theirs: Floats
    patient: Ints


def _pair(metric: Metric, ours: Units, theirs: Units, column: int | None) -> _Pair:
    _, truth, one, known = assessment.prepared(ours, column, metric, None)
    _, _, other, _ = assessment.prepared(theirs, column, metric, None)
    if metric.name in _OF_RANKS:
        one, other = midranks(one), midranks(other)
    patient = ours.patient if known is None else ours.patient[known]
    return _Pair(truth=truth, ours=one, theirs=other, patient=patient)


def _difference(metric: Metric, pairs: Sequence[_Pair]) -> float:
    values = [
        float(metric.compute(pair.truth, pair.ours) - metric.compute(pair.truth, pair.theirs))
        for pair in pairs
    ]
    return float(np.mean(values))


def _exchanged(pairs: Sequence[_Pair], differ: NDArray[np.bool_], sign: Floats) -> list[_Pair]:
    flipped = np.zeros(len(differ), dtype=bool)
    flipped[differ] = sign < 0
    return [
        replace(
            pair,
            ours=np.where(flipped[pair.patient], pair.theirs, pair.ours),
            theirs=np.where(flipped[pair.patient], pair.ours, pair.theirs),
        )
        for pair in pairs
    ]


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
    rounding = _TIE * 1e-3 * np.fmax.reduce(np.abs(drawn), initial=1)
    nearer = np.abs(drawn) < abs(found) * (1 - _TIE) - rounding
    as_far = ~nearer  # a swap without a value counts as far, and so speaks for chance
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
