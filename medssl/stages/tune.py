"""`medssl tune`: models of a site cohort, each made as is best for patients it may learn from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from medssl.artifacts import archive, run_folder, site_models, splits, trials
from medssl.artifacts.run_folder import RunFolder
from medssl.artifacts.trials import Trial
from medssl.config.tune import TuneSettings
from medssl.data import cohort as cohorts
from medssl.foundation.cost import Cost
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.foundation.wording import counted
from medssl.training import quick_look, site_run, tuning
from medssl.training.site_run import Place
from medssl.training.tuning import Tuning

TUNED = "tuned"  # schedule of a run whose folds may have one each


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for the model of a fold."""

    repeat: int
    fold: int
    trial: int
    value: float  # over inner folds, of which the choice was made: too high by that
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """What a tune run ended with."""

    folder: Path
    target: str
    task: str
    classes: tuple[str, ...]
    init: str
    n_images: int  # or series
    whole_series: bool  # which of the two
    n_patients: int
    n_folds: int  # models kept, over all repeats
    n_trials: int  # over all folds
    n_configurations: int  # that differ
    measure: str  # of the quick look: AUROC, or the correlation of amounts
    chosen: tuple[Choice, ...]
    of_folds: tuple[float, ...]  # tests, per image, to look at; `medssl evaluate` judges
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TunePlan:
    """What a tune run would do."""

    settings: TuneSettings  # every auto replaced on which trials do not depend
    notes: tuple[str, ...]
    classes: dict[str, int]  # images per class
    n_patients: int
    n_folds: int
    n_models: int  # trained in all, at most: a configuration is never tried twice for a fold


def plan(settings: TuneSettings, *, device: str = "auto") -> TunePlan:
    """Check every value of the space and every fold, inner ones too.

    Raises:
        MissingExtra: Optuna is not installed.
        UsageError: A plugin or an option does not exist, or a value fits none of the others.
        DataError: The labels do not allow the folds asked for, or patients are not known.
        ArtifactError: Archive or weights are missing or do not fit.
    """
    tuned = tuning.prepare(settings, device)
    return TunePlan(
        settings=tuned.settings,
        notes=tuning.notes(tuned),
        classes=cohorts.counts_of_classes(tuned.ready.recipe.cohort),
        n_patients=len(tuned.ready.split.people.classes),
        n_folds=len(site_run.folds(tuned.ready, Path())),
        n_models=tuned.n_models,
    )


def cost(settings: TuneSettings, *, device: str = "auto") -> Cost:
    """Return what the run would take, from a few steps of some configurations; writes nothing."""
    return tuning.cost(tuning.prepare(settings, device))


def run(
    settings: TuneSettings,
    out: Path,
    reporter: Reporter | None = None,
    *,
    device: str = "auto",
    workers: int | None = 1,
    resume: bool = False,
) -> TuneResult:
    """Choose for each fold, inside its training part, how its model is made; train and score it.

    Args:
        settings: As the user gave them.
        out: Run folder.
        reporter: Told about progress, trials and losses.
        device: auto, cpu, cuda (all GPUs) or cuda:N.
        workers: Processes that tune folds side by side; None: one per core or GPU.
        resume: Continue the unfinished run in ``out``; trials that are done stay.

    Raises:
        MissingExtra: Optuna is not installed.
        UsageError: A setting is wrong, or ``out`` is in use.
        DataError: The labels do not allow the folds asked for, or patients are not known.
        ArtifactError: Archive or weights are missing or do not fit.
        TrainingError: No configuration of a fold could be trained.
    """
    place = Place(device=device, workers=workers, reporter=reporter or Silent())
    tuned = tuning.prepare(settings, device)
    kept = tuned.settings
    inputs = {"archive": archive.read_info(kept.archive).hash, **tuned.ready.recipe.inputs}
    with run_folder.create(
        out, stage="tune", settings=kept, inputs=inputs, resume=resume
    ) as folder:
        return _train(tuned, folder, place)


def _train(tuned: Tuning, folder: RunFolder, place: Place) -> TuneResult:
    """Tune and train what is not yet, and write what the folds say together."""
    ready, out = tuned.ready, folder.path
    started = place.start(ready.recipe.settings)
    folder.environment(**started.facts())
    told = Tee(place.reporter, folder.log)
    for note in tuning.notes(tuned):
        told.note(note)
    splits.write(out / "splits.json", site_run.splits_of(ready))
    planned = site_run.folds(ready, out)
    apart = partial(tuning.run_fold_apart, tuned.settings, out)
    coming = site_run.trained(
        planned,
        place,
        here=lambda fold: tuning.run_fold(tuned, fold, out, started, place.reporter),
        apart=None if tuned.settings.smoke else apart,
    )
    found: list[Trial] = []
    for fold in told.track(coming, task="folds", unit="folds", total=len(planned)):
        tried = trials.read(tuning.place_of(out, fold) / "trials.parquet")
        told.note(next(_chosen(one) for one in tried if one.chosen))
        found += tried
    found.sort(key=lambda one: (one.repeat, one.fold, one.trial))
    result = _result(tuned, found, out)
    trials.write(out / "trials.parquet", found)
    site_run.gather(planned, out)
    described = replace(site_run.record(ready.recipe), schedule=TUNED, notes=result.notes)
    site_models.write(out, replace(described, dropout=tuned.settings.dropout))
    return result


def _result(tuned: Tuning, found: list[Trial], out: Path) -> TuneResult:
    recipe, planned = tuned.ready.recipe, site_run.folds(tuned.ready, out)
    chosen = [one for one in found if one.chosen]
    measure = quick_look.measure(recipe.task)
    shared = tuning.notes(tuned, [one.settings for one in chosen])
    return TuneResult(
        folder=out,
        target=recipe.task.name,
        task=recipe.task.kind,
        classes=recipe.task.classes,
        init=str(recipe.settings.init_from),
        n_images=len(recipe.cohort),
        whole_series=recipe.cohort.whole_series,
        n_patients=len(tuned.ready.split.people.classes),
        n_folds=len(planned),
        n_trials=len(found),
        n_configurations=trials.configurations(found),
        measure=measure,
        chosen=tuple(map(_choice, chosen)),
        of_folds=tuple(quick_look.value(part, recipe.task) for part in site_run.parts(planned)),
        notes=(*shared, *_told(tuned, found, measure)),
    )


def _choice(one: Trial) -> Choice:
    assert one.value is not None  # that is why it was chosen
    return Choice(
        repeat=one.repeat, fold=one.fold, trial=one.trial, value=one.value, settings=one.settings
    )


def _told(tuned: Tuning, found: list[Trial], measure: str) -> list[str]:
    """Return how many configurations were tried, and which was chosen for each fold."""
    without = sum(one.value is None for one in found)
    rows = [
        f"tuned: {trials.configurations(found)} different configurations tried in "
        f"{counted(len(found), 'trial')}, chosen in each fold by the mean {measure} over "
        f"{tuned.settings.inner_folds} inner folds of its training patients"
    ]
    if without:
        rows.append(f"{counted(without, 'trial')} without a value: training did not work")
    return [*rows, *(_chosen(one) for one in found if one.chosen)]


def _chosen(one: Trial) -> str:
    where = f"repeat {one.repeat + 1}, fold {one.fold + 1}"
    return f"chosen in {where}: {tuning.said(one.settings)}"
