"""Cross-validation of a site model: one model per fold, scored on patients it never saw."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from medssl.artifacts import predictions, weights
from medssl.artifacts.run_folder import RunLog
from medssl.config.finetune import FinetuneSettings
from medssl.config.training import Intensity
from medssl.data.batches import TrainingBatches
from medssl.data.cohort import Cohort
from medssl.data.mixing import cutmix
from medssl.data.sampling import Balanced, Sampler, Shuffled
from medssl.data.store import ImageStore
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost
from medssl.foundation.errors import TrainingError
from medssl.foundation.reporting import Reporter, Tee
from medssl.models.site_model import SiteModel
from medssl.training import loop, phases, predict, trial
from medssl.training.phases import Phase
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState

_SCORED = 64  # images of the trial
_ROW_BYTES = 200  # of a row of predictions, generously


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the model of a fold is made."""

    settings: FinetuneSettings
    build_encoder: Callable[[], Any]  # a new encoder: pretrained, or random from torch's seed
    phases: tuple[Phase, ...]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold of one repeat, and the folder it is kept in."""

    repeat: int
    fold: int
    train: NDArray[np.int64]  # image numbers in the cohort
    test: NDArray[np.int64]
    folder: Path

    @property
    def is_done(self) -> bool:
        """Whether its predictions, the last thing written, are there."""
        return (self.folder / "predictions.parquet").is_file()


def run_fold(
    runtime: Runtime, recipe: Recipe, cohort: Cohort, fold: Fold, reporter: Reporter
) -> None:
    """Train the model of one fold and write it and its predictions to the fold's folder.

    Raises:
        TrainingError: The loss or a score is not finite.
    """
    settings = recipe.settings
    seed = seeding.derive(settings.seed, "fold", fold.repeat, fold.fold)
    _clear(fold.folder)
    torch.manual_seed(seeding.derive(seed, "weights"))
    model = SiteModel(recipe.build_encoder(), cohort.n_outputs, settings.dropout)
    train, test = cohort.rows(fold.train), cohort.rows(fold.test)
    told = Tee(reporter, RunLog(fold.folder))
    task = f"repeat {fold.repeat + 1}, fold {fold.fold + 1}"
    _fit(runtime, recipe, model, _batches(runtime, settings, train, seed), told, task)
    assert isinstance(settings.intensity, Intensity)
    score = predict.scores(
        runtime,
        model,
        ImageStore(test.archive, test.table),
        intensity=settings.intensity,
        shape=_shape(settings),
    )
    if not np.isfinite(score).all():
        raise TrainingError(
            "the scores are not finite",
            where=str(fold.folder),
            fix="lower the learning rate, or train with precision 32",
        )
    arrays = {name: t.detach().cpu().numpy() for name, t in model.state_dict().items()}
    weights.write_tensors(fold.folder / "model.safetensors", arrays)
    table = _prediction_rows(test, score, fold, settings.seed)
    predictions.write(fold.folder / "predictions.parquet", table)


def cost(runtime: Runtime, recipe: Recipe, cohort: Cohort, folds: Sequence[Fold]) -> Cost:
    """Return what all folds would take, from a few steps of the first one."""
    settings, fold = recipe.settings, folds[0]
    model = SiteModel(recipe.build_encoder(), cohort.n_outputs, settings.dropout)
    batches = _batches(runtime, settings, cohort.rows(fold.train), seed=0)
    shown = ((step.views[0], step.target) for step in batches.steps(trial.FOREVER))
    groups, seconds, steps = model.groups(), 0.0, 0
    for phase in recipe.phases:
        module, stepped = runtime.setup(model, phases.optimizer(phase, groups))
        for released, epochs in Counter(phase.released).items():
            model.release_only(released)
            pace = trial.seconds_per_step(runtime, module, stepped, shown)
            seconds += pace * epochs * batches.steps_per_epoch
            steps += trial.TIMED
    seconds += _seconds_per_image(runtime, settings, model, cohort.rows(fold.test)) * len(fold.test)
    return Cost(
        seconds=seconds * len(folds),
        disk_bytes=len(folds) * (trial.tensor_bytes(model) + _ROW_BYTES * len(fold.test)),
        memory_bytes=trial.memory(),
        basis=f"{steps} steps of {batches.batch_size} images, one fold of {len(folds)}",
    )


def _seconds_per_image(
    runtime: Runtime, settings: FinetuneSettings, model: SiteModel, test: Cohort
) -> float:
    """Return the time to score one image, from a few of them."""
    assert isinstance(settings.intensity, Intensity)
    few = test.rows(np.arange(min(_SCORED, len(test.label))))
    started = time.perf_counter()
    predict.scores(
        runtime,
        model,
        ImageStore(few.archive, few.table),
        intensity=settings.intensity,
        shape=_shape(settings),
    )
    return (time.perf_counter() - started) / len(few.label)


def _fit(
    runtime: Runtime,
    recipe: Recipe,
    model: SiteModel,
    batches: TrainingBatches,
    reporter: Reporter,
    task: str,
) -> None:
    groups = model.groups()
    seed = batches.seed
    epoch = step = 0
    shown = reporter.track(
        _arguments(batches, recipe.phases),
        task=task,
        total=sum(phase.epochs for phase in recipe.phases) * batches.steps_per_epoch,
        unit="images",
        each=batches.batch_size,
    )
    for phase in recipe.phases:
        module, stepped = runtime.setup(model, phases.optimizer(phase, groups))
        moved = phases.scheduler(phase, stepped, phase.epochs * batches.steps_per_epoch)
        state = TrainState(module, stepped, moved, seed, epoch=epoch, step=step)
        for released in phase.released:
            model.release_only(released)
            one_epoch = islice(shown, batches.steps_per_epoch)
            loop.train(
                runtime,
                state,
                one_epoch,
                reporter,
                update=loop.one_call(runtime, state),
                clip=recipe.settings.optim.clip,
            )
            loop.log(state, reporter)
            state.epoch += 1
        epoch, step = state.epoch, state.step


def _batches(
    runtime: Runtime, settings: FinetuneSettings, train: Cohort, seed: int
) -> TrainingBatches:
    assert isinstance(settings.intensity, Intensity)
    size = min(int(settings.batch_size), len(train.label))
    if settings.sampling == "balanced":
        sampler: Sampler = Balanced(train.label, size, seed)
    else:
        sampler = Shuffled(len(train.label), size, seed)
    return TrainingBatches(
        ImageStore(train.archive, train.table),
        sampler,
        device=runtime.device,
        intensity=settings.intensity,
        views=settings.views,
        shape=_shape(settings),
        seed=seed,
        target=train.label,
    )


def _shape(settings: FinetuneSettings) -> tuple[int, int]:
    """Return rows and columns of what the encoder sees."""
    return (int(settings.image_size), int(settings.image_size))


def _arguments(
    batches: TrainingBatches, planned: Sequence[Phase]
) -> Iterator[tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, float]]:
    """Yield what the model is called with at each step of a run: images, labels, and the mix."""
    mixes = [phase.cutmix for phase in planned for _ in phase.released]
    for epoch, mix in enumerate(mixes):
        rng = seeding.rng(batches.seed, "cutmix", epoch)
        for step in batches.epoch(epoch):
            (images,), target = step.views, step.target
            assert target is not None
            mixed = cutmix(images, mix, rng)
            if mixed is None:
                yield images, target
            else:
                yield mixed.images, target, target[mixed.partner], mixed.kept


def _prediction_rows(test: Cohort, score: NDArray[np.float64], fold: Fold, seed: int) -> pa.Table:
    """Return one row per image, or one per image and class; see `artifacts/predictions.py`."""
    if test.positive is not None:
        columns = [(test.target, test.label, score[:, 0])]
    else:
        columns = [
            (f"{test.target}={name}", (test.label == k).astype(int), score[:, k])
            for k, name in enumerate(test.classes)
        ]
    n = len(test.label)
    parts = [
        pa.table(
            {
                "image_id": test.table["image_id"],
                "patient_key": test.table["patient_key"],
                "site": test.table["site"],
                "target": [target] * n,
                "label": label,
                "score": values,
                "repeat": [fold.repeat] * n,
                "fold": [fold.fold] * n,
                "seed": [seed] * n,
                "part": ["test"] * n,
            }
        )
        for target, label, values in columns
    ]
    return pa.concat_tables(parts).cast(predictions.PREDICTIONS)


def _clear(folder: Path) -> None:
    """Empty the folder of a fold that a killed process left half done."""
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.iterdir():
            stale.unlink()
