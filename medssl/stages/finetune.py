"""`medssl finetune`: cross-validated models of a site cohort, each scored on unseen patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from medssl.artifacts import archive, predictions, run_folder, site_models, splits
from medssl.artifacts.run_folder import RunLog
from medssl.config.finetune import FinetuneSettings
from medssl.data import cohort as cohorts
from medssl.evaluation import protocols
from medssl.evaluation.protocols import Groups, People, Plan
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.reporting import progress
from medssl.reporting import schedule as schedule_figure
from medssl.reporting.progress import ProgressFigure
from medssl.training import cross_validate, phases, quick_look, recipes, runtime
from medssl.training.cross_validate import Fold
from medssl.training.recipes import Recipe

_DRAWN_FOLDS = 6  # as many colours as a figure tells apart
PHANTOM = "phantom"  # manufacturer of images that medssl generated


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What a finetune run ended with."""

    folder: Path
    target: str
    task: str
    classes: tuple[str, ...]
    schedule: str
    init: str
    n_images: int  # or series
    n_patients: int
    n_folds: int  # models trained, over all repeats
    measure: str  # of the quick look: AUROC, or the correlation of amounts
    of_folds: tuple[float, ...]  # per image, to look at; `medssl evaluate` gives the interval
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FinetunePlan:
    """What a finetune run would do."""

    settings: FinetuneSettings  # every auto replaced
    notes: tuple[str, ...]  # and why
    classes: dict[str, int]  # images per class
    n_patients: int
    phases: tuple[dict[str, Any], ...]  # epochs and learning rates; see `training/phases.spans`


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    recipe: Recipe
    people: People
    plan: Plan
    inner: Groups
    unused: Groups


def plan(settings: FinetuneSettings, *, device: str = "auto") -> FinetunePlan:
    """Check everything cheap, resolve every `auto`, and lay out the schedule.

    Raises:
        UsageError: A plugin or an option does not exist.
        DataError: The labels do not allow the folds asked for, or patients are not known.
        ArtifactError: Archive or weights are missing or do not fit.
    """
    ready = _prepare(settings, device)
    recipe = ready.recipe
    return FinetunePlan(
        settings=recipe.settings,
        notes=recipe.notes,
        classes=cohorts.counts_of_classes(recipe.cohort),
        n_patients=len(ready.people.classes),
        phases=tuple(phases.spans(recipe.phases, _steps_per_epoch(ready))),
    )


def cost(settings: FinetuneSettings, *, device: str = "auto") -> Cost:
    """Return what the run would take, from a few of its steps; writes nothing."""
    ready = _prepare(settings, device)
    started = runtime.start(device, ready.recipe.settings.precision)
    return cross_validate.cost(started, ready.recipe, _folds(ready, Path()))


def run(
    settings: FinetuneSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    device: str = "auto",
    resume: bool = False,
) -> FinetuneResult:
    """Train and score one model per fold.

    Args:
        settings: As the user gave them.
        out: Run folder.
        reporter: Told about progress and losses.
        device: auto, cpu, cuda or cuda:N.
        resume: Continue the unfinished run in ``out``; folds that are done stay.

    Raises:
        UsageError: A setting is wrong, or ``out`` is in use.
        DataError: The labels do not allow the folds asked for, or patients are not known.
        ArtifactError: Archive or weights are missing or do not fit.
        TrainingError: The loss is not finite.
    """
    ready = _prepare(settings, device)
    recipe = ready.recipe
    settings, cohort = recipe.settings, recipe.cohort
    info = archive.read_info(settings.archive)
    started = runtime.start(device, settings.precision)
    inputs = {"archive": info.hash, **recipe.inputs}
    with run_folder.create(
        out, stage="finetune", settings=settings, inputs=inputs, resume=resume
    ) as folder:
        folder.environment(**started.facts())
        reporter = reporter or Silent()
        told = Tee(reporter, folder.log)
        for note in recipe.notes:
            told.note(note)
        splits.write(folder.path / "splits.json", _splits(ready))
        _draw_schedule(ready, folder.path)
        planned = _folds(ready, folder.path)
        for done, fold in enumerate(told.track(planned, task="folds", unit="folds"), start=1):
            if not fold.is_done:
                cross_validate.run_fold(started, recipe, fold, reporter)
            if done <= _DRAWN_FOLDS:
                _draw_progress(planned[:done], folder.path)
        parts = [predictions.read(fold.folder / "predictions.parquet") for fold in planned]
        predictions.write(folder.path / "predictions.parquet", pa.concat_tables(parts))
        site_models.write(folder.path, _record(recipe, info))
    return FinetuneResult(
        folder=out,
        target=recipe.task.name,
        task=recipe.task.kind,
        classes=recipe.task.classes,
        schedule=settings.schedule,
        init=str(settings.init_from),
        n_images=len(cohort),
        n_patients=len(ready.people.classes),
        n_folds=len(planned),
        measure=quick_look.measure(recipe.task),
        of_folds=tuple(quick_look.value(part, recipe.task) for part in parts),
        notes=recipe.notes,
    )


