"""What a reader must know before believing a number."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medssl.artifacts.origin import External, Origin
from medssl.evaluation import recalibration, sizes
from medssl.evaluation.assessment import Drift, Estimate, are_probabilities
from medssl.evaluation.delong import MOST_APART, CrossCheck
from medssl.evaluation.units import Units
from medssl.foundation.wording import counted, plural, verb

MOST_DRIFT = 0.02  # between pooled AUROC and mean of folds; beyond it the folds' scales differ
MOST_UNUSUAL = 5  # times as many images unlike the cohort as one like it has; beyond it a caution
MOST_CLIPPED = 0.01  # share of probabilities of 0 or 1; beyond it recalibration hangs on the clip


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What is known about how the predictions came to be."""

    synthetic: bool = False
    trial: bool = False  # the run only tried the whole path
    pretrained: bool = False  # the models started from pretrained weights
    balanced: bool = False  # rare classes were drawn or weighted up in training
    balanced_test: bool = False  # test folds hold as many patients of either class
    overlap: int | None = None  # evaluated patients who were in pretraining; None: not checked
    external: External | None = None  # None: the run predicted its own cohort


def find(
    units: Units,
    estimates: Sequence[Estimate],
    drifts: Sequence[Drift],
    circumstances: Circumstances,
    checks: Sequence[CrossCheck] = (),
) -> tuple[str, ...]:
    """Return one sentence per reason for caution, the gravest first."""
    return (
        *_about_origin(units, circumstances),
        *_about_size(units),
        *_about_folds(drifts),
        *_about_checks(checks),
        *_about_resamples(estimates),
    )


def notes(
    units: Units, circumstances: Circumstances, *, threshold: float | None = None
) -> tuple[str, ...]:
    """Return what was left out and why, and which rules of thumb the cohort misses."""
    said = [
        *_left_out(units, threshold),
        *_clipped(units),
        *_unlabelled(units),
        *_about_rule_of_thumb(units),
    ]
    if circumstances.balanced and are_probabilities(units):
        said.append(
            "Classes were given other weights in training than they have: the probabilities are "
            "those of such classes, and calibration is to be read with that in mind"
        )
    if circumstances.balanced_test:
        said.append(
            "Test folds were drawn with as many positive patients as others: average precision, "
            "predictive values and calibration do not hold at the prevalence of the clinic"
        )
    if circumstances.pretrained and circumstances.overlap is None:
        said.append("Overlap between these patients and the pretraining patients was not checked")
    if circumstances.external is not None:
        said += _about_archive(circumstances.external)
    return tuple(said)


def circumstances(origin: Origin) -> Circumstances:
    """Return what a run says about how its predictions came to be."""
    trial = bool(origin.settings.get("smoke", False))
    balanced_test = origin.splits is not None and origin.splits.balanced_test
    found, tested = origin.models, origin.external
    if found is not None and tested is not None:
        return Circumstances(
            synthetic=found.synthetic or tested.synthetic,
            trial=trial or tested.trial,
            pretrained=bool(found.init),
            balanced=_moved_classes(origin.settings),
            overlap=tested.pretrained,
            external=tested,
        )
    if origin.models is None:
        return Circumstances(trial=trial, balanced_test=balanced_test)
    return Circumstances(
        synthetic=origin.models.synthetic,
        trial=trial,
        pretrained=bool(origin.models.init),
        balanced_test=balanced_test,
        balanced=_moved_classes(origin.settings),
        overlap=origin.models.init.get("overlap_patients"),
    )


def _moved_classes(settings: Mapping[str, Any]) -> bool:
    """Return whether a run taught its models other shares of the classes than there are."""
    moved = settings.get("sampling", "natural") not in {"natural", "shuffle"}
    moved |= settings.get("loss_weights", "none") != "none" or bool(settings.get("smote", False))
    return moved and not settings.get("prior_correction", False)


def _left_out(units: Units, threshold: float | None) -> Iterator[str]:
    probable = are_probabilities(units)
    if units.task == "regression":
        return
    if not probable:
        yield (
            "Scores outside 0 to 1 are not probabilities: Brier score and calibration are left out"
            + ("" if threshold is not None else ", and so is whatever needs a threshold")
        )
    guarded = ["calibration curve, intercept and slope"] * probable
    guarded += ["sensitivity, specificity and predictive values"] * (threshold is not None)
    small = [name for k, name in enumerate(units.columns) if not sizes.suffice(units, k)]
    if small and guarded:
        of = f" of {', '.join(small)}" if len(units.columns) > 1 else ""
        yield (
            f"Fewer than {sizes.FEWEST_PATIENTS} patients of a class: "
            f"{'; '.join(guarded)}{of} are left out"
        )


def _clipped(units: Units) -> Iterator[str]:
    """Say where calibration intercept and slope hang on how far scores of 0 or 1 are moved in."""
    score = units.score[np.isfinite(units.score)]
    extreme = (score < recalibration.CLIP) | (score > 1 - recalibration.CLIP)
    share = float(extreme.mean())
    if are_probabilities(units) and share > MOST_CLIPPED:
        yield (
            f"{share:.0%} of the probabilities are 0 or 1: they were moved in by "
            f"{recalibration.CLIP:g}, and calibration intercept and slope depend on by how much"
        )


def _unlabelled(units: Units) -> Iterator[str]:
    """Say which of several targets are known for some only."""
    counts = {name: int(units.known(k).sum()) for k, name in enumerate(units.columns)}
    if min(counts.values()) < len(units.truth):
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        yield (
            f"Not all of the {len(units.truth)} units have every label ({shown}): each target is "
            "judged on those that have it"
        )


