"""`medssl finetune`: cross-validated models of a site cohort, each scored on unseen patients."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from medssl import freezing
from medssl.artifacts import archive, predictions, run_folder, site_models, splits
from medssl.artifacts.run_folder import RunLog
from medssl.config.finetune import FinetuneSettings, resolve
from medssl.config.loading import decode
from medssl.data import cohort as cohorts
from medssl.data import people as identities
from medssl.data.cohort import Cohort
from medssl.data.people import People
from medssl.data.store import ImageStore
from medssl.evaluation import folds, metrics
from medssl.foundation import files, plugins, seeding
from medssl.foundation.cost import Cost
from medssl.foundation.errors import DataError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.models.site_model import HEAD
from medssl.reporting import progress
from medssl.reporting import schedule as schedule_figure
from medssl.reporting.progress import ProgressFigure
from medssl.training import cross_validate, encoders, phases, runtime
from medssl.training.cross_validate import Fold, Recipe

_SMOKE_PATIENTS = 16
_SMOKE_STEPS = 2
_DRAWN_FOLDS = 6  # as many colours as a figure tells apart
PHANTOM = "phantom"  # manufacturer of images that medssl generated


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What a finetune run ended with."""

    folder: Path
    target: str
    classes: tuple[str, ...]
    schedule: str
    init: str
    n_images: int
    n_patients: int
    n_folds: int  # models trained, over all repeats
    auroc_folds: tuple[float, ...]  # per image, to look at; `medssl evaluate` gives the interval
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
    settings: FinetuneSettings
    notes: tuple[str, ...]
    cohort: Cohort
    folds: tuple[dict[str, int], ...]
    recipe: Recipe
    init: dict[str, Any]
    inputs: dict[str, str]  # digest of what is read besides the archive


def plan(settings: FinetuneSettings, *, device: str = "auto") -> FinetunePlan:
    """Check everything cheap, resolve every `auto`, and lay out the schedule.

    Raises:
        UsageError: A plugin or an option does not exist.
        DataError: The labels do not allow the folds asked for, or patients are not known.
        ArtifactError: Archive or weights are missing or do not fit.
    """
    ready = _prepare(settings, device)
    return FinetunePlan(
        settings=ready.settings,
        notes=ready.notes,
        classes=dict(sorted(Counter(ready.cohort.class_names).items())),
        n_patients=len(set(ready.cohort.patients)),
        phases=tuple(phases.spans(ready.recipe.phases, _steps_per_epoch(ready))),
    )


def cost(settings: FinetuneSettings, *, device: str = "auto") -> Cost:
    """Return what the run would take, from a few of its steps; writes nothing."""
    ready = _prepare(settings, device)
    started = runtime.start(device, ready.settings.precision)
    return cross_validate.cost(started, ready.recipe, ready.cohort, _folds(ready, Path()))


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
    settings, cohort = ready.settings, ready.cohort
    info = archive.read_info(settings.archive)
    started = runtime.start(device, settings.precision)
    inputs = {"archive": info.hash, **ready.inputs}
    with run_folder.create(
        out, stage="finetune", settings=settings, inputs=inputs, resume=resume
    ) as folder:
        folder.environment(**started.facts())
        reporter = reporter or Silent()
        told = Tee(reporter, folder.log)
        for note in ready.notes:
            told.note(note)
        splits.write(folder.path / "splits.json", _splits(ready))
        _draw_schedule(ready, folder.path)
        planned = _folds(ready, folder.path)
        for done, fold in enumerate(told.track(planned, task="folds", unit="folds"), start=1):
            if not fold.is_done:
                cross_validate.run_fold(started, ready.recipe, cohort, fold, reporter)
            if done <= _DRAWN_FOLDS:
                _draw_progress(planned[:done], folder.path)
        parts = [predictions.read(fold.folder / "predictions.parquet") for fold in planned]
        predictions.write(folder.path / "predictions.parquet", pa.concat_tables(parts))
        site_models.write(folder.path, _record(ready, info))
    return FinetuneResult(
        folder=out,
        target=cohort.target,
        classes=cohort.classes,
        schedule=settings.schedule,
        init=str(settings.init_from),
        n_images=len(cohort.label),
        n_patients=len(set(cohort.patients)),
        n_folds=len(planned),
        auroc_folds=tuple(_auroc(part) for part in parts),
        notes=ready.notes,
    )


