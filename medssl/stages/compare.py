"""`medssl compare`: several finetune runs on the same folds, side by side."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.artifacts import comparison as artifact
from medssl.artifacts import origin, predictions, run_folder
from medssl.artifacts.origin import Origin
from medssl.config.compare import CompareSettings
from medssl.evaluation import assessment, cautions, comparison, intervals, units
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.comparison import Difference
from medssl.evaluation.units import Units
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.reporting import page, side_by_side
from medssl.reporting.side_by_side import Compared

_TRIAL = 100  # resamples drawn to say how long all of them take
_RUN_BYTES = 50_000  # of a comparison and its tables, per run


@dataclass(frozen=True, kw_only=True)
class ComparePlan:
    """What a comparison would judge; nothing was computed or written."""

    runs: tuple[str, ...]
    selection: str
    target: str
    columns: tuple[str, ...]
    unit: str
    reason: str
    n_patients: int  # images, where patients are unknown
    n_units: int
    metrics: tuple[str, ...]
    pairs: tuple[str, ...]
    settings: tuple[str, ...]  # that differ between the runs
    resamples: int


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    """Where the comparison is, and what it says in short."""

    folder: Path
    report: Path
    runs: tuple[str, ...]
    schedules: tuple[str, ...]
    inits: tuple[str, ...]  # where the encoders came from
    selection: str  # what to know before picking the best
    target: str
    unit: str
    reason: str
    n_patients: int  # images, where patients are unknown
    n_units: int
    estimates: dict[str, tuple[Estimate, ...]]
    differences: tuple[Difference, ...]
    cautions: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Run:
    name: str
    origin: Origin
    units: Units


def plan(settings: CompareSettings) -> ComparePlan:
    """Return what `run` would do with these settings.

    Raises:
        ArtifactError: A run is missing, unfinished, damaged or of another stage.
        DataError: The runs were not made on the same images in the same folds.
    """
    runs = _read(settings)
    first = runs[0].units
    usable = [
        metric.name
        for k in range(len(first.columns))
        for metric in assessment.usable_metrics(first, k)
    ]
    compared = comparison.pairs([one.name for one in runs], every=settings.all_pairs)
    differing = side_by_side.differing([one.origin for one in runs])
    return ComparePlan(
        runs=tuple(one.name for one in runs),
        selection=side_by_side.selection(len(runs)),
        target=first.target,
        columns=first.columns,
        unit=first.kind,
        reason=first.reason,
        n_patients=first.n_patients,
        n_units=len(first.truth),
        metrics=tuple(dict.fromkeys(usable)),
        pairs=tuple(f"{later} minus {earlier}" for later, earlier in compared),
        settings=tuple(f"{row['setting']}: {', '.join(row['values'])}" for row in differing),
        resamples=settings.draws,
    )


def cost(settings: CompareSettings) -> Cost:
    """Return what the run would take at most, from a few resamples; writes nothing."""
    runs = _read(settings)
    few = settings.model_copy(update={"resamples": min(_TRIAL, settings.draws), "smoke": False})
    started = time.perf_counter()
    _compare(few, runs, Silent())
    return Cost(
        seconds=(time.perf_counter() - started) * settings.draws / few.draws,
        disk_bytes=_RUN_BYTES * len(runs),
        memory_bytes=peak_memory(),
        basis=f"at most, from {few.draws} resamples",
    )


def run(
    settings: CompareSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    resume: bool = False,
) -> CompareResult:
    """Write `comparison.json`, its tables and `comparison.html` into a new run folder.

    Args:
        settings: Which runs, and how intervals are drawn.
        out: Run folder to make.
        reporter: Where progress goes.
        resume: Write an unfinished comparison anew in its folder.

    Raises:
        ArtifactError: A run is missing, unfinished, damaged or of another stage.
        DataError: The runs were not made on the same images in the same folds; nothing was written.
        UsageError: The output folder is in use.
    """
    reporter = reporter or Silent()
    runs = _read(settings)
    inputs = {f"predictions of {one.name}": one.origin.predictions_sha256 for one in runs}
    with run_folder.create(
        out, stage="compare", settings=settings, inputs=inputs, resume=resume
    ) as folder:
        reporter = Tee(reporter, folder.log)
        first = runs[0].units
        reporter.note(
            f"{side_by_side.selection(len(runs))}; {len(first.truth)} units of "
            f"{first.n_patients} patients, {settings.draws} resamples; "
            f"the unit is the {first.kind}: {first.reason}"
        )
        compared, differences = _compare(settings, runs, reporter)
        said = {"cautions": _shared_first(runs, compared), "notes": _notes(runs)}
        for caution in said["cautions"]:
            reporter.warn(caution)
        folder.environment()
        content = side_by_side.compose(compared, differences, settings, said)
        artifact.write_tables(out, content)
        artifact.write(out, content)
        files.write_text(out / "comparison.html", page.render_comparison(artifact.read(out)))
    return CompareResult(
        folder=out,
        report=out / "comparison.html",
        runs=tuple(one.name for one in runs),
        schedules=tuple(side_by_side.schedule(one.origin) for one in runs),
        inits=tuple(side_by_side.init(one.origin) for one in runs),
        selection=side_by_side.selection(len(runs)),
        target=first.target,
        unit=first.kind,
        reason=first.reason,
        n_patients=first.n_patients,
        n_units=len(first.truth),
        estimates={one.name: one.estimates for one in compared},
        differences=differences,
        cautions=said["cautions"],
        notes=said["notes"],
    )


def _read(settings: CompareSettings) -> list[_Run]:
    names = settings.called()
    origins = [origin.of_run(path) for path in settings.runs]
    tables = [predictions.read(path / origin.PREDICTIONS) for path in settings.runs]
    plans = [source.splits for source in origins if source.splits is not None]
    assert len(plans) == len(names)  # every finetune run has folds
    for plan, path in zip(plans, settings.runs, strict=True):
        units.require_judged(plan.task, str(path / origin.PREDICTIONS))
    comparison.require_same(
        dict(zip(names, plans, strict=True)), dict(zip(names, tables, strict=True))
    )
    return [
        _Run(
            name=name,
            origin=source,
            units=units.build(
                table,
                target=plan.target,
                aggregate=settings.aggregate,
                where=str(path / origin.PREDICTIONS),
                grouped=plan.group != "none",
            ),
        )
        for name, source, table, plan, path in zip(
            names, origins, tables, plans, settings.runs, strict=True
        )
    ]


def _compare(
    settings: CompareSettings, runs: Sequence[_Run], reporter: Reporter
) -> tuple[list[Compared], tuple[Difference, ...]]:
    rng = seeding.rng(settings.seed, "evaluate", "bootstrap")  # so that `evaluate` finds the same
    draws = intervals.draw_both(runs[0].units.stratum, settings.draws, rng)
    measured = {
        one.name: assessment.measure(one.units, draws)
        for one in reporter.track(runs, task="runs", unit="runs")
    }
    compared = [
        Compared(
            name=one.name,
            origin=one.origin,
            units=one.units,
            estimates=assessment.estimates(measured[one.name], settings.level),
        )
        for one in runs
    ]
    chosen = comparison.pairs(list(measured), every=settings.all_pairs)
    return compared, comparison.differences(measured, chosen, settings.level)


def _shared_first(runs: Sequence[_Run], compared: Sequence[Compared]) -> tuple[str, ...]:
    """Return the cautions: those of all runs once, then those of some with their names."""
    found = {}
    for one, judged in zip(runs, compared, strict=True):
        drifts = assessment.drifts(one.units, assessment.folds(one.units))
        known = cautions.circumstances(one.origin)
        found[one.name] = cautions.find(one.units, judged.estimates, drifts, known)
    return _merged(found)


def _notes(runs: Sequence[_Run]) -> tuple[str, ...]:
    return _merged(
        {one.name: cautions.notes(one.units, cautions.circumstances(one.origin)) for one in runs}
    )


def _merged(said: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    sayers: dict[str, list[str]] = {}
    for name, texts in said.items():
        for text in texts:
            sayers.setdefault(text, []).append(name)
    shared = [text for text, names in sayers.items() if len(names) == len(said)]
    own = [f"{', '.join(names)}: {text}" for text, names in sayers.items() if text not in shared]
    return (*shared, *own)
