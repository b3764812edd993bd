"""`medssl finetune`: cross-validated models of a site cohort, each scored on unseen patients."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medssl.artifacts import archive, arms, run_folder, site_models, splits
from medssl.artifacts.run_folder import RunFolder, RunLog
from medssl.config.arms import RANDOM, main, spread
from medssl.config.finetune import FinetuneSettings
from medssl.data import cohort as cohorts
from medssl.foundation import files
from medssl.foundation.cost import Cost
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.foundation.wording import counted
from medssl.reporting import progress
from medssl.reporting import schedule as schedule_figure
from medssl.reporting.progress import ProgressFigure
from medssl.training import cross_validate, phases, quick_look, recipes, runtime, site_run
from medssl.training.cross_validate import Fold
from medssl.training.site_run import Place, Prepared

_DRAWN_FOLDS = 6  # as many colours as a figure tells apart


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What a finetune run ended with."""

    folder: Path
    target: str
    task: str
    classes: tuple[str, ...]
    schedule: str
    init: str
    fraction: float  # of the training patients
    n_images: int  # or series
    whole_series: bool  # which of the two
    n_patients: int
    n_train_patients: int  # of the first fold
    n_folds: int  # models trained, over all repeats
    measure: str  # of the quick look: AUROC, or the correlation of amounts
    of_folds: tuple[float, ...]  # per image, to look at; `medssl evaluate` gives the interval
    notes: tuple[str, ...]
    arms: tuple["FinetuneResult", ...] = ()  # from other weights, of fewer patients


@dataclass(frozen=True, kw_only=True)
class FinetunePlan:
    """What a finetune run would do."""

    settings: FinetuneSettings  # every auto replaced
    notes: tuple[str, ...]  # and why
    classes: dict[str, int]  # images per class
    n_patients: int
    beside: tuple[str, ...]  # runs from other weights, or of fewer patients
    phases: tuple[dict[str, Any], ...]  # epochs and learning rates; see `training/phases.spans`


def plan(settings: FinetuneSettings, *, device: str = "auto") -> FinetunePlan:
    """Check everything cheap, resolve every `auto`, and lay out the schedule.

    Raises:
        UsageError: A plugin or an option does not exist.
        DataError: The labels do not allow the folds asked for, or patients are not known.
        ArtifactError: Archive or weights are missing or do not fit.
    """
    ready, beside = _prepare(settings, device)
    recipe = ready.recipe
    return FinetunePlan(
        settings=recipe.settings.model_copy(update=_told(settings)),
        beside=tuple(beside),
        notes=recipe.notes,
        classes=cohorts.counts_of_classes(recipe.cohort),
        n_patients=len(ready.split.people.classes),
        phases=tuple(phases.spans(recipe.phases, site_run.steps_per_epoch(ready))),
    )


def cost(settings: FinetuneSettings, *, device: str = "auto") -> Cost:
    """Return what the run would take, from a few of its steps; writes nothing."""
    ready, beside = _prepare(settings, device)
    started = runtime.start(device, ready.recipe.settings.precision)
    one = cross_validate.cost(started, ready.recipe, site_run.folds(ready, Path()))
    whole = max(settings.fractions)
    share = sum(arm.recipe.settings.fractions[0] / whole for arm in beside.values())
    return replace(
        one,
        seconds=one.seconds * (1 + share),
        disk_bytes=one.disk_bytes * (1 + len(beside)),
        basis=one.basis + (f", and {counted(len(beside), 'run')} beside it" if beside else ""),
    )


def run(
    settings: FinetuneSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    device: str = "auto",
    workers: int | None = 1,
    resume: bool = False,
) -> FinetuneResult:
    """Train and score one model per fold; and the same with other weights and fewer patients.

    Args:
        settings: As the user gave them.
        out: Run folder.
        reporter: Told about progress and losses.
        device: auto, cpu, cuda (all GPUs) or cuda:N.
        workers: Processes that train folds side by side; None: one per core or GPU.
        resume: Continue the unfinished run in ``out``; folds that are done stay.

    Raises:
        UsageError: A setting is wrong, or ``out`` is in use.
        DataError: The labels do not allow the folds asked for, or patients are not known.
        ArtifactError: Archive or weights are missing or do not fit.
        TrainingError: The loss is not finite.
    """
    reporter = reporter or Silent()
    place = Place(device=device, workers=workers, reporter=reporter)
    ready, beside = _prepare(settings, device)
    inputs = {
        f"baseline {name}": arm.recipe.inputs["init_from"]
        for name, arm in beside.items()
        if arm.recipe.init
    }
    with _folder(ready, out, resume=resume, told=_told(settings), inputs=inputs) as folder:
        found = [_train(ready, folder, place)]
        for name, arm in beside.items():
            found.append(_arm(arm, out / "arms" / name, place, name=name))
        if beside:
            arms.write(out, [_arm_info(result, out) for result in found])
    return replace(found[0], arms=tuple(found[1:]))