def _prepare(settings: FinetuneSettings, device: str) -> _Prepared:
    """Check names, options, labels, patients and weights; resolve every `auto`."""
    schedule = plugins.load(freezing, settings.schedule)
    config = decode(schedule.Config, settings.schedule_options, where="schedule_options")
    people = identities.read(settings.archive, settings.aliases)
    cohort = _cohort(settings, people)
    source = None if settings.init_from == "none" else encoders.open_source(settings.init_from)
    if settings.smoke:
        batch = max(2, len(cohort.label) // 2 // _SMOKE_STEPS)
        small = {
            "folds": 2,
            "repeats": 1,
            "epochs": 1,
            "probe_epochs": min(1, settings.probe_epochs),
            "batch_size": batch,
        }
        settings = settings.model_copy(update=small)
    n_folds = settings.folds
    settings, reasons = resolve(
        settings,
        n_train=len(cohort.label) * (n_folds - 1) // n_folds,
        side=ImageStore(settings.archive, cohort.table).side,
        gpu=runtime.gpu_wanted(device),
        source=_as_pretrained(source),
    )
    settings = settings.model_copy(update={"target": cohort.target, "positive": cohort.positive})
    make = encoders.factory(
        settings.encoder,
        settings.encoder_options,
        in_channels=archive.read_info(settings.archive).channels,
        spatial_dims=2,
        source=source,
        allow_partial=settings.allow_partial,
    )
    planned = phases.plan(settings, schedule, config, [HEAD, *reversed(make.groups)])
    grouped = settings.group == "patient"
    init = _origin(source, cohort, people, grouped=grouped)
    return _Prepared(
        settings=settings,
        notes=(
            *cohorts.facts(cohort, grouped=grouped),
            *people.notes,
            *make.notes,
            *_trial(source, settings),
            *_overlap(init, cohort),
            *reasons,
            *_training_notes(settings, planned),
        ),
        cohort=cohort,
        folds=folds.assign(
            cohort.patients,
            cohort.class_names,
            n_folds=n_folds,
            repeats=settings.repeats,
            seed=seeding.derive(settings.seed, "folds"),
        ),
        recipe=Recipe(settings=settings, build_encoder=make, phases=planned),
        init=init,
        inputs={**people.inputs, **({"init_from": init["weights_sha256"]} if init else {})},
    )


def _cohort(settings: FinetuneSettings, people: People) -> Cohort:
    """Return the labelled images, every one with a patient, or each its own if so declared."""
    cohort = cohorts.read(settings.archive, settings.target, settings.positive)
    flags = cohort.table["flags"].to_pylist()
    unknown = sum(archive.NO_PATIENT in (found or ()) for found in flags)
    if unknown and settings.group == "patient":
        raise DataError(
            f"{unknown} of {len(flags)} labelled images name no patient, so folds could share one",
            where=str(settings.archive),
            fix="ingest with --patient col:NAME (or parent), or accept it with --group none",
        )
    if settings.group == "none":
        cohort = cohorts.ungrouped(cohort)
    if people.inputs:
        cohort = cohorts.merged(cohort, people.group_of)
    if settings.smoke:
        return cohorts.some_patients(cohort, _SMOKE_PATIENTS)
    return cohort


def _as_pretrained(source: encoders.Source | None) -> dict[str, Any]:
    """Return what a pretrained encoder wants its input to look like."""
    if source is None or source.info is None:
        return {}
    info = source.info
    return {
        "encoder": info.encoder,
        "encoder_options": dict(info.options),
        "image_size": info.image_size,
        "intensity": {"window_hu": info.intensity["window_hu"]},
    }


def _trial(source: encoders.Source | None, settings: FinetuneSettings) -> tuple[str, ...]:
    if settings.smoke or source is None or source.info is None or not source.info.smoke:
        return ()
    return ("the encoder comes from a smoke run: it was trained for two steps",)


def _origin(
    source: encoders.Source | None, cohort: Cohort, people: People, *, grouped: bool
) -> dict[str, Any]:
    """Return where the encoder came from, and how many of the cohort it was pretrained on.

    Without patients, or with pseudonyms of another key, the overlap is unknown (None), never 0.
    """
    if source is None:
        return {}
    seen = source.patients_under(archive.read_info(cohort.archive).key_id)
    known = grouped and seen is not None
    overlap = len(people.among(cohort.patients) & people.among(seen or ())) if known else None
    return {**source.facts(), "overlap_patients": overlap}


def _overlap(init: dict[str, Any], cohort: Cohort) -> tuple[str, ...]:
    if not init:
        return ()
    if init["overlap_patients"] is None:
        return ("overlap with the pretraining patients: unknown",)
    n_patients = len(set(cohort.patients))
    return (f"overlap: {init['overlap_patients']} of {n_patients} patients were in pretraining",)


def _folds(ready: _Prepared, folder: Path) -> list[Fold]:
    patients = np.array(ready.cohort.patients)
    planned = []
    for repeat, assigned in enumerate(ready.folds):
        fold_of = np.array([assigned[key] for key in patients])
        for fold in range(ready.settings.folds):
            test = np.flatnonzero(fold_of == fold)
            train = np.flatnonzero(fold_of != fold)
            assert not set(patients[test]) & set(patients[train])
            name = str(repeat * ready.settings.folds + fold)
            planned.append(
                Fold(
                    repeat=repeat, fold=fold, train=train, test=test, folder=folder / "folds" / name
                )
            )
    return planned


def _splits(ready: _Prepared) -> splits.Splits:
    return splits.Splits(
        target=ready.cohort.target,
        classes=ready.cohort.classes,
        positive=ready.cohort.positive,
        seed=ready.settings.seed,
        group=ready.settings.group,
        n_folds=ready.settings.folds,
        test_fold=ready.folds,
    )


def _record(ready: _Prepared, info: archive.ArchiveInfo) -> site_models.FinetuneInfo:
    settings, cohort = ready.settings, ready.cohort
    makers = set(cohort.table["manufacturer"].to_pylist())
    return site_models.FinetuneInfo(
        archive_hash=info.hash,
        target=cohort.target,
        classes=cohort.classes,
        positive=cohort.positive,
        encoder=settings.encoder,
        encoder_options=settings.encoder_options,
        in_channels=info.channels,
        spatial_dims=2,
        image_size=int(settings.image_size),
        intensity=settings.intensity.model_dump(),  # type: ignore[union-attr]
        dropout=settings.dropout,
        schedule=settings.schedule,
        init=ready.init,
        n_images=len(cohort.label),
        n_patients=len(set(cohort.patients)),
        group=settings.group,
        merged=cohort.merged,
        synthetic=makers == {PHANTOM},
        notes=ready.notes,
    )


def _steps_per_epoch(ready: _Prepared) -> int:
    """Return the optimiser steps in an epoch of a fold; folds differ by a patient or so."""
    settings = ready.settings
    n_train = len(ready.cohort.label) * (settings.folds - 1) // settings.folds
    return max(1, n_train // int(settings.batch_size))


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
            rate = {} if k else {"lr": point["lr"]}
            course.append({"step": point["step"], f"total.fold {k + 1}": point["total"], **rate})
    files.write_bytes(folder / ProgressFigure.NAME, progress.draw(course))


def _training_notes(settings: FinetuneSettings, planned: Sequence[phases.Phase]) -> tuple[str, ...]:
    """Return what a reader of the result must know about how it was trained."""
    notes = []
    never = phases.never_trained(planned)
    if never and settings.init_from == "none":
        notes.append(f"{', '.join(never)} stay random: {settings.schedule} never trains them")
    if settings.sampling == "balanced":
        notes.append(
            "sampling balanced: probabilities are those of classes that are equally frequent"
        )
    return tuple(notes)


def _auroc(part: pa.Table) -> float:
    """Return the AUROC of one fold over images; the mean over classes where there are several."""
    found = []
    for target in sorted(set(part["target"].to_pylist())):
        rows = [name == target for name in part["target"].to_pylist()]
        label, score = (part[name].to_numpy()[np.array(rows)] for name in ("label", "score"))
        found.append(metrics.auroc(label, score))
    return float(np.mean(found))
