"""Nested selection: what is chosen for the model of a fold is chosen inside its training part.

For every fold, configurations are compared on inner folds of the patients its model may learn from,
by patient and stratified like the folds themselves. The best one trains on all of these patients,
and only then is the fold tested, once. So the test has no part in any choice (Varma and Simon, BMC
Bioinformatics 7:91, 2006).
"""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from medssl.artifacts import predictions, trials
from medssl.artifacts.trials import Trial
from medssl.config.finetune import FinetuneSettings
from medssl.config.settings import relative_to, to_plain
from medssl.config.tune import TUNABLE, TuneSettings, shortened, with_values
from medssl.evaluation import protocols, set_apart
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost
from medssl.foundation.errors import DataError, TrainingError, UsageError
from medssl.foundation.reporting import Reporter, Silent
from medssl.training import (
    cross_validate,
    parallel,
    quick_look,
    recipes,
    runtime,
    search,
    site_run,
    splitting,
)
from medssl.training.cross_validate import Fold
from medssl.training.recipes import Recipe
from medssl.training.runtime import Runtime
from medssl.training.site_run import Prepared
from medssl.training.splitting import Split

_TIMED = 4  # configurations of an estimate
_CHANCE = {"regression": 0.0}  # worth of scores that are all equal; of classes 0.5


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What is tuned, for which folds."""

    settings: TuneSettings  # every auto replaced on which trials do not depend
    asked: TuneSettings  # as the user gave them
    ready: Prepared  # with the first value of everything; its cohort and split are those of all
    device: str

    @property
    def n_models(self) -> int:
        """How many models are trained in all, at most."""
        settings = self.settings
        n_folds = len(site_run.folds(self.ready, Path()))
        return n_folds * (settings.trials * settings.inner_folds + 1)

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """Return how a model is made with some values of the space.

        Raises:
            UsageError: They contradict each other.
            DataError: Labels or patients are not as they need them.
        """
        return recipes.prepare(with_values(self.settings, values), device=self.device)


def prepare(settings: TuneSettings, device: str) -> Tuning:
    """Resolve what can be, and check every value of the space and every inner split.

    Raises:
        MissingExtra: Optuna is not installed.
        UsageError: A plugin or an option does not exist, or a value fits none of the others.
        DataError: The labels do not allow the folds or inner folds asked for.
        ArtifactError: Archive or weights are missing or do not fit.
    """
    search.require()
    settings = shortened(settings)
    first = {dimension.setting: dimension.samples[0] for dimension in settings.space}
    ready = site_run.prepare(with_values(settings, first), device)
    found = ready.recipe.settings
    same = {name: getattr(found, name) for name in FinetuneSettings.model_fields}
    kept = {name: value for name, value in same.items() if name not in TUNABLE}
    kept["inner"] = settings.inner.model_copy(update={"share": found.inner.share})
    tuning = Tuning(
        settings=settings.model_copy(update=kept), asked=settings, ready=ready, device=device
    )
    _check_values(tuning, first)
    for fold in site_run.folds(ready, Path()):
        _inside(tuning, fold)
    return tuning


def _check_values(tuning: Tuning, first: Mapping[str, Any]) -> None:
    """Refuse a value that goes neither with the first nor with the last values of all others."""
    last = {dimension.setting: dimension.samples[-1] for dimension in tuning.settings.space}
    for dimension in tuning.settings.space:
        for value in dimension.samples:
            problem = None
            for others in (first, last):
                try:
                    tuning.recipe({**others, dimension.setting: value})
                except (UsageError, DataError) as error:
                    problem = problem or error
                else:
                    problem = None
                    break
            if problem is not None:
                raise type(problem)(
                    problem.problem,
                    where=f"space: {dimension.setting}={value}",
                    fix=problem.fix,
                ) from problem


def _inside(tuning: Tuning, fold: Fold) -> Prepared:
    """Return the cohort that a fold may learn from, with inner folds of its patients.

    Raises:
        DataError: A class cannot reach every inner fold.
    """
    settings, recipe = tuning.settings, tuning.ready.recipe
    cohort = recipe.cohort.rows(np.sort(np.concatenate([fold.train, fold.inner])))
    among = protocols.people(
        cohort.patients,
        cohort.strata,
        cohort.table["site"].to_pylist(),
        amounts=cohort.task.kind == "regression",
    )
    seed = _seed(settings, fold)
    by_site = settings.split.stratify == "class_and_site"
    try:
        plan = protocols.k_fold(
            among, n_folds=settings.inner_folds, repeats=1, seed=seed, by_site=by_site
        )
    except DataError as error:
        raise DataError(
            f"inside repeat {fold.repeat + 1}, fold {fold.fold + 1}: {error.problem}",
            where="inner_folds",
            fix=error.fix.replace("folds", "--inner-folds"),
        ) from error
    share = float(settings.inner.share)
    apart = set_apart.inner(plan, among, share=share, seed=seed) if share else ()
    split = Split(people=among, plan=plan, inner=apart, unused=(), notes=())
    splitting.refuse_unlearnable(split, cohort)
    return Prepared(recipe=replace(recipe, cohort=cohort), split=split)


def _seed(settings: TuneSettings, fold: Fold) -> int:
    return seeding.derive(settings.seed, "tune", fold.repeat, fold.fold)


def place_of(out: Path, fold: Fold) -> Path:
    """Return the folder of a run in which the tuning of a fold is kept."""
    return out / "tuning" / fold.folder.name


def run_fold(tuning: Tuning, fold: Fold, out: Path, started: Runtime, reporter: Reporter) -> None:
    """Choose how the model of a fold is made, and make it so.

    Args:
        tuning: From `prepare`.
        fold: Of the run.
        out: Run folder; what was tried there already is not tried again.
        started: Where to train.
        reporter: Told about progress, trials and the losses of the model.

    Raises:
        TrainingError: No configuration could be trained, or the best one cannot.
    """
    folder = place_of(out, fold)
    found = list(_tried(tuning, fold, folder, started, reporter))
    best = trials.best(found)
    if best is None:
        raise TrainingError(
            f"none of {trials.configurations(found)} configurations could be trained",
            where=str(folder / "trials.parquet"),
            fix="lower the learning rates, or leave out what contradicts each other",
        )
    recipe = tuning.recipe(best.settings)
    trials.write(folder / "trials.parquet", [replace(one, chosen=one is best) for one in found])
    plain = relative_to(folder, to_plain(recipe.settings))
    files.write_text(folder / "config.yaml", yaml.safe_dump(plain, sort_keys=False))
    try:
        cross_validate.run_fold(started, recipe, fold, reporter)
    except TrainingError as error:
        raise TrainingError(
            f"with what was chosen ({said(best.settings)}) {error.problem}",
            where=str(fold.folder),
            fix="leave the highest rates out of the space, and start a new run",
        ) from error


def run_fold_apart(settings: TuneSettings, out: Path, device: str, number: int) -> None:
    """Tune and train one fold of a run in a process of its own."""
    tuning = prepare(settings, device)
    planned = site_run.folds(tuning.ready, out)
    started = runtime.start(device, tuning.settings.precision)
    with parallel.as_one_of(len(planned)):
        run_fold(tuning, planned[number], out, started, Silent())


def _tried(
    tuning: Tuning, fold: Fold, folder: Path, started: Runtime, reporter: Reporter
) -> Iterator[Trial]:
    """Yield the trials of a fold: those that are recorded, and the others as they end."""
    path = folder / "trials.parquet"
    found = [replace(one, chosen=False) for one in trials.read(path)] if path.is_file() else []
    inside = _inside(tuning, fold)
    yield from found
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    left = range(len(found), tuning.settings.trials)
    task = f"repeat {fold.repeat + 1}, fold {fold.fold + 1}, trial"
    for number in reporter.track(left, task=task, unit="trials"):
        seed = seeding.derive(_seed(tuning.settings, fold), "trial", number)
        values = search.propose(tuning.settings.space, found, seed)
        blank = Trial(
            repeat=fold.repeat, fold=fold.fold, trial=number, settings=values,
            inner=(), value=None, state=trials.FINISHED, seconds=0.0,
        )  # fmt: skip
        one = _again(blank, found) or _ended(blank, tuning, inside, folder, started)
        found.append(one)
        trials.write(path, found)
        value = one.state if one.value is None else f"{one.value:.3f}"
        reporter.note(f"{task} {number + 1}: {value} ({said(values)})")
        yield one


def _again(blank: Trial, found: Sequence[Trial]) -> Trial | None:
    """Return what is known of a configuration from an earlier trial of it; None: nothing."""
    same = next((one for one in found if one.settings == blank.settings), None)
    if same is None:
        return None
    state = trials.REPEATED if same.value is not None else same.state
    return replace(blank, inner=same.inner, value=same.value, state=state)


def _ended(blank: Trial, tuning: Tuning, inside: Prepared, folder: Path, started: Runtime) -> Trial:
    """Return a trial after its models were trained and judged."""
    begun = time.monotonic()
    try:
        inner = tuple(_values(tuning, blank, inside, folder / "scratch", started))
    except TrainingError:
        blank = replace(blank, state=trials.DIVERGED)
    except (UsageError, DataError):
        blank = replace(blank, state=trials.REFUSED)
    else:
        blank = replace(blank, inner=inner, value=float(np.mean(inner)))
    return replace(blank, seconds=round(time.monotonic() - begun, 3))


def _values(
    tuning: Tuning, blank: Trial, inside: Prepared, scratch: Path, started: Runtime
) -> Iterator[float]:
    """Yield the value of each inner fold; the models are not kept."""
    made = tuning.recipe(blank.settings)
    seed = seeding.derive(tuning.settings.seed, "tune", blank.repeat, blank.fold)
    bare = {"gate": False, "calibration": "none", "seed": seed}
    recipe = replace(
        made, cohort=inside.recipe.cohort, settings=made.settings.model_copy(update=bare)
    )
    chance = _CHANCE.get(recipe.task.kind, 0.5)
    try:
        for fold in site_run.folds(inside, scratch):
            cross_validate.run_fold(started, recipe, fold, Silent())
            part = predictions.read(fold.folder / "predictions.parquet")
            value = quick_look.value(part, recipe.task)
            yield value if np.isfinite(value) else chance
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def said(values: Mapping[str, Any]) -> str:
    """Return a configuration in a line."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def notes(tuning: Tuning, chosen: Sequence[Mapping[str, Any]] = ()) -> tuple[str, ...]:
    """Return what is true of all models, whatever is chosen for them.

    Args:
        tuning: From `prepare`.
        chosen: What was; empty: it is not known yet, and some of the space stand for all.
    """
    made = [
        recipes.prepare(with_values(tuning.asked, values), device=tuning.device)
        for values in chosen or _goes_together(tuning)
    ]
    shared = [note for note in made[0].notes if all(note in one.notes for one in made)]
    return (*shared, *tuning.ready.split.notes)


