"""`medssl compare`: several finetune runs on the same folds, side by side."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.artifacts import arms, origin, predictions, run_folder, trials
from medssl.artifacts import comparison as artifact
from medssl.artifacts.origin import Origin
from medssl.config import compare as config
from medssl.config.compare import CompareSettings
from medssl.config.task import Kind
from medssl.evaluation import (
    assessment,
    cautions,
    comparison,
    fold_differences,
    intervals,
    label_efficiency,
    leading,
    significance,
    trainings,
    units,
)
from medssl.evaluation.assessment import Estimate, Measured
from medssl.evaluation.comparison import Difference
from medssl.evaluation.significance import Tested
from medssl.evaluation.trainings import Trainings
from medssl.evaluation.units import Units
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.foundation.wording import counted
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
    tests: tuple[str, ...]  # metrics with p-values
    settings: tuple[str, ...]  # that differ between the runs
    resamples: int
    permutations: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """How one of the runs was made."""

    name: str
    schedule: str
    start: str  # where the encoder came from
    training_patients: float  # mean over folds
    fraction: float  # of all training patients


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    """Where the comparison is, and what it says in short."""

    folder: Path
    report: Path
    made: tuple[Made, ...]
    selection: str  # what to know before picking the best
    target: str
    task: Kind
    columns: tuple[str, ...]
    unit: str
    reason: str
    n_patients: int  # images, where patients are unknown
    n_units: int
    estimates: dict[str, tuple[Estimate, ...]]
    differences: tuple[Difference, ...]
    tests: tuple[Tested, ...]
    configurations: int  # tried for all runs together
    trainings: dict[str, tuple[Trainings, ...]]  # of each run, from other seeds on the same folds
    cautions: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Run:
    name: str
    origin: Origin
    units: Units
    tried: int  # configurations

    @property
    def ratio(self) -> float | None:
        """Patients tested for one trained on; None where folds were not drawn at random."""
        assert self.origin.splits is not None  # every finetune run has folds
        cohort = self.origin.models.n_patients if self.origin.models else None
        return fold_differences.ratio(self.origin.splits, cohort)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    runs: tuple[Compared, ...]
    differences: tuple[Difference, ...]
    tests: tuple[Tested, ...]


def plan(settings: CompareSettings) -> ComparePlan:
    """Return what `run` would do with these settings.

    Raises:
        ArtifactError: A run is missing, unfinished, damaged or of another stage.
        DataError: The runs were not made on the same images in the same folds.
        UsageError: A metric to test is none of theirs.
    """
    runs = _read(settings)
    first = runs[0].units
    usable = assessment.metrics_of(first, None)
    compared = _pairs(settings, runs)
    differing = side_by_side.differing([one.origin for one in runs])
    return ComparePlan(
        runs=tuple(one.name for one in runs),
        selection=_selection(runs),
        target=first.target,
        columns=first.columns,
        unit=first.kind,
        reason=first.reason,
        n_patients=first.n_patients,
        n_units=len(first.truth),
        metrics=tuple(dict.fromkeys(metric.name for metric in usable)),
        pairs=tuple(f"{later} minus {earlier}" for later, earlier in compared),
        tests=significance.asked(settings.tests, usable, first),
        settings=tuple(f"{row['setting']}: {', '.join(row['values'])}" for row in differing),
        resamples=settings.draws,
        permutations=settings.swaps,
    )


def cost(settings: CompareSettings) -> Cost:
    """Return what the run would take at most, from a few resamples; writes nothing."""
    runs = _read(settings)
    share = min(_TRIAL, settings.draws) / settings.draws
    update = {"resamples": round(settings.draws * share), "smoke": False}
    update["permutations"] = max(1, round(settings.swaps * share))
    few = settings.model_copy(update=update)
    started = time.perf_counter()
    _compare(few, runs, Silent())
    return Cost(
        seconds=(time.perf_counter() - started) / share,
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
        UsageError: The output folder is in use, or a metric to test is none of the runs'.
    """
    reporter = reporter or Silent()
    runs = _read(settings)
    significance.asked(settings.tests, assessment.metrics_of(runs[0].units), runs[0].units)
    inputs = {f"predictions of {one.name}": one.origin.predictions_sha256 for one in runs}
    with run_folder.create(
        out, stage="compare", settings=settings, inputs=inputs, resume=resume
    ) as folder:
        reporter = Tee(reporter, folder.log)
        first = runs[0].units
        reporter.note(
            f"{_selection(runs)}; {len(first.truth)} units of "
            f"{first.n_patients} patients, {settings.draws} resamples; "
            f"the unit is the {first.kind}: {first.reason}"
        )
        judged = _compare(settings, runs, reporter)
        said = {"cautions": _shared_first(runs, judged.runs), "notes": _notes(runs)}
        for caution in said["cautions"]:
            reporter.warn(caution)
        folder.environment()
        content = side_by_side.compose(
            judged.runs, judged.differences, judged.tests, settings, said
        )
        artifact.write_tables(out, content)
        artifact.write(out, content)
        files.write_text(out / "comparison.html", page.render_comparison(artifact.read(out)))
    return _result(runs, judged, out, said)


