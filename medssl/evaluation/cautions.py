"""What a reader must know before believing a number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medssl.evaluation.assessment import Drift, Estimate, are_probabilities
from medssl.evaluation.units import Units

MOST_DRIFT = 0.02  # between pooled AUROC and mean of folds; beyond it the folds' scales differ
FEWEST_PATIENTS = 10  # per class; below it an interval says little


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What is known about how the predictions came to be."""

    synthetic: bool = False
    trial: bool = False  # the run only tried the whole path
    pretrained: bool = False  # the models started from pretrained weights
    overlap: int | None = None  # evaluated patients who were in pretraining; None: not checked


def find(
    units: Units,
    estimates: Sequence[Estimate],
    drifts: Sequence[Drift],
    circumstances: Circumstances,
) -> tuple[str, ...]:
    """Return one sentence per reason for caution, the gravest first."""
    return (
        *_about_origin(units, circumstances),
        *_about_size(units),
        *_about_folds(drifts),
        *_about_resamples(estimates),
    )


def notes(units: Units, circumstances: Circumstances) -> tuple[str, ...]:
    """Return what was left out and why."""
    said = []
    if not are_probabilities(units):
        said.append(
            "Scores outside 0 to 1 are not probabilities: Brier score and calibration are left out"
        )
    if circumstances.pretrained and circumstances.overlap is None:
        said.append("Overlap between these patients and the pretraining patients was not checked")
    return tuple(said)


def _about_origin(units: Units, circumstances: Circumstances) -> Iterator[str]:
    if circumstances.synthetic:
        yield "Synthetic cohort: the images were generated, the numbers say nothing about patients"
    if circumstances.trial:
        yield "Smoke run: it tried the whole path on a few patients, the numbers mean nothing"
    if not units.grouped:
        yield (
            "Patients unknown: images were treated as independent; if a patient has several, "
            "the estimates are too high and the intervals too narrow"
        )
    if circumstances.overlap:
        yield (
            f"{circumstances.overlap} of the evaluated patients were also in pretraining: "
            "the estimates hold for patients whose images are known, not for new ones"
        )


def _about_size(units: Units) -> Iterator[str]:
    for k, name in enumerate(units.columns):
        counts = {"positive": units.patients_with(k), "negative": units.patients_without(k)}
        if len(units.columns) > 1:
            counts = {f"{name!r}": counts["positive"]}
        for word, count in counts.items():
            if count < FEWEST_PATIENTS:
                yield (
                    f"Only {count} {word} {'patient' if count == 1 else 'patients'}: "
                    "read the intervals, not the estimates"
                )


def _about_folds(drifts: Sequence[Drift]) -> Iterator[str]:
    for drift in drifts:
        if abs(drift.difference) > MOST_DRIFT:
            yield (
                f"{drift.column}: AUROC pooled over folds ({drift.pooled:.3f}) and mean of folds "
                f"({drift.mean_of_folds:.3f}) differ by more than {MOST_DRIFT}: "
                "the folds score on different scales, or are too small to tell"
            )


def _about_resamples(estimates: Sequence[Estimate]) -> Iterator[str]:
    worst = max((row.undefined for row in estimates), default=0)
    if worst:
        yield f"In {worst} resamples a metric had no value; its interval leaves them out"