def _prepare(settings: FinetuneSettings, device: str) -> tuple[Prepared, dict[str, Prepared]]:
    """Return what the run needs, and by name what each run beside it needs.

    All is checked before any of them is trained.
    """
    ready = site_run.prepare(main(settings), device)
    beside = spread(ready.recipe.settings.model_copy(update=_told(settings)))
    return ready, {
        arm.name: site_run.prepare(recipes.refitted(arm.settings), device) for arm in beside
    }


def _told(settings: FinetuneSettings) -> dict[str, Any]:
    """Return the settings that stand for runs beside the main one."""
    return {"baselines": settings.baselines, "fractions": settings.fractions}


def _folder(
    ready: Prepared,
    out: Path,
    *,
    resume: bool,
    told: dict[str, Any] | None = None,
    inputs: dict[str, str] | None = None,
) -> AbstractContextManager[RunFolder]:
    """Make or reopen a run folder; ``told`` and ``inputs`` are of the runs beside it."""
    recipe = ready.recipe
    settings = recipe.settings.model_copy(update=told)
    info = archive.read_info(settings.archive)
    read = {"archive": info.hash, **recipe.inputs, **(inputs or {})}
    return run_folder.create(out, stage="finetune", settings=settings, inputs=read, resume=resume)


def _arm(ready: Prepared, out: Path, place: Place, *, name: str) -> FinetuneResult:
    """Train one of the runs beside the main one, or read what it ended with."""
    place.reporter.note(f"beside it: {name}")
    begun = (out / "status.json").is_file()
    if begun and run_folder.read_status(out)["status"] == "finished":
        return _result(ready, site_run.folds(ready, out), out)
    with _folder(ready, out, resume=begun) as folder:
        return _train(ready, folder, place)


def _train(ready: Prepared, folder: RunFolder, place: Place) -> FinetuneResult:
    """Train what is not trained yet of a run, and write what its folds say together."""
    recipe, out = ready.recipe, folder.path
    started = place.start(recipe.settings)
    folder.environment(**started.facts())
    told = Tee(place.reporter, folder.log)
    for note in recipe.notes:
        told.note(note)
    splits.write(out / "splits.json", site_run.splits_of(ready))
    _draw_schedule(ready, out)
    planned = site_run.folds(ready, out)
    apart = partial(site_run.train_apart, recipe.settings, out)
    coming = site_run.trained(
        planned,
        place,
        here=lambda fold: cross_validate.run_fold(started, recipe, fold, place.reporter),
        apart=apart if place.workers or site_run.is_long(ready, planned) else None,
    )
    for _ in told.track(range(len(planned)), task="folds", unit="folds"):
        next(coming)  # in here, as it is work and no waiting for data
        done = [fold for fold in planned[:_DRAWN_FOLDS] if fold.is_done]
        _draw_progress(done, out)
    result = _result(ready, planned, out)
    site_run.gather(planned, out)
    site_models.write(out, site_run.record(recipe))
    return result


def _result(ready: Prepared, planned: Sequence[Fold], out: Path) -> FinetuneResult:
    recipe = ready.recipe
    parts = site_run.parts(planned)
    trained = np.array(recipe.cohort.patients)[planned[0].train]
    return FinetuneResult(
        folder=out,
        target=recipe.task.name,
        task=recipe.task.kind,
        classes=recipe.task.classes,
        schedule=recipe.settings.schedule,
        init=str(recipe.settings.init_from),
        fraction=recipe.settings.fractions[0],
        n_images=len(recipe.cohort),
        whole_series=recipe.cohort.whole_series,
        n_patients=len(ready.split.people.classes),
        n_train_patients=len(np.unique(trained)),
        n_folds=len(planned),
        measure=quick_look.measure(recipe.task),
        of_folds=tuple(quick_look.value(part, recipe.task) for part in parts),
        notes=recipe.notes,
    )


def _arm_info(result: FinetuneResult, out: Path) -> arms.ArmInfo:
    at = result.folder.relative_to(out)
    return arms.ArmInfo(
        name=at.name or "main",
        folder=at.as_posix(),
        init=RANDOM if result.init == "none" else Path(result.init).name,
        fraction=result.fraction,
        n_train_patients=result.n_train_patients,
        measure=result.measure,
        of_folds=result.of_folds,
    )


def _draw_schedule(ready: Prepared, folder: Path) -> None:
    planned, steps = ready.recipe.phases, site_run.steps_per_epoch(ready)
    rates = phases.learning_rates(planned, steps)
    starts = np.cumsum([0, *(phase.epochs for phase in planned[:-1])]).tolist()
    named = list(zip((phase.name for phase in planned), starts, strict=True))
    figure = schedule_figure.draw(rates, steps, named, phases.norms_trained(planned))
    files.write_bytes(folder / "schedule.png", figure)


def _draw_progress(trained: Sequence[Fold], folder: Path) -> None:
    """Draw the losses of the folds, and the learning rate of the head, which they share."""
    course = []
    for k, fold in enumerate(trained):
        for point in RunLog(fold.folder).history():
            if "total" in point:
                rate = {} if k else {"lr": point["lr"]}
                course.append(
                    {"step": point["step"], f"total.fold {k + 1}": point["total"], **rate}
                )
    files.write_bytes(folder / ProgressFigure.NAME, progress.draw(course))
