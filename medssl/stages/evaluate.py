"""`medssl evaluate`: from predictions to a report whose numbers hold."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medssl.artifacts import foreign_predictions, origin, predictions, report, run_folder
from medssl.config import controls as known_controls
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import assessment, deployed, findings, intervals
from medssl.evaluation import judged as judging
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.calibration_error import CalibrationError
from medssl.evaluation.controls.verdicts import Verdict
from medssl.evaluation.delong import CrossCheck
from medssl.evaluation.deployed import Declared, Deployed
from medssl.evaluation.findings import Findings
from medssl.evaluation.intervals import Draws
from medssl.evaluation.judged import Judged
from medssl.evaluation.operating_points import OperatingPoint
from medssl.evaluation.subgroups import Subgroups
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import GateFailed
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.reporting import contents, model_card, page
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
    judged = _read(settings)
    deployed.declared(judged)
    units = judged.units
    usable = (metric.name for metric in assessment.metrics_of(units, judged.threshold))
    chosen = intervals.choose(settings.intervals, settings.draws, units.n_patients)
    return EvaluatePlan(
        target=units.target,
        task=units.task,
        columns=units.columns,
        unit=units.kind,
        reason=units.reason,
        n_patients=units.n_patients,
        n_images=units.n_images,
        n_units=len(units.truth),
        n_events=tuple(int(n) for n in np.nansum(units.truth, axis=0))
        if units.task != "regression"
        else (),
        n_repeats=units.n_repeats,
        metrics=tuple(dict.fromkeys(usable)),
        threshold=judged.threshold,
        resamples=settings.draws,
        intervals=f"{chosen.method}: {chosen.why}",
    )


def cost(settings: EvaluateSettings) -> Cost:
    """Return what the run would take at most, from a few resamples; writes nothing."""
    few = settings.model_copy(update={"resamples": min(_TRIAL, settings.draws), "smoke": False})
    judged = _read(few)
    started = time.perf_counter()
    findings.find(judged, _draws(judged), Silent())
    return Cost(
        seconds=(time.perf_counter() - started) * settings.draws / few.draws,
        disk_bytes=_COLUMN_BYTES * len(judged.units.columns),
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
    judged = _read(settings)
    wanted = deployed.declared(judged)
    inputs = {"predictions": judged.source.predictions_sha256}
    with run_folder.create(
        out, stage="evaluate", settings=_recorded(judged), inputs=inputs, resume=resume
    ) as folder:
        told = Tee(reporter or Silent(), folder.log)
        told.note(
            f"judging {len(judged.units.truth)} units of {judged.units.n_patients} patients by "
            f"{settings.draws} resamples; the unit is the {judged.units.kind}: "
            f"{judged.units.reason}"
        )
        found = _find(judged, wanted, told)
        for caution in found.cautions:
            told.warn(caution)
        folder.environment()
        _write(out, contents.compose(found, judged))
    return _result(out, judged, found)


def _find(judged: Judged, wanted: Declared, reporter: Reporter) -> Findings:
    """Return everything a report says."""
    draws = _draws(judged)
    found = findings.find(judged, draws, reporter)
    return replace(
        found,
        controls=_controls(judged, reporter),
        deployed=deployed.find(judged, draws, wanted, found.estimates),
    )


def _controls(judged: Judged, reporter: Reporter) -> tuple[Verdict, ...]:
    """Return what the controls found that were asked for."""
    verdicts = controls.run(known_controls.chosen(judged.settings.controls), judged, reporter)
    for verdict in verdicts:
        reporter.note(f"control {verdict.name}: {verdict.light}: {verdict.said}")
    return verdicts


def _write(out: Path, content: Mapping[str, Any]) -> None:
    report.write_tables(out, content)
    report.write(out, content)
    record = report.read(out)
    files.write_text(out / "report.html", page.render(record))
    files.write_text(out / "model_card.md", model_card.render(record))


def _result(out: Path, judged: Judged, found: Findings) -> EvaluateResult:
    units, plan = judged.units, judged.source.splits
    return EvaluateResult(
        folder=out,
        report=out / "report.html",
        target=units.target,
        task=units.task,
        positive=plan.positive if plan else None,
        unit=units.kind,
        reason=units.reason,
        n_patients=units.n_patients,
        n_units=len(units.truth),
        threshold=judged.threshold,
        estimates=found.estimates,
        operating_points=found.operating_points,
        delong=found.checks,
        calibration_errors=found.calibration_errors,
        cautions=found.cautions,
        notes=found.notes,
        controls=found.controls,
        subgroups=found.subgroups,
        deployed=found.deployed,
        problem=found.deployed.problem(out / "report.html"),
    )


def _draws(judged: Judged) -> Draws:
    """Return the resamples, which everything in a report shares."""
    settings = judged.settings
    rng = seeding.rng(settings.seed, "evaluate", "bootstrap")
    return intervals.draw_both(judged.units.stratum, settings.draws, rng)


def _recorded(judged: Judged) -> EvaluateSettings:
    """Return the settings with everything that was chosen automatically."""
    settings = judged.settings
    chosen = intervals.choose(settings.intervals, settings.draws, judged.units.n_patients)
    return settings.model_copy(
        update={
            "threshold": "none" if judged.threshold is None else judged.threshold,
            "intervals": chosen.method,
        }
    )


def _read(settings: EvaluateSettings) -> Judged:
    if settings.run is not None:
        path = settings.run / origin.PREDICTIONS
        source = origin.of_run(settings.run)
        return judging.of(predictions.read(path), source, settings, str(path))
    assert settings.predictions is not None  # the settings have one of the two
    path = settings.predictions
    table = foreign_predictions.read(path)
    return judging.of(table, origin.of_table(path), settings, str(path))