def _result(
    runs: Sequence[_Run], judged: _Judged, out: Path, said: dict[str, tuple[str, ...]]
) -> CompareResult:
    first = runs[0].units
    return CompareResult(
        folder=out,
        report=out / "comparison.html",
        made=tuple(
            Made(
                name=one.name,
                schedule=side_by_side.schedule(one.origin),
                start=one.arm.start,
                training_patients=one.arm.patients,
                fraction=one.arm.fraction,
            )
            for one in judged.runs
        ),
        selection=_selection(runs),
        target=first.target,
        task=first.task,
        columns=first.columns,
        unit=first.kind,
        reason=first.reason,
        n_patients=first.n_patients,
        n_units=len(first.truth),
        estimates={one.name: one.estimates for one in judged.runs},
        differences=judged.differences,
        tests=judged.tests,
        configurations=sum(one.tried for one in runs),
        trainings={one.name: one.trainings for one in judged.runs},
        cautions=said["cautions"],
        notes=said["notes"],
    )


def _selection(runs: Sequence[_Run]) -> str:
    return side_by_side.selection(len(runs), sum(one.tried for one in runs))


def _read(settings: CompareSettings) -> list[_Run]:
    places = _places(settings)
    origins = {name: origin.of_run(path) for name, path in places.items()}
    tables = {name: predictions.read(path / origin.PREDICTIONS) for name, path in places.items()}
    plans = {name: one.splits for name, one in origins.items() if one.splits is not None}
    assert len(plans) == len(places)  # every finetune run has folds
    comparison.require_same(plans, tables)
    return [
        _Run(
            name=name,
            origin=origins[name],
            units=units.build(
                tables[name],
                target=plans[name].target,
                aggregate=settings.aggregate,
                where=str(path / origin.PREDICTIONS),
                grouped=plans[name].group != "none",
                task=plans[name].task,
            ),
            tried=_tried(path),
        )
        for name, path in places.items()
    ]


def _places(settings: CompareSettings) -> dict[str, Path]:
    """Return the folder of each run by its name, those beside the runs given too."""
    named = dict(zip(settings.called(), settings.runs, strict=True))
    if not settings.beside:
        return named
    found = {}
    for name, path in named.items():
        run_folder.require_finished(path, "finetune")
        beside = {one.name: path / one.folder for one in arms.read(path)} or {"": path}
        for arm, place in beside.items():
            found[arm if len(named) == 1 else f"{name}/{arm}".rstrip("/")] = place
    if len(found) < 2:
        raise config.too_few(len(found))
    if not settings.names:
        return found
    settings.require_names(len(found))
    return dict(zip(settings.names, found.values(), strict=True))


