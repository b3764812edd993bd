"""`medssl evaluate`: from predictions to a report whose numbers hold."""

from dataclasses import dataclass
from pathlib import Path

from medssl.artifacts import (
    foreign_predictions,
    predictions,
    records,
    report,
    run_folder,
    site_models,
    splits,
)
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import assessment, cautions, curves, intervals, units
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.cautions import Circumstances
from medssl.evaluation.units import Units
from medssl.foundation import files, seeding
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.reporting import contents, page
from medssl.reporting.contents import Findings, Origin

SMOKE_RESAMPLES = 200


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
    resamples: int


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """Where the report is, and what it says in short."""

    folder: Path
    report: Path
    target: str
    unit: str
    reason: str
    n_patients: int  # images, where patients are unknown
    n_units: int
    estimates: tuple[Estimate, ...]
    cautions: tuple[str, ...]
    notes: tuple[str, ...]


def plan(settings: EvaluateSettings) -> EvaluatePlan:
    """Return what `run` would do with these settings.

    Raises:
        ArtifactError: The run is missing, unfinished, damaged or of another stage.
        DataError: The predictions are refused.
    """
    _, judged = _read(settings)
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
        metrics=tuple(metric.name for metric in assessment.usable_metrics(judged)),
        resamples=_resamples(settings),
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
        UsageError: The output folder is in use.
    """
    reporter = reporter or Silent()
    origin, judged = _read(settings)
    inputs = {"predictions": origin.predictions_sha256}
    with run_folder.create(
        out, stage="evaluate", settings=settings, inputs=inputs, resume=resume
    ) as folder:
        reporter = Tee(reporter, folder.log)
        reporter.note(
            f"judging {len(judged.truth)} units of {judged.n_patients} patients by "
            f"{_resamples(settings)} resamples; the unit is the {judged.kind}: {judged.reason}"
        )
        findings = _assess(settings, origin, judged, reporter)
        for caution in findings.cautions:
            reporter.warn(caution)
        folder.environment()
        content = contents.compose(findings, origin, settings, _resamples(settings))
        report.write_tables(out, content)
        report.write(out, content)
        files.write_text(out / "report.html", page.render(report.read(out)))
    return EvaluateResult(
        folder=out,
        report=out / "report.html",
        target=judged.target,
        unit=judged.kind,
        reason=judged.reason,
        n_patients=judged.n_patients,
        n_units=len(judged.truth),
        estimates=findings.estimates,
        cautions=findings.cautions,
        notes=findings.notes,
    )


def _read(settings: EvaluateSettings) -> tuple[Origin, Units]:
    if settings.run is not None:
        run_folder.require_finished(settings.run, "finetune")
        path = settings.run / "predictions.parquet"
        table, origin = predictions.read(path), _origin_of_run(settings.run)
    else:
        assert settings.predictions is not None  # the settings have one of the two
        path = settings.predictions
        table = foreign_predictions.read(path)
        origin = Origin(predictions_sha256=files.sha256(path))
    grouped = origin.splits is None or origin.splits.group != "none"
    return origin, units.build(
        table,
        target=origin.splits.target if origin.splits else foreign_predictions.TARGET,
        aggregate=settings.aggregate,
        where=str(path),
        grouped=grouped,
    )


def _origin_of_run(run: Path) -> Origin:
    described = (run / "finetune.json").is_file()
    return Origin(
        predictions_sha256=files.sha256(run / "predictions.parquet"),
        splits=splits.read(run / "splits.json"),
        settings=run_folder.read_config(run),
        environment=records.read(run / "env.json", run_folder.ENV_SCHEMA),
        models=site_models.read(run) if described else None,
    )


def _assess(
    settings: EvaluateSettings, origin: Origin, judged: Units, reporter: Reporter
) -> Findings:
    rng = seeding.rng(settings.seed, "evaluate", "bootstrap")
    counts = intervals.draw(judged.stratum, _resamples(settings), rng)
    estimates = assessment.estimates(judged, counts, settings.level)
    folds = assessment.folds(judged)
    drifts = assessment.drifts(judged, folds)
    known = _circumstances(origin)
    columns = range(len(judged.columns))
    tracked = list(reporter.track(columns, task="curves", unit="columns"))
    drawn = [curves.roc(judged, k, counts, settings.level) for k in tracked]
    probable = tracked if assessment.are_probabilities(judged) else []
    smooth = [curves.calibration(judged, k, counts, settings.level) for k in probable]
    return Findings(
        units=judged,
        estimates=estimates,
        folds=folds,
        drifts=drifts,
        rocs=tuple(drawn),
        calibrations=tuple(curve for curve in smooth if curve is not None),
        cautions=cautions.find(judged, estimates, drifts, known),
        notes=cautions.notes(judged, known),
    )


def _circumstances(origin: Origin) -> Circumstances:
    trial = bool(origin.settings.get("smoke", False))
    if origin.models is None:
        return Circumstances(trial=trial)
    return Circumstances(
        synthetic=origin.models.synthetic,
        trial=trial,
        pretrained=bool(origin.models.init),
        overlap=origin.models.init.get("overlap_patients"),
    )


def _resamples(settings: EvaluateSettings) -> int:
    return min(settings.resamples, SMOKE_RESAMPLES) if settings.smoke else settings.resamples
