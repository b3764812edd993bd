"""An external test beside the cross-validation of the same models: how much is lost elsewhere.

Where the two are of different patients, resamples of one say nothing of the other: their difference
is taken resample by resample, each drawn for itself. Where patients are in both, as those that the
run held out of all its models, nothing is put beside each other. Predictions of the
cross-validation are of one model each (averaged over repeats), those of the external test are the
mean of all models, which alone can make them better: so each model is judged by itself as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medssl.evaluation import assessment, intervals, metrics, recalibrated, thresholds
from medssl.evaluation.assessment import Estimate, Measured
from medssl.evaluation.intervals import Draws
from medssl.evaluation.judged import Judged
from medssl.evaluation.thresholds import FoldThreshold, Target
from medssl.evaluation.units import NO_FOLD, Units
from medssl.foundation import seeding
from medssl.foundation.errors import DataError

COMPARED = ("auroc", "mae", "spearman")  # that neither the share of a class nor calibration moves


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A metric in the cross-validation and in the external test."""

    metric: str
    title: str
    column: str
    internal: float
    internal_low: float
    internal_high: float
    external: float
    external_low: float
    external_high: float
    difference: float  # external minus internal
    difference_low: float
    difference_high: float
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class Alone:
    """The AUROC of every model by itself in the external test."""

    column: str
    lowest: float
    mean: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """What became of a run in other patients than those of its own test parts."""

    internal_patients: int
    internal_units: int
    internal_kind: str  # what a unit was there: patient or image
    rows: tuple[Beside, ...]  # empty where some patients are in both
    alone: tuple[Alone, ...]  # empty of amounts


def find(judged: Judged, draws: Draws, estimates: Sequence[Estimate]) -> Elsewhere | None:
    """Return the external test beside the cross-validation, or None where it is none.

    Args:
        judged: The external test, with the run's own predictions.
        draws: Resamples of its patients.
        estimates: Of it, as the report has them.
    """
    own = judged.internal
    if own is None:
        return None
    settings = judged.settings
    rng = seeding.rng(settings.seed, "evaluate", "internal")
    drawn = intervals.draw_both(own.units.stratum, settings.draws, rng)
    chosen = intervals.choose(settings.intervals, settings.draws, own.units.n_patients)
    inside = assessment.measure(own.units, drawn, leave_out=chosen.method == "bca")
    outside = assessment.measure(judged.units, draws)
    known = {(one.metric, one.column): one for one in estimates}
    tested = judged.source.external
    shared = tested is not None and bool(tested.shared_patients)
    return Elsewhere(
        internal_patients=own.units.n_patients,
        internal_units=len(own.units.truth),
        internal_kind=own.units.kind,
        rows=() if shared else tuple(_rows(inside, outside, known, settings.level)),
        alone=_alone(judged.rebuilt(judged.each)) if judged.each is not None else (),
    )


def _rows(
    inside: Measured,
    outside: Measured,
    known: dict[tuple[str, str], Estimate],
    level: float,
) -> list[Beside]:
    there = _comparable(inside, outside)
    found = []
    for n, one in enumerate(assessment.estimates(inside, level)):
        key = (one.metric, one.column)
        if key not in there:
            continue
        other, k = known[key], there[key]
        apart = intervals.percentile(outside.drawn[:, k] - inside.drawn[:, n], level)
        better = inside.rows[n][1].higher_is_better
        assert better is not None  # none of them is best at an ideal
        found.append(
            Beside(
                metric=one.metric,
                title=one.title,
                column=one.column,
                internal=one.value,
                internal_low=one.low,
                internal_high=one.high,
                external=other.value,
                external_low=other.low,
                external_high=other.high,
                difference=other.value - one.value,
                difference_low=apart.low,
                difference_high=apart.high,
                higher_is_better=better,
            )
        )
    return found


def _comparable(inside: Measured, outside: Measured) -> dict[tuple[str, str], int]:
    """Return the rows of the external test that both have a value of, by metric and column.

    An average over other classes is another number: it is none of them where one class is absent.
    """
    known: list[dict[tuple[str, str], int]] = [
        {
            (metric.name, measured.column(n)): n
            for n, (_, metric) in enumerate(measured.rows)
            if metric.name in COMPARED and np.isfinite(measured.found[n])
        }
        for measured in (inside, outside)
    ]
    shared = {key: n for key, n in known[1].items() if key in known[0]}
    if known[0].keys() == known[1].keys():
        return shared
    return {key: n for key, n in shared.items() if key[1] != assessment.MACRO}


def _alone(units: Units) -> tuple[Alone, ...]:
    """Return how the models differ, of units with a repeat for each model."""
    if units.task == "regression":
        return ()
    found = []
    for k, name in enumerate(units.columns):
        part = units.only(k)
        if not (part.patients_with(0) and part.patients_without(0)):
            continue
        values = [
            float(metrics.auroc(part.truth[:, 0], part.by_repeat[:, number, 0]))
            for number in range(part.n_repeats)
        ]
        low, high = float(np.min(values)), float(np.max(values))
        found.append(Alone(column=name, lowest=low, mean=float(np.mean(values)), highest=high))
    return tuple(found)


def choose(judged: Judged, target: Target) -> tuple[FoldThreshold, ...]:
    """Return the threshold of each model, for scores as it is calibrated.

    The mean of calibrated scores is not the calibrated mean: so each inner image goes through the
    calibrator of its model first, and then they become units as those of the external test.

    Args:
        judged: The external test, with the run's own predictions.
        target: What is to be reached.

    Raises:
        DataError: The inner parts do not allow a threshold, or none for such units.
    """
    own, like = judged.internal, judged.units
    assert own is not None  # or it were no external test
    if not own.units.grouped and like.kind == "patient":
        if like.n_images > len(like.truth):
            raise DataError(
                "patients are judged here, and the run does not know its own: no threshold for "
                "the score of a patient can be chosen on them",
                where=own.where,
                fix="give a --threshold fixed beforehand, or fine-tune with --group patient",
            )
        like = replace(like, kind="image")
    return thresholds.choose(
        calibrated(own),
        like,
        target,
        aggregate=judged.settings.aggregate,
        where=own.where,
        distinct=True,
    )


def calibrated(own: Judged) -> pa.Table:
    """Return the predictions of a run, those of inner parts calibrated image by image."""
    fitted = recalibrated.fitted(own.table, own.source.run) or {}
    test = own.table.filter(pc.equal(own.table["part"], "test"))
    return pa.concat_tables([test, recalibrated.apply(own.table, fitted, "inner")])


def together(models: Sequence[FoldThreshold]) -> FoldThreshold:
    """Return the threshold of all models together: the median of theirs.

    It is robust to the one model whose inner part was odd. That a new positive reaches it with the
    probability declared is true of each model and its own threshold, and not proven of the mean
    score and the median threshold.
    """
    names = ("threshold", "inner_sensitivity", "inner_specificity")
    return FoldThreshold(
        repeat=0,
        fold=NO_FOLD,
        inner_positives=min(one.inner_positives for one in models),
        inner_negatives=min(one.inner_negatives for one in models),
        inner_mixed=max(one.inner_mixed for one in models),
        **{name: float(np.median([getattr(one, name) for one in models])) for name in names},
    )