def _tried(run: Path) -> int:
    """Return how many configurations a run is the best of; one that was not tuned is one."""
    path = run / "trials.parquet"
    return trials.configurations(trials.read(path)) if path.is_file() else 1


def _pairs(settings: CompareSettings, runs: Sequence[_Run]) -> tuple[tuple[str, str], ...]:
    found: tuple[tuple[str, str], ...] = ()
    if settings.beside and not settings.all_pairs:
        found = label_efficiency.pairs([label_efficiency.arm(one.name, one.origin) for one in runs])
    return found or comparison.pairs([one.name for one in runs], every=settings.all_pairs)


def _compare(settings: CompareSettings, runs: Sequence[_Run], reporter: Reporter) -> _Judged:
    rng = seeding.rng(settings.seed, "evaluate", "bootstrap")  # so that `evaluate` finds the same
    draws = intervals.draw_both(runs[0].units.stratum, settings.draws, rng)
    chosen = intervals.choose(settings.intervals, settings.draws, runs[0].units.n_patients)
    measured = {
        one.name: assessment.measure(one.units, draws, leave_out=chosen.method == "bca")
        for one in reporter.track(runs, task="runs", unit="runs")
    }
    differences = comparison.differences(measured, _pairs(settings, runs), settings.level)
    first = measured[runs[0].name]
    plan = significance.Plan(
        metrics=significance.asked(settings.tests, [m for _, m in first.rows], first.units),
        swaps=settings.swaps,
        level=settings.level,
        seed=settings.seed,
    )
    ratios = {one.name: one.ratio for one in runs}
    return _Judged(
        runs=tuple(_compared(one, measured[one.name], settings.level) for one in runs),
        differences=differences,
        tests=significance.of(differences, measured, ratios, plan),
    )


def _compared(one: _Run, measured: Measured, level: float) -> Compared:
    return Compared(
        name=one.name,
        origin=one.origin,
        units=one.units,
        estimates=assessment.estimates(measured, level),
        trainings=tuple(_trainings(measured)),
        arm=label_efficiency.arm(one.name, one.origin),
        tried=one.tried,
    )


def _trainings(measured: Measured) -> Iterator[Trainings]:
    """Yield how what stands first varies from training to training."""
    named = {
        (metric.name, measured.column(n)): metric for n, (_, metric) in enumerate(measured.rows)
    }
    for name, column in leading.first(measured.units.task, named):
        metric = named[name, column]
        columns = significance.columns_of(measured.units, metric, column)
        yield trainings.find(measured.units, metric, columns, column)


def _shared_first(runs: Sequence[_Run], compared: Sequence[Compared]) -> tuple[str, ...]:
    """Return the cautions: those of all runs once, then those of some with their names."""
    found = {}
    for one, judged in zip(runs, compared, strict=True):
        drifts = assessment.drifts(one.units, assessment.folds(one.units))
        known = cautions.circumstances(one.origin)
        found[one.name] = cautions.find(one.units, judged.estimates, drifts, known)
    return _merged(found)


def _notes(runs: Sequence[_Run]) -> tuple[str, ...]:
    said = {}
    for one in runs:
        own = list(cautions.notes(one.units, cautions.circumstances(one.origin)))
        count = trainings.count(one.units)
        if count < trainings.ENOUGH:
            own.append(
                f"The models of a fold were trained from {counted(count, 'seed')}: how much the "
                f"result varies from training to training is {'not' if count < 2 else 'hardly'} "
                "known; `medssl finetune --seeds 3` tells"
            )
        if one.ratio is None:
            own.append("Folds were not drawn at random, so that no corrected t of folds is given")
        said[one.name] = tuple(own)
    return _merged(said)


def _merged(said: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    sayers: dict[str, list[str]] = {}
    for name, texts in said.items():
        for text in texts:
            sayers.setdefault(text, []).append(name)
    shared = [text for text, names in sayers.items() if len(names) == len(said)]
    own = [f"{', '.join(names)}: {text}" for text, names in sayers.items() if text not in shared]
    return (*shared, *own)