def _goes_together(tuning: Tuning) -> list[dict[str, Any]]:
    """Return a few configurations in which every setting takes its values in turn.

    Those that contradict themselves are left out; the first never does.
    """
    space, found = tuning.settings.space, []
    for k in range(_TIMED):
        values = {dim.setting: dim.samples[k % len(dim.samples)] for dim in space}
        try:
            tuning.recipe(values)
        except (UsageError, DataError):
            continue
        found.append(values)
    return found


def cost(tuning: Tuning) -> Cost:
    """Return what the run would take, from a few steps with some of its configurations."""
    planned = site_run.folds(tuning.ready, Path())
    inside = _inside(tuning, planned[0])
    started = runtime.start(tuning.device, tuning.ready.recipe.settings.precision)
    fold = site_run.folds(inside, Path())[0]
    taken = []
    for values in _goes_together(tuning):
        recipe = replace(tuning.recipe(values), cohort=inside.recipe.cohort)
        taken.append(cross_validate.cost(started, recipe, [fold]))
    of_trial = float(np.mean([one.seconds for one in taken]))
    n_trials = len(planned) * tuning.settings.trials * tuning.settings.inner_folds
    longer = len(planned[0].train) / len(fold.train)
    return Cost(
        seconds=of_trial * (n_trials + len(planned) * longer),
        disk_bytes=(len(planned) + 1) * max(one.disk_bytes for one in taken),
        memory_bytes=max(one.memory_bytes for one in taken),
        basis=f"{tuning.n_models} models, {len(taken)} configurations timed",
    )