def _about_rule_of_thumb(units: Units) -> Iterator[str]:
    if units.task == "regression":
        return
    several = len(units.columns) > 1
    counts = {name: units.patients_with(k) for k, name in enumerate(units.columns)}
    if not several:
        counts = {"positive": units.patients_with(0), "negative": units.patients_without(0)}
    if min(counts.values()) < sizes.COMMON_PATIENTS:
        shown = ", ".join(f"{count} {name}" for name, count in counts.items())
        yield (
            f"Patients: {shown}. A common rule of thumb for validating a model asks for at least "
            f"{sizes.COMMON_PATIENTS} of each"
        )


def _about_origin(units: Units, circumstances: Circumstances) -> Iterator[str]:
    if circumstances.synthetic:
        yield "Synthetic cohort: the images were generated, the numbers say nothing about patients"
    if circumstances.trial:
        yield "Smoke run: it tried the whole path on a few patients, the numbers mean nothing"
    if circumstances.external is not None:
        yield from _about_external(circumstances.external)
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


def _about_external(tested: External) -> Iterator[str]:
    """Say what makes an external test less of one."""
    if tested.own:
        yield (
            "No external test: these are patients of the run itself, whom it held out of all "
            "models; how it does elsewhere is not known from them"
        )
    elif tested.shared_patients:
        yield (
            f"{counted(tested.shared_patients, 'patient')} of those who are judged "
            f"{verb(tested.shared_patients, 'were')} tested by the run as well: the two are not "
            "compared"
        )
    if tested.known_patients is None:
        yield (
            "Whether a model learned from any of these patients is unknown: patients are not "
            "recorded, or pseudonyms were made with another key"
        )
    elif tested.known_patients:
        left = f"{counted(tested.known_patients, 'patient')} of the archive"
        yield (
            f"{left} with {counted(tested.known_rows, tested.what)} were left out: a model "
            "learned from them"
        )
    if tested.n_unusual is not None:
        share = tested.n_unusual / tested.n_judged
        if share > MOST_UNUSUAL * tested.unusual:
            yield (
                f"{share:.0%} of the {plural(tested.what)} are unlike those the models learned "
                f"from, where {100 * tested.unusual:.2g}% would be usual: scores of such images "
                "are not to be relied on"
            )


def _about_archive(tested: External) -> Iterator[str]:
    """Say what of the archive was not judged, and how far the models agree."""
    if tested.n_unlabelled:
        yield (
            f"{counted(tested.n_unlabelled, tested.what)} of the archive "
            f"{verb(tested.n_unlabelled, 'have')} no label and {verb(tested.n_unlabelled, 'were')} "
            "left out"
        )
    if tested.n_too_short:
        yield f"{counted(tested.n_too_short, 'series')} left out: too few images to be judged"
    if tested.lacking:
        yield f"The archive has no labels of {', '.join(tested.lacking)}"
    if tested.n_unusual is None:
        yield (
            "How far these images are from those the models learned from is unknown: the run has "
            "no gate, or too few test images to set one by"
        )
    else:
        yield (
            f"{tested.n_unusual} of {counted(tested.n_judged, tested.what)} "
            f"{verb(tested.n_unusual, 'are')} unlike those the models learned from "
            f"({tested.n_unusual / tested.n_judged:.1%}; of usual ones {100 * tested.unusual:.2g}% "
            "are marked by chance)"
        )


def _about_size(units: Units) -> Iterator[str]:
    for k, name in enumerate(units.columns):
        if units.task == "regression":
            n_patients = units.only(k).n_patients
            if n_patients < sizes.FEWEST_PATIENTS:
                yield f"Only {n_patients} patients: read the intervals, not the estimates"
            continue
        counts = {"positive": units.patients_with(k), "negative": units.patients_without(k)}
        if len(units.columns) > 1:
            counts = {f"{name!r}": counts["positive"]}
        for word, count in counts.items():
            if count < sizes.FEWEST_PATIENTS:
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
                "the folds score on different scales, or are too small to tell; pooled by rank "
                f"within folds, which have no scale, it is {drift.pooled_ranks:.3f}"
            )


def _about_checks(checks: Sequence[CrossCheck]) -> Iterator[str]:
    for check in checks:
        if abs(check.apart) > MOST_APART:
            yield (
                f"{check.column}: the standard error of the AUROC is "
                f"{check.bootstrap_standard_error:.4f} by the bootstrap and "
                f"{check.standard_error:.4f} after DeLong, more than {MOST_APART:.0%} apart: "
                "believe the wider interval"
            )


def _about_resamples(estimates: Sequence[Estimate]) -> Iterator[str]:
    known = [row for row in estimates if math.isfinite(row.value) and row.interval != "wilson"]
    worst = max(known, key=lambda row: row.undefined, default=None)
    if worst is not None and worst.undefined:
        yield (
            f"In {worst.undefined} resamples a metric had no value "
            f"({worst.column}: {worst.title}); its interval leaves them out"
        )
    for row in estimates:
        if row.improper:
            continue
        if not math.isfinite(row.value):
            yield f"{row.column}: {row.title} has no value in this cohort"
        elif row.low == row.high and row.interval != "wilson":
            yield (
                f"{row.column}: {row.title} is the same in every resample: "
                "its interval has no width and says nothing"
            )
