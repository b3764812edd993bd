"""Everything a report says of one table of predictions, computed once from shared resamples."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from medssl.config import subgroups as known_attributes
from medssl.evaluation import (
    adequacy,
    agreement,
    assessment,
    attributes,
    calibration_error,
    cautions,
    cohort_flow,
    cohort_table,
    curves,
    decision,
    delong,
    external,
    failures,
    intervals,
    operating_points,
    sizes,
    subgroups,
)
from medssl.evaluation.agreement import Agreement
from medssl.evaluation.assessment import Drift, Estimate, FoldResult
from medssl.evaluation.calibration_error import CalibrationError
from medssl.evaluation.cohort_flow import CohortFlow
from medssl.evaluation.cohort_table import CohortTable
from medssl.evaluation.controls.verdicts import Verdict
from medssl.evaluation.curves import Calibration, Risks, Roc
from medssl.evaluation.decision import Decision
from medssl.evaluation.delong import CrossCheck
from medssl.evaluation.deployed import Deployed
from medssl.evaluation.external import Elsewhere
from medssl.evaluation.failures import Failures
from medssl.evaluation.intervals import Draws
from medssl.evaluation.judged import Judged
from medssl.evaluation.operating_points import OperatingPoint
from medssl.evaluation.provenance import Provenance
from medssl.evaluation.saliency import Saliency
from medssl.evaluation.subgroups import Subgroups
from medssl.evaluation.thresholds import FoldThreshold
from medssl.evaluation.units import Units
from medssl.foundation import seeding
from medssl.foundation.reporting import Reporter


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything computed from one table of predictions."""

    units: Units
    estimates: tuple[Estimate, ...]
    operating_points: tuple[OperatingPoint, ...]
    folds: tuple[FoldResult, ...]
    drifts: tuple[Drift, ...]
    rocs: tuple[Roc, ...]
    calibrations: tuple[Calibration, ...]
    risks: tuple[Risks, ...]
    cautions: tuple[str, ...]
    notes: tuple[str, ...]
    checks: tuple[CrossCheck, ...] = ()
    calibration_errors: tuple[CalibrationError, ...] = ()
    decisions: tuple[Decision, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    controls: tuple[Verdict, ...] = ()
    adequacy: tuple[Verdict, ...] = ()
    flow: CohortFlow = field(default_factory=CohortFlow)
    cohort: CohortTable = field(default_factory=CohortTable)
    provenance: Provenance = field(default_factory=Provenance)
    deployed: Deployed = field(default_factory=Deployed)
    subgroups: tuple[Subgroups, ...] = ()
    failures: Failures | None = None
    saliency: Saliency | None = None  # None: not asked for
    elsewhere: Elsewhere | None = None  # of an external test: beside the cross-validation


def find(
    judged: Judged, draws: Draws, reporter: Reporter, chosen: tuple[FoldThreshold, ...] = ()
) -> Findings:
    """Return the estimates, what is drawn of them, and what to know before believing them.

    Args:
        judged: The predictions.
        draws: The resamples that everything in a report shares.
        reporter: Shown the progress.
        chosen: Thresholds of all models where a target was declared: groups are judged by them.
    """
    units, settings = judged.units, judged.settings
    made = intervals.choose(settings.intervals, settings.draws, units.n_patients)
    measured = assessment.measure(units, draws, judged.threshold, leave_out=made.method == "bca")
    estimates = assessment.estimates(measured, settings.level)
    folds = assessment.folds(units)
    drifts = assessment.drifts(units, folds)
    checks = delong.check(measured, settings.level)
    known = cautions.circumstances(judged.source)
    found = Findings(
        units=units,
        estimates=estimates,
        operating_points=operating_points.find(
            measured, estimates, settings.prevalence, settings.level
        ),
        folds=folds,
        drifts=drifts,
        rocs=(),
        calibrations=(),
        risks=(),
        cautions=cautions.find(units, estimates, drifts, known, checks),
        notes=cautions.notes(units, known, threshold=judged.threshold),
        checks=checks,
        adequacy=adequacy.find(units, estimates),
        flow=cohort_flow.find(judged),
        cohort=cohort_table.find(judged),
        subgroups=_by_group(judged, draws, chosen),
        failures=_failures(judged),
        elsewhere=external.find(judged, draws, estimates),
    )
    if units.task == "regression":
        columns = reporter.track(range(len(units.columns)), task="agreement", unit="columns")
        pairs = (agreement.find(units, k, draws.over_all, settings.level) for k in columns)
        return replace(found, agreements=tuple(pairs))
    return _with_curves(found, judged, draws, reporter)


def _by_group(
    judged: Judged, draws: Draws, chosen: tuple[FoldThreshold, ...]
) -> tuple[Subgroups, ...]:
    """Return each group of patients by itself."""
    settings, units = judged.settings, judged.units
    of_table = settings.predictions is not None
    wanted = known_attributes.chosen(settings.subgroups, of_table=of_table)
    known = attributes.read(wanted, judged.table, units, judged.source)
    made = subgroups.calls(units, judged.threshold, chosen)
    return tuple(subgroups.assess(one, units, draws, made, settings.level) for one in known)


def _failures(judged: Judged) -> Failures:
    """Return who was called wrongly, by pseudonyms."""
    names = attributes.names_of(judged.table, judged.units)
    return failures.find(judged.units, names, judged.threshold, judged.settings.failures)


def _with_curves(found: Findings, judged: Judged, draws: Draws, reporter: Reporter) -> Findings:
    """Return the findings with what is drawn of them; calibration where it can be judged."""
    units, level = judged.units, judged.settings.level
    both = [k for k in range(len(units.columns)) if len(np.unique(units.only(k).truth)) == 2]
    tracked = reporter.track(both, task="curves", unit="columns")
    rocs = tuple(curves.roc(units, k, draws.within_class, level) for k in tracked)
    calibrated = [k for k in both if sizes.suffice(units, k)]
    if not assessment.are_probabilities(units):
        calibrated = []
    smooth = (curves.calibration(units, k, draws.over_all, level) for k in calibrated)
    rng = seeding.rng(judged.settings.seed, "evaluate", "calibration error")
    errors = (calibration_error.find(units, k, rng) for k in calibrated)
    return replace(
        found,
        rocs=rocs,
        calibrations=tuple(curve for curve in smooth if curve is not None),
        risks=tuple(curves.risks(units, k) for k in range(len(units.columns))),
        calibration_errors=tuple(error for error in errors if error is not None),
        decisions=tuple(_decisions(judged, draws, calibrated)),
    )


def _decisions(judged: Judged, draws: Draws, columns: list[int]) -> Iterator[Decision]:
    """Yield net benefit over the declared range, else at the threshold alone."""
    settings, thresholds = judged.settings, np.array([])
    declared = settings.decision is not None
    if settings.decision is not None:
        thresholds = np.linspace(*settings.decision, decision.POINTS)
    elif judged.threshold is not None and 0 < judged.threshold < 1:
        thresholds = np.array([judged.threshold])
    for k in columns if thresholds.size else []:
        yield decision.curve(
            judged.units, k, draws.over_all, settings.level, thresholds, declared=declared
        )