def _prepare(settings: FinetuneSettings, device: str) -> _Prepared:
    """Resolve every `auto`, and say who is tested where."""
    recipe = recipes.prepare(settings, device=device)
    settings, cohort = recipe.settings, recipe.cohort
    people = protocols.people(cohort.patients, cohort.strata)
    seed = seeding.derive(settings.seed, "folds")
    planned = protocols.k_fold(people, n_folds=settings.folds, repeats=settings.repeats, seed=seed)
    share = float(settings.inner.share)
    apart = protocols.inner(planned, people, share=share, seed=seed) if share else ()
    return _Prepared(
        recipe=recipe,
        people=people,
        plan=planned,
        inner=apart,
        unused=(),
    )


def _folds(ready: _Prepared, folder: Path) -> list[Fold]:
    patients = np.array(ready.recipe.cohort.patients)
    planned = []
    for repeat, assigned in enumerate(ready.plan.test_fold):
        tested_in = np.array([assigned.get(key, -1) for key in patients])
        for fold in range(ready.plan.n_folds):
            apart, unused = (
                np.isin(patients, groups[repeat][fold] if groups else ())
                for groups in (ready.inner, ready.unused)
            )
            test, others = tested_in == fold, (tested_in != fold) & ~unused
            train, inner = others & ~apart, others & apart
            assert not set(patients[test]) & set(patients[train | inner])
            name = str(repeat * ready.plan.n_folds + fold)
            planned.append(
                Fold(
                    repeat=repeat,
                    fold=fold,
                    train=np.flatnonzero(train),
                    inner=np.flatnonzero(inner),
                    test=np.flatnonzero(test),
                    folder=folder / "folds" / name,
                )
            )
    return planned


def _splits(ready: _Prepared) -> splits.Splits:
    settings = ready.recipe.settings
    return splits.Splits(
        task=ready.recipe.task,
        seed=settings.seed,
        group=settings.group,
        by=settings.split.by,
        n_folds=ready.plan.n_folds,
        test_fold=ready.plan.test_fold,
        inner=ready.inner,
        unused=ready.unused,
    )


def _record(recipe: Recipe, info: archive.ArchiveInfo) -> site_models.FinetuneInfo:
    settings, cohort = recipe.settings, recipe.cohort
    makers = set(cohort.table["manufacturer"].to_pylist())
    return site_models.FinetuneInfo(
        archive_hash=info.hash,
        task=recipe.task,
        encoder=settings.encoder,
        encoder_options=settings.encoder_options,
        in_channels=info.channels,
        spatial_dims=int(settings.spatial_dims),
        shape=settings.shape,
        pooling=settings.pooling,
        slices=settings.slices,
        intensity=recipe.input.intensity.model_dump(),
        dropout=settings.dropout,
        schedule=settings.schedule,
        init=recipe.init,
        n_images=len(cohort),
        n_patients=len(set(cohort.patients)),
        group=settings.group,
        merged=cohort.merged,
        synthetic=makers == {PHANTOM},
        notes=recipe.notes,
    )


def _steps_per_epoch(ready: _Prepared) -> int:
    """Return the optimiser steps in an epoch of a fold; folds differ by a patient or so."""
    n_train = len(_folds(ready, Path())[0].train)
    return max(1, n_train // int(ready.recipe.settings.batch_size))


def _draw_schedule(ready: _Prepared, folder: Path) -> None:
    planned, steps = ready.recipe.phases, _steps_per_epoch(ready)
    rates = phases.learning_rates(planned, steps)
    starts = np.cumsum([0, *(phase.epochs for phase in planned[:-1])]).tolist()
    named = list(zip((phase.name for phase in planned), starts, strict=True))
    files.write_bytes(folder / "schedule.png", schedule_figure.draw(rates, steps, named))


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
