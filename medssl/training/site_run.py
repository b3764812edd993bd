"""A run that ends in one site model per fold: what is prepared, trained and written in any of them.

`medssl finetune` trains every fold as it is told, `medssl tune` as it finds best for that fold.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from medssl.artifacts import archive, predictions, site_models, splits
from medssl.config.finetune import FinetuneSettings
from medssl.data import labels
from medssl.foundation.reporting import Reporter, Silent
from medssl.training import cross_validate, parallel, recipes, runtime, splitting
from medssl.training.cross_validate import Fold
from medssl.training.parallel import Job
from medssl.training.recipes import Recipe
from medssl.training.runtime import Runtime
from medssl.training.splitting import Split

_LONG = 2e8  # pixels or voxels seen in training; about five minutes on a core
PHANTOM = "phantom"  # manufacturer of images that medssl generated


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """How the models are made, and who is tested where."""

    recipe: Recipe
    split: Split


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where folds are trained, and who is told."""

    device: str
    workers: int | None
    reporter: Reporter

    def start(self, settings: FinetuneSettings) -> Runtime:
        """Return the device, ready to train on."""
        return runtime.start(self.device, settings.precision)


def prepare(settings: FinetuneSettings, device: str) -> Prepared:
    """Resolve every `auto`, and say who is tested where.

    Raises:
        UsageError: A plugin or an option does not exist.
        DataError: The labels do not allow the folds asked for, or patients are not known.
        ArtifactError: Archive or weights are missing or do not fit.
    """
    recipe = recipes.prepare(settings, device=device)
    split = splitting.prepare(recipe.settings, recipe.cohort)
    told = replace(
        recipe,
        notes=(*recipe.notes, *split.notes),
        inputs={**recipe.inputs, **split.inputs},
    )
    return Prepared(recipe=told, split=split)


def folds(ready: Prepared, folder: Path) -> list[Fold]:
    """Return the folds of all repeats in order, each with its folder below that of the run."""
    patients, n_folds = np.array(ready.recipe.cohort.patients), ready.split.plan.n_folds
    planned = []
    for repeat, assigned in enumerate(ready.split.plan.test_fold):
        for fold in range(n_folds):
            tested = {key for key, number in assigned.items() if number == fold}
            learned, apart = ready.split.training(repeat, fold)
            assert not tested & (learned | apart)
            test, train, inner = (
                np.flatnonzero(np.isin(patients, sorted(keys))) for keys in (tested, learned, apart)
            )
            planned.append(
                Fold(
                    repeat=repeat,
                    fold=fold,
                    train=train,
                    inner=inner,
                    test=test,
                    folder=folder / "folds" / str(repeat * n_folds + fold),
                )
            )
    return planned


def trained(
    planned: Sequence[Fold], place: Place, *, here: Callable[[Fold], None], apart: Job | None
) -> Iterator[Fold]:
    """Yield the folds, each when it is trained: those that were, and the others as they come.

    Args:
        planned: From `folds`.
        place: Where to train.
        here: Trains a fold in this process.
        apart: Trains the fold of a number on a device, in a process of its own; None: never so.
    """
    left = [k for k, fold in enumerate(planned) if not fold.is_done]
    yield from (fold for fold in planned if fold.is_done)
    devices = parallel.devices(place.device, place.workers, max(1, len(left)))
    if len(devices) == 1 or apart is None:
        for number in left:
            with parallel.as_one_of(len(planned)):
                here(planned[number])
            yield planned[number]
        return
    for number in parallel.each(apart, left, devices):
        yield planned[number]


def is_long(ready: Prepared, planned: Sequence[Fold]) -> bool:
    """Return whether training takes so long that processes of their own pay for their start."""
    settings = ready.recipe.settings
    epochs = sum(phase.epochs for phase in ready.recipe.phases)
    slices = settings.slices if settings.pooling != "none" else 1
    shown = sum(len(fold.train) for fold in planned) * epochs * slices
    return not settings.smoke and shown * math.prod(settings.shape) > _LONG


def train_apart(settings: FinetuneSettings, out: Path, device: str, number: int) -> None:
    """Train one fold of a run in a process of its own, as its settings say."""
    ready = prepare(settings, device)
    planned = folds(ready, out)
    started = runtime.start(device, ready.recipe.settings.precision)
    with parallel.as_one_of(len(planned)):
        cross_validate.run_fold(started, ready.recipe, planned[number], Silent())


def steps_per_epoch(ready: Prepared) -> int:
    """Return the optimiser steps in an epoch of a fold; folds differ by a patient or so."""
    n_train = len(folds(ready, Path())[0].train)
    return max(1, n_train // int(ready.recipe.settings.batch_size))


def parts(planned: Sequence[Fold]) -> list[pa.Table]:
    """Return the predictions of each fold."""
    return [predictions.read(fold.folder / "predictions.parquet") for fold in planned]


def gather(planned: Sequence[Fold], out: Path) -> None:
    """Write the predictions of all folds as those of the run."""
    predictions.write(out / "predictions.parquet", pa.concat_tables(parts(planned)))


def splits_of(ready: Prepared) -> splits.Splits:
    """Return who is tested, chosen on and left out in each fold, as `splits.json` says it."""
    settings, split = ready.recipe.settings, ready.split
    return splits.Splits(
        task=ready.recipe.task,
        seed=settings.seed,
        group=settings.group,
        by=settings.split.by,
        n_folds=split.plan.n_folds,
        test_fold=split.plan.test_fold,
        names=split.plan.names,
        balanced_test=settings.split.balanced_test,
        inner=split.inner,
        unused=split.unused,
        barred=split.plan.barred,
    )


def record(recipe: Recipe) -> site_models.FinetuneInfo:
    """Return what all models of a run share, as `finetune.json` says it."""
    settings, cohort = recipe.settings, recipe.cohort
    info = archive.read_info(settings.archive)
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
        classes=cohort.classes,
        positives={name: labels.positive_of(held) for name, held in cohort.classes.items()},
        synthetic=makers == {PHANTOM},
        notes=recipe.notes,
        key_id=info.key_id,
        stored_size=info.size,
    )
