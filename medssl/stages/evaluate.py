"""`medssl evaluate`: from predictions to a report whose numbers hold."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from medssl.artifacts import foreign_predictions, origin, predictions, report, run_folder
from medssl.artifacts.origin import Origin
from medssl.config import controls as known_controls
from medssl.config import subgroups as known_attributes
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import (
    agreement,
    assessment,
    attributes,
    calibration_error,
    cautions,
    curves,
    decision,
    delong,
    deployed,
    failures,
    intervals,
    operating_points,
    sizes,
    subgroups,
    units,
)
from medssl.evaluation.assessment import Estimate, Measured
from medssl.evaluation.calibration_error import CalibrationError
from medssl.evaluation.controls.verdicts import Verdict
from medssl.evaluation.decision import Decision
from medssl.evaluation.delong import CrossCheck
from medssl.evaluation.deployed import Declared, Deployed
from medssl.evaluation.intervals import Draws
from medssl.evaluation.operating_points import OperatingPoint
from medssl.evaluation.subgroups import Subgroups
from medssl.evaluation.units import Units
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import GateFailed
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.reporting import contents, model_card, page
from medssl.reporting.contents import Findings
from medssl.training import controls

_TRIAL = 100  # resamples drawn to say how long all of them take
_COLUMN_BYTES = 200_000  # of a report and its tables, per column


@dataclass(frozen=True, kw_only=True)
class EvaluatePlan:
    """What an evaluation would judge; nothing was computed or written."""

    target: str
    task: str
    columns: tuple[str, ...]
    unit: str
    reason: str
    n_patients: int  # images, where patients are unknown
    n_images: int
    n_units: int
    n_events: tuple[int, ...]  # positive units per column; none of amounts
    n_repeats: int
    metrics: tuple[str, ...]
    threshold: float | None  # None: nothing is called positive
    resamples: int
    intervals: str  # bca or percentile, and why


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """Where the report is, and what it says in short."""

    folder: Path
    report: Path
    target: str
    task: str
    positive: str | None  # class; None for several, or where a table does not say
    unit: str
    reason: str
    n_patients: int  # images, where patients are unknown
    n_units: int
    threshold: float | None
    estimates: tuple[Estimate, ...]
    operating_points: tuple[OperatingPoint, ...]
    delong: tuple[CrossCheck, ...]
    calibration_errors: tuple[CalibrationError, ...]
    cautions: tuple[str, ...]
    notes: tuple[str, ...]
    controls: tuple[Verdict, ...] = ()
    subgroups: tuple[Subgroups, ...] = ()
    deployed: Deployed = field(
        default_factory=Deployed
    )  # at thresholds chosen on inner parts, recalibrated
    problem: GateFailed | None = None  # a requirement was not met; the report is complete


def plan(settings: EvaluateSettings) -> EvaluatePlan:
    """Return what `run` would do with these settings.

    Raises:
        ArtifactError: The run is missing, unfinished, damaged or of another stage.
        DataError: The predictions are refused.
        UsageError: The threshold lies outside the probabilities, or there are none.
    """
    _, judged = _read(settings)
    threshold = operating_points.declared(settings, judged)
    _declared(settings, judged)
    usable = (metric.name for metric in assessment.metrics_of(judged, threshold))
    chosen = intervals.choose(settings.intervals, settings.draws, judged.n_patients)
    return EvaluatePlan(
        target=judged.target,
        task=judged.task,
        columns=judged.columns,
        unit=judged.kind,
        reason=judged.reason,
        n_patients=judged.n_patients,
        n_images=judged.n_images,
        n_units=len(judged.truth),
        n_events=tuple(int(n) for n in np.nansum(judged.truth, axis=0))
        if judged.task != "regression"
        else (),
        n_repeats=judged.n_repeats,
        metrics=tuple(dict.fromkeys(usable)),
        threshold=threshold,
        resamples=settings.draws,
        intervals=f"{chosen.method}: {chosen.why}",
    )


def cost(settings: EvaluateSettings) -> Cost:
    """Return what the run would take at most, from a few resamples; writes nothing."""
    source, judged = _read(settings)
    few = settings.model_copy(update={"resamples": min(_TRIAL, settings.draws), "smoke": False})
    started = time.perf_counter()
    _assess(few, source, judged, operating_points.declared(settings, judged), Silent())
    return Cost(
        seconds=(time.perf_counter() - started) * settings.draws / few.draws,
        disk_bytes=_COLUMN_BYTES * len(judged.columns),
        memory_bytes=peak_memory(),
        basis=f"at most, from {few.draws} resamples",
    )


def run(
    settings: EvaluateSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    resume: bool = False,
) -> EvaluateResult:
    """Write `report.json`, its tables, `report.html` and a model card into a new run folder.

    Args:
        settings: Which predictions, and how intervals are drawn.
        out: Run folder to make.
        reporter: Where progress goes.
        resume: Write an unfinished evaluation anew in its folder.

    Raises:
        ArtifactError: The run is missing, unfinished, damaged or of another stage.
        DataError: The predictions are refused; nothing was written.
        UsageError: The output folder is in use, or the threshold lies outside the probabilities.
    """
    reporter = reporter or Silent()
    source, judged = _read(settings)
    threshold = operating_points.declared(settings, judged)
    wanted = _declared(settings, judged)
    chosen = intervals.choose(settings.intervals, settings.draws, judged.n_patients)
    settings = settings.model_copy(update={"threshold": "none" if threshold is None else threshold})
    recorded = settings.model_copy(update={"intervals": chosen.method})
    inputs = {"predictions": source.predictions_sha256}
    with run_folder.create(
        out, stage="evaluate", settings=recorded, inputs=inputs, resume=resume
    ) as folder:
        reporter = Tee(reporter, folder.log)
        reporter.note(
            f"judging {len(judged.truth)} units of {judged.n_patients} patients by "
            f"{settings.draws} resamples; the unit is the {judged.kind}: {judged.reason}"
        )
        findings = _assess(settings, source, judged, threshold, reporter)
        findings = replace(
            findings,
            controls=_controls(settings, source, judged, reporter),
            deployed=_deployed(settings, judged, (wanted, findings.estimates)),
        )
        for caution in findings.cautions:
            reporter.warn(caution)
        folder.environment()
        content = contents.compose(findings, source, settings)
        report.write_tables(out, content)
        report.write(out, content)
        record = report.read(out)
        files.write_text(out / "report.html", page.render(record))
        files.write_text(out / "model_card.md", model_card.render(record))
    return EvaluateResult(
        folder=out,
        report=out / "report.html",
        target=judged.target,
        task=judged.task,
        positive=source.splits.positive if source.splits else None,
        unit=judged.kind,
        reason=judged.reason,
        n_patients=judged.n_patients,
        n_units=len(judged.truth),
        threshold=threshold,
        estimates=findings.estimates,
        operating_points=findings.operating_points,
        delong=findings.checks,
        calibration_errors=findings.calibration_errors,
        cautions=findings.cautions,
        notes=findings.notes,
        controls=findings.controls,
        subgroups=findings.subgroups,
        deployed=findings.deployed,
        problem=findings.deployed.problem(out / "report.html"),
    )


def _controls(
    settings: EvaluateSettings, source: Origin, judged: Units, reporter: Reporter
) -> tuple[Verdict, ...]:
    """Return what the controls found that were asked for."""
    table, _, _ = _open(settings)
    given = controls.Judged(
        run=settings.run, source=source, table=table, units=judged, settings=settings
    )
    verdicts = controls.run(known_controls.chosen(settings.controls), given, reporter)
    for verdict in verdicts:
        reporter.note(f"control {verdict.name}: {verdict.light}: {verdict.said}")
    return verdicts


def _declared(settings: EvaluateSettings, judged: Units) -> Declared:
    table, _, path = _open(settings)
    return deployed.declared(settings, table, judged, str(path))


def _deployed(
    settings: EvaluateSettings, judged: Units, known: tuple[Declared, tuple[Estimate, ...]]
) -> Deployed:
    table, source, path = _open(settings)
    draws = _draws(settings, judged)
    return deployed.find(
        settings, table, judged, draws, known, lambda moved: _units(settings, moved, source, path)
    )


def _draws(settings: EvaluateSettings, judged: Units) -> Draws:
    """Return the resamples, which everything in a report shares."""
    rng = seeding.rng(settings.seed, "evaluate", "bootstrap")
    return intervals.draw_both(judged.stratum, settings.draws, rng)


def _read(settings: EvaluateSettings) -> tuple[Origin, Units]:
    table, source, path = _open(settings)
    return source, _units(settings, table, source, path)


def _units(settings: EvaluateSettings, table: pa.Table, source: Origin, path: Path) -> Units:
    grouped = source.splits is None or source.splits.group != "none"
    return units.build(
        table,
        target=source.splits.target if source.splits else foreign_predictions.TARGET,
        aggregate=settings.aggregate,
        where=str(path),
        grouped=grouped,
        task=source.splits.task if source.splits else None,
    )


def _open(settings: EvaluateSettings) -> tuple[pa.Table, Origin, Path]:
    if settings.run is not None:
        source = origin.of_run(settings.run)
        path = settings.run / origin.PREDICTIONS
        return predictions.read(path), source, path
    assert settings.predictions is not None  # the settings have one of the two
    path = settings.predictions
    return foreign_predictions.read(path), origin.of_table(path), path


def _assess(
    settings: EvaluateSettings,
    source: Origin,
    judged: Units,
    threshold: float | None,
    reporter: Reporter,
) -> Findings:
    draws = _draws(settings, judged)
    chosen = intervals.choose(settings.intervals, settings.draws, judged.n_patients)
    measured = assessment.measure(judged, draws, threshold, leave_out=chosen.method == "bca")
    estimates = assessment.estimates(measured, settings.level)
    folds = assessment.folds(judged)
    drifts = assessment.drifts(judged, folds)
    checks = delong.check(measured, settings.level)
    known = cautions.circumstances(source)
    found = Findings(
        units=judged,
        estimates=estimates,
        operating_points=operating_points.find(
            measured, estimates, settings.prevalence, settings.level
        ),
        folds=folds,
        drifts=drifts,
        rocs=(),
        calibrations=(),
        risks=(),
        cautions=cautions.find(judged, estimates, drifts, known, checks),
        notes=cautions.notes(judged, known, threshold=threshold),
        checks=checks,
    )
    found = _by_group(found, settings, source, draws, threshold)
    if judged.task == "regression":
        columns = reporter.track(range(len(judged.columns)), task="agreement", unit="columns")
        pairs = (agreement.find(judged, k, draws.over_all, settings.level) for k in columns)
        return replace(found, agreements=tuple(pairs))
    return _with_curves(found, settings, measured, draws, reporter)


def _by_group(
    found: Findings,
    settings: EvaluateSettings,
    source: Origin,
    draws: Draws,
    threshold: float | None,
) -> Findings:
    """Return the findings with each group of patients by itself, and who was called wrongly."""
    table, judged = _open(settings)[0], found.units
    wanted = known_attributes.chosen(settings.subgroups)
    known = attributes.read(wanted, table, judged, source, settings.run)
    names = attributes.names_of(table, judged) if settings.run else ()
    return replace(
        found,
        subgroups=tuple(
            subgroups.assess(one, judged, draws, threshold, settings.level) for one in known
        ),
        failures=failures.find(judged, names, threshold, settings.failures),
    )


def _with_curves(
    found: Findings,
    settings: EvaluateSettings,
    measured: Measured,
    draws: Draws,
    reporter: Reporter,
) -> Findings:
    """Return the findings with what is drawn of them; calibration where it can be judged."""
    judged, level = found.units, settings.level
    both = [k for k in range(len(judged.columns)) if len(np.unique(judged.only(k).truth)) == 2]
    tracked = reporter.track(both, task="curves", unit="columns")
    rocs = tuple(curves.roc(judged, k, draws.within_class, level) for k in tracked)
    calibrated = [k for k in both if sizes.suffice(judged, k)]
    if not assessment.are_probabilities(judged):
        calibrated = []
    smooth = (curves.calibration(judged, k, draws.over_all, level) for k in calibrated)
    rng = seeding.rng(settings.seed, "evaluate", "calibration error")
    errors = (calibration_error.find(judged, k, rng) for k in calibrated)
    return replace(
        found,
        rocs=rocs,
        calibrations=tuple(curve for curve in smooth if curve is not None),
        risks=tuple(curves.risks(judged, k) for k in range(len(judged.columns))),
        calibration_errors=tuple(error for error in errors if error is not None),
        decisions=tuple(_decisions(settings, measured, draws, calibrated)),
    )


def _decisions(
    settings: EvaluateSettings, measured: Measured, draws: Draws, columns: list[int]
) -> Iterator[Decision]:
    """Yield net benefit over the declared range, else at the threshold alone."""
    declared = settings.decision is not None
    thresholds = np.array([])
    if settings.decision is not None:
        thresholds = np.linspace(*settings.decision, decision.POINTS)
    elif measured.threshold is not None and 0 < measured.threshold < 1:
        thresholds = np.array([measured.threshold])
    for k in columns if thresholds.size else []:
        yield decision.curve(
            measured.units, k, draws.over_all, settings.level, thresholds, declared=declared
        )
