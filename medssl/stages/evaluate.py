"""`medssl evaluate`: from predictions to a report whose numbers hold."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medssl.artifacts import report, run_folder
from medssl.artifacts.origin import External
from medssl.config import controls as known_controls
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import (
    assessment,
    deployed,
    findings,
    intervals,
    provenance,
    requirements,
)
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.calibration_error import CalibrationError
from medssl.evaluation.controls.verdicts import Verdict
from medssl.evaluation.delong import CrossCheck
from medssl.evaluation.deployed import Declared, Deployed
from medssl.evaluation.external import Elsewhere
from medssl.evaluation.findings import Findings
from medssl.evaluation.intervals import Draws
from medssl.evaluation.judged import Judged
from medssl.evaluation.operating_points import OperatingPoint
from medssl.evaluation.saliency import Saliency
from medssl.evaluation.subgroups import Subgroups
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.errors import GateFailed
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.reporting import contents, model_card, page, printing, saliency
from medssl.training import controls, given

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
    notes: tuple[str, ...] = ()  # of an external test


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
    external: External | None = None  # what became of the archive of an external test
    elsewhere: Elsewhere | None = None  # it beside the cross-validation
    problem: GateFailed | None = None  # a requirement was not met; the report is complete


def plan(settings: EvaluateSettings) -> EvaluatePlan:
    """Return what `run` would do with these settings.

    Raises:
        ArtifactError: The run is missing, unfinished, damaged or of another stage.
        DataError: The predictions are refused.
        UsageError: The threshold lies outside the probabilities, or there are none.
    """
    begun = given.begin(settings)
    judged, units = begun.judged, begun.judged.units
    deployed.declared(judged)
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
        notes=begun.notes,
    )


def cost(settings: EvaluateSettings, *, device: str = "auto") -> Cost:
    """Return what the run would take at most, from a few resamples; writes nothing.

    Of an external test also from what one model makes of a few rows; without controls and maps.
    """
    few = settings.model_copy(update={"resamples": min(_TRIAL, settings.draws), "smoke": False})
    begun = given.begin(few)
    judged = begun.judged
    started = time.perf_counter()
    findings.find(judged, _draws(judged), Silent())
    seconds = (time.perf_counter() - started) * settings.draws / few.draws
    models = given.cost(begun, device)
    left_out = "; controls and maps take more" if _has_extras(settings) else ""
    return Cost(
        seconds=seconds + models.seconds,
        disk_bytes=_COLUMN_BYTES * len(judged.units.columns) + models.disk_bytes,
        memory_bytes=peak_memory(),
        basis=f"at most, from {few.draws} resamples{models.basis}{left_out}",
    )


def _has_extras(settings: EvaluateSettings) -> bool:
    """Say whether more is asked for than is timed: what looks at images or at all metadata."""
    asked = set(known_controls.chosen(settings.controls)) - set(known_controls.QUICK)
    return bool(asked) or settings.thumbnails > 0


def run(
    settings: EvaluateSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
) -> EvaluateResult:
    """Write `report.json`, its tables, `report.html` and a model card into a new run folder.

    Args:
        settings: Which predictions, and how intervals are drawn.
        out: Run folder to make.
        reporter: Where progress goes.
        resume: Write an unfinished evaluation anew in its folder.
        device: auto, cpu, cuda or cuda:N, where models have to judge.

    Raises:
        ArtifactError: The run is missing, unfinished, damaged or of another stage.
        DataError: The predictions are refused; nothing was written.
        UsageError: The output folder is in use, or the threshold lies outside the probabilities.
        MissingExtra: A PDF is wanted, and what makes it is not installed.
    """
    if settings.pdf:
        printing.require()
    begun = given.begin(settings, reporter or Silent())
    judged, started = begun.judged, given.start(begun, device)
    wanted = deployed.declared(judged)
    with run_folder.create(
        out, stage="evaluate", settings=_recorded(judged), inputs=begun.inputs, resume=resume
    ) as folder:
        told = Tee(reporter or Silent(), folder.log)
        if started is not None:
            judged = given.score(begun, started, out, told)
        told.note(
            f"judging {len(judged.units.truth)} units of {judged.units.n_patients} patients by "
            f"{settings.draws} resamples; the unit is the {judged.units.kind}: "
            f"{judged.units.reason}"
        )
        found = _find(judged, wanted, told, device)
        for caution in found.cautions:
            told.warn(caution)
        folder.environment(**(started.facts() if started else {}))
        pictures = saliency.draw(found.saliency)
        _write(out, contents.compose(found, judged), pictures, pdf=settings.pdf)
    return _result(out, judged, found)


def _find(judged: Judged, wanted: Declared, reporter: Reporter, device: str) -> Findings:
    """Return everything a report says."""
    draws = _draws(judged)
    found = findings.find(judged, draws, reporter, wanted.thresholds)
    return replace(
        found,
        controls=_controls(judged, reporter, device),
        saliency=_saliency(judged, reporter, device),
        deployed=deployed.find(judged, draws, wanted, found.estimates),
        provenance=provenance.find(judged.source),
    )


def _controls(judged: Judged, reporter: Reporter, device: str) -> tuple[Verdict, ...]:
    """Return what the controls found that were asked for."""
    names = known_controls.chosen(judged.settings.controls)
    verdicts = controls.run(names, judged, reporter, device=device)
    for verdict in verdicts:
        reporter.note(f"control {verdict.name}: {verdict.light}: {verdict.said}")
    return verdicts


def _saliency(judged: Judged, reporter: Reporter, device: str) -> Saliency | None:
    """Return the maps of single images, where they were asked for."""
    if not judged.settings.thumbnails:
        return None
    from medssl.training import explaining  # noqa: PLC0415 - torch

    found = explaining.find(judged, reporter, device=device)
    reporter.note(f"maps: {f'not drawn: {found.reason}' if found.reason else found.said}")
    return found


def _write(
    out: Path, content: Mapping[str, Any], pictures: Mapping[str, str], *, pdf: bool
) -> None:
    report.write_tables(out, content)
    report.write(out, content)
    record = report.read(out)
    html = page.render(record, pictures)
    files.write_text(out / "report.html", html)
    files.write_text(out / "model_card.md", model_card.render(record))
    if pdf:
        files.write_bytes(out / "report.pdf", printing.pdf(html))


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
        external=judged.source.external,
        elsewhere=found.elsewhere,
        problem=requirements.problem(
            found.deployed.requirements,
            found.controls if judged.settings.strict else (),
            out / "report.html",
        ),
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
