"""`medssl evaluate`: from predictions to a report whose numbers hold."""

import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from medssl.artifacts import foreign_predictions, origin, predictions, report, run_folder
from medssl.artifacts.origin import Origin
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import (
    assessment,
    cautions,
    curves,
    intervals,
    operating_points,
    sizes,
    units,
)
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.operating_points import OperatingPoint
from medssl.evaluation.units import Units
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import UsageError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.reporting import contents, page
from medssl.reporting.contents import Findings

_TRIAL = 100  # resamples drawn to say how long all of them take
_COLUMN_BYTES = 200_000  # of a report and its tables, per column


@dataclass(frozen=True, kw_only=True)
class EvaluatePlan:
    """What an evaluation would judge; nothing was computed or written."""

    target: str
    columns: tuple[str, ...]
    unit: str
    reason: str
    n_patients: int  # images, where patients are unknown
    n_images: int
    n_units: int
    n_events: tuple[int, ...]  # positive units per column
    n_repeats: int
    metrics: tuple[str, ...]
    threshold: float | None  # None: nothing is called positive
    resamples: int


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """Where the report is, and what it says in short."""

    folder: Path
    report: Path
    target: str
    positive: str | None  # class; None for several, or where a table does not say
    unit: str
    reason: str
    n_patients: int  # images, where patients are unknown
    n_units: int
    threshold: float | None
    estimates: tuple[Estimate, ...]
    operating_points: tuple[OperatingPoint, ...]
    cautions: tuple[str, ...]
    notes: tuple[str, ...]


def plan(settings: EvaluateSettings) -> EvaluatePlan:
    """Return what `run` would do with these settings.

    Raises:
        ArtifactError: The run is missing, unfinished, damaged or of another stage.
        DataError: The predictions are refused.
        UsageError: The threshold lies outside the probabilities.
    """
    _, judged = _read(settings)
    threshold = _threshold(settings, judged)
    usable = (
        metric.name
        for k in range(len(judged.columns))
        for metric in assessment.usable_metrics(judged, k, threshold)
    )
    return EvaluatePlan(
        target=judged.target,
        columns=judged.columns,
        unit=judged.kind,
        reason=judged.reason,
        n_patients=judged.n_patients,
        n_images=judged.n_images,
        n_units=len(judged.truth),
        n_events=tuple(int(n) for n in judged.truth.sum(axis=0)),
        n_repeats=judged.n_repeats,
        metrics=tuple(dict.fromkeys(usable)),
        threshold=threshold,
        resamples=settings.draws,
    )


def cost(settings: EvaluateSettings) -> Cost:
    """Return what the run would take at most, from a few resamples; writes nothing."""
    source, judged = _read(settings)
    few = settings.model_copy(update={"resamples": min(_TRIAL, settings.draws), "smoke": False})
    started = time.perf_counter()
    _assess(few, source, judged, _threshold(settings, judged), Silent())
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
    """Write `report.json`, its tables and `report.html` into a new run folder.

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
    threshold = _threshold(settings, judged)
    settings = settings.model_copy(update={"threshold": "none" if threshold is None else threshold})
    inputs = {"predictions": source.predictions_sha256}
    with run_folder.create(
        out, stage="evaluate", settings=settings, inputs=inputs, resume=resume
    ) as folder:
        reporter = Tee(reporter, folder.log)
        reporter.note(
            f"judging {len(judged.truth)} units of {judged.n_patients} patients by "
            f"{settings.draws} resamples; the unit is the {judged.kind}: {judged.reason}"
        )
        findings = _assess(settings, source, judged, threshold, reporter)
        for caution in findings.cautions:
            reporter.warn(caution)
        folder.environment()
        content = contents.compose(findings, source, settings)
        report.write_tables(out, content)
        report.write(out, content)
        files.write_text(out / "report.html", page.render(report.read(out)))
    return EvaluateResult(
        folder=out,
        report=out / "report.html",
        target=judged.target,
        positive=source.splits.positive if source.splits else None,
        unit=judged.kind,
        reason=judged.reason,
        n_patients=judged.n_patients,
        n_units=len(judged.truth),
        threshold=threshold,
        estimates=findings.estimates,
        operating_points=findings.operating_points,
        cautions=findings.cautions,
        notes=findings.notes,
    )


def _read(settings: EvaluateSettings) -> tuple[Origin, Units]:
    table, source, path = _open(settings)
    if source.splits is not None:
        units.require_judged(source.splits.task, str(path))
    grouped = source.splits is None or source.splits.group != "none"
    return source, units.build(
        table,
        target=source.splits.target if source.splits else foreign_predictions.TARGET,
        aggregate=settings.aggregate,
        where=str(path),
        grouped=grouped,
    )


def _open(settings: EvaluateSettings) -> tuple[pa.Table, Origin, Path]:
    if settings.run is not None:
        source = origin.of_run(settings.run)
        path = settings.run / origin.PREDICTIONS
        return predictions.read(path), source, path
    assert settings.predictions is not None  # the settings have one of the two
    path = settings.predictions
    return foreign_predictions.read(path), origin.of_table(path), path


def _threshold(settings: EvaluateSettings, judged: Units) -> float | None:
    """Return the score from which a unit is called positive, or None."""
    probable = assessment.are_probabilities(judged)
    if settings.threshold == "none":
        return None
    if settings.threshold == "auto":
        return assessment.DEFAULT_THRESHOLD if probable else None
    if probable and not 0 <= settings.threshold <= 1:
        raise UsageError(
            f"no probability reaches from one side of {settings.threshold} to the other",
            where="threshold",
            fix="give a value between 0 and 1",
        )
    return settings.threshold


def _assess(
    settings: EvaluateSettings,
    source: Origin,
    judged: Units,
    threshold: float | None,
    reporter: Reporter,
) -> Findings:
    rng = seeding.rng(settings.seed, "evaluate", "bootstrap")
    draws = intervals.draw_both(judged.stratum, settings.draws, rng)
    measured = assessment.measure(judged, draws, threshold)
    estimates = assessment.estimates(measured, settings.level)
    folds = assessment.folds(judged)
    drifts = assessment.drifts(judged, folds)
    known = cautions.circumstances(source)
    columns = range(len(judged.columns))
    tracked = reporter.track(columns, task="curves", unit="columns")
    probable = assessment.are_probabilities(judged)
    smooth = [
        curves.calibration(judged, k, draws.over_all, settings.level)
        for k in columns
        if probable and sizes.suffice(judged, k)
    ]
    return Findings(
        units=judged,
        estimates=estimates,
        operating_points=operating_points.find(
            measured, estimates, settings.prevalence, settings.level
        ),
        folds=folds,
        drifts=drifts,
        rocs=tuple(curves.roc(judged, k, draws.within_class, settings.level) for k in tracked),
        calibrations=tuple(curve for curve in smooth if curve is not None),
        risks=tuple(curves.risks(judged, k) for k in columns),
        cautions=cautions.find(judged, estimates, drifts, known),
        notes=cautions.notes(judged, known, threshold=threshold),
    )
