"""Cross-validation of a site model: one model per fold, scored on patients it never saw."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from medssl.artifacts import archive as archives
from medssl.artifacts import attention, fold_models, gates, predictions, weights
from medssl.artifacts.fold_models import FoldModel
from medssl.artifacts.run_folder import RunLog
from medssl.data import mixing
from medssl.data.batches import TrainingBatches
from medssl.data.cohort import Cohort
from medssl.data.sampling import Sampler, Shuffled, Stratified, Weighted
from medssl.evaluation import calibrators, gate
from medssl.foundation import files, seeding
from medssl.foundation.cost import Cost
from medssl.foundation.errors import TrainingError
from medssl.foundation.reporting import Reporter, Tee
from medssl.models.site_model import SiteModel
from medssl.training import (
    attending,
    early_stopping,
    ensemble,
    imbalance,
    loop,
    phases,
    predict,
    relative_gradients,
    trial,
)
from medssl.training.early_stopping import Watch
from medssl.training.kept_features import KeptFeatures
from medssl.training.phases import Phase
from medssl.training.recipes import Recipe
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState

_SCORED = 64  # images of the trial
_ROW_BYTES = 200  # of a row of predictions, generously


def _nobody() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold of one repeat, and the folder it is kept in."""

    repeat: int
    fold: int
    train: NDArray[np.int64]  # row numbers of the cohort
    test: NDArray[np.int64]
    inner: NDArray[np.int64] = field(default_factory=_nobody)  # set apart to choose on
    folder: Path

    @property
    def is_done(self) -> bool:
        """Whether its predictions, the last thing written, are there."""
        return (self.folder / "predictions.parquet").is_file()


def run_fold(runtime: Runtime, recipe: Recipe, fold: Fold, reporter: Reporter) -> None:
    """Train the model of one fold and write it and its predictions to the fold's folder.

    Raises:
        TrainingError: The loss or a score is not finite.
    """
    settings, cohort = recipe.settings, recipe.cohort
    seed = seeding.derive(settings.seed, "fold", fold.repeat, fold.fold)
    _clear(fold.folder)
    train, inner, test = (cohort.rows(part) for part in (fold.train, fold.inner, fold.test))
    drawn = imbalance.shares(settings, cohort.task, train.label)
    torch.manual_seed(seeding.derive(seed, "weights"))
    model = recipe.model(_tensor(drawn.loss_weight, runtime))
    model.scale(torch.from_numpy(train.label))
    told = Tee(reporter, RunLog(fold.folder))
    task = f"repeat {fold.repeat + 1}, fold {fold.fold + 1}"
    watch = early_stopping.Watch(settings.inner.patience if len(inner) else None)
    batches = _batches(runtime, recipe, train, seed, drawn.image_weight)
    kept = KeptFeatures(runtime, recipe, model, train, batches)
    _fit(runtime, recipe, model, batches, told, task, watch=watch, inner=inner, kept=kept)
    arrays = {name: t.detach().cpu().numpy() for name, t in model.state_dict().items()}
    weights.write_tensors(fold.folder / "model.safetensors", arrays)
    seen = {
        name: predict.features(runtime, model, part.archive, part.table, recipe.input)
        for name, part in (("test", test), ("inner", inner))
        if len(part)
    }
    scores = {name: _scores(model, found, fold) for name, found in seen.items()}
    known = FoldModel(
        repeat=fold.repeat,
        fold=fold.fold,
        epochs=watch.kept_epoch,
        prior=drawn.prior,
        drawn=drawn.drawn if settings.prior_correction else drawn.prior,
    )
    binary = recipe.task.kind in ("binary", "multi_label")
    moved = {name: ensemble.corrected(known, one, binary=binary) for name, one in scores.items()}
    if settings.gate:
        learned = kept.of_images()
        if learned is None:
            learned = predict.features(runtime, model, train.archive, train.table, recipe.input)
        gates.write(fold.folder, ensemble.gate_of(_doubles(learned), _doubles(seen["test"])))
    known = replace(
        known,
        learned=_keys(train, inner),
        calibrator=_calibrator(recipe, moved.get("inner"), inner),
    )
    fold_models.write(fold.folder, known)
    tables = [
        predict.rows(
            part,
            moved[name],
            repeat=fold.repeat,
            fold=fold.fold,
            seed=fold.repeat % settings.seeds,
            name=name,
        )
        for name, part in (("test", test), ("inner", inner))
        if name in moved
    ]
    if recipe.settings.pooling == "attention":
        attention.write(fold.folder, attending.weights(runtime, model, test, recipe.input))
    predictions.write(fold.folder / "predictions.parquet", pa.concat_tables(tables))


def _scores(model: SiteModel, seen: Tensor, fold: Fold) -> NDArray[np.float64]:
    score = predict.scores(model, seen)
    if not np.isfinite(score).all():
        raise TrainingError(
            "the scores are not finite",
            where=str(fold.folder),
            fix="lower the learning rate, or train with precision 32",
        )
    return score


def _calibrator(
    recipe: Recipe, score: NDArray[np.float64] | None, inner: Cohort
) -> dict[str, Any] | None:
    """Return how the scores of a fold are calibrated, from those of its inner part."""
    kind = recipe.settings.calibration
    if score is None or kind == "none":
        return None
    label = inner.label[:, 0].astype(np.int64)
    return asdict(calibrators.fit(kind, score, label, inner.patients))


def _keys(*parts: Cohort) -> tuple[str, ...]:
    """Return the patients of parts of a cohort, called as in the archive: aliases all by name."""
    keys: set[str] = set()
    for part in parts:
        keys.update(part.patients)
        if part.merged and len(part):
            images = archives.read_images(part.archive)
            own = pc.is_in(images["image_id"], value_set=part.table["image_id"].combine_chunks())
            keys.update(images.filter(own)["patient_key"].to_pylist())
    return tuple(sorted(keys))


def _doubles(features: Tensor) -> NDArray[np.float64]:
    return np.asarray(features.cpu().numpy(), dtype=np.float64)


def cost(runtime: Runtime, recipe: Recipe, folds: Sequence[Fold]) -> Cost:
    """Return what all folds would take, from a few steps of the first one."""
    fold, model = folds[0], recipe.model()
    train = recipe.cohort.rows(fold.train)
    batches = _batches(runtime, recipe, train, 0, None)
    kept = KeptFeatures(runtime, recipe, model, train, batches)
    shown = (_call(step) for step in batches.steps(trial.FOREVER))
    groups, seconds, steps = model.groups(), 0.0, 0
    on_cpu = runtime.device.type == "cpu"
    for phase in recipe.phases:
        if kept.serve(phase):
            continue
        module, stepped = runtime.setup(model, phases.optimizer(phase, groups, fused=on_cpu))
        for released, epochs in Counter(phase.released).items():
            model.release_only(released)
            pace = trial.seconds_per_step(
                runtime, module, stepped, shown, lambda state: loop.one_call(runtime, state)
            )
            measured = phase.factors is not None  # on one batch more, before each epoch
            seconds += pace * epochs * (batches.steps_per_epoch + measured)
            steps += trial.TIMED
    few = recipe.cohort.rows(fold.test[:_SCORED])
    started = time.perf_counter()
    width = predict.features(runtime, model, few.archive, few.table, recipe.input).shape[1]
    gated = recipe.settings.gate
    passes = int(any(map(kept.serve, recipe.phases)))  # their steps are next to nothing
    passes += int(gated and not kept.serve(recipe.phases[-1]))
    seen = len(fold.test) + len(fold.inner) + passes * len(fold.train)
    seconds += (time.perf_counter() - started) / len(few) * seen
    size = gates.n_bytes(len(train), len(fold.test), width) if gated else 0
    return Cost(
        seconds=seconds * len(folds),
        disk_bytes=len(folds) * (trial.tensor_bytes(model) + _ROW_BYTES * len(fold.test) + size),
        memory_bytes=trial.memory() + (gate.memory(len(train), width) if gated else 0),
        basis=f"{steps} steps of {batches.batch_size} images, one fold of {len(folds)}",
    )


def _fit(  # noqa: PLR0913 - one value per thing it needs
    runtime: Runtime,
    recipe: Recipe,
    model: SiteModel,
    batches: TrainingBatches,
    reporter: Reporter,
    task: str,
    *,
    watch: Watch,
    inner: Cohort,
    kept: KeptFeatures | None = None,
) -> None:
    groups = model.groups()
    on_cpu = runtime.device.type == "cpu"
    epoch = step = 0
    shown = reporter.track(
        _arguments(batches, recipe.phases, kept),
        task=task,
        total=sum(phase.epochs for phase in recipe.phases) * batches.steps_per_epoch,
        unit="images",
        each=batches.batch_size,
    )
    for phase in recipe.phases:
        module, stepped = runtime.setup(model, phases.optimizer(phase, groups, fused=on_cpu))
        moved = phases.scheduler(phase, stepped, batches.steps_per_epoch)
        state = TrainState(module, stepped, moved, batches.seed, epoch=epoch, step=step)
        if kept is not None:
            kept.enter(phase)
        for released in phase.released:
            model.release_only(released)
            coming: Iterator[loop.Call] = islice(shown, batches.steps_per_epoch)
            if phase.factors is not None:
                coming = relative_gradients.scaled(
                    runtime, model, state, phase.factors, coming, reporter
                )
            loop.train(
                runtime,
                state,
                coming,
                reporter,
                update=loop.one_call(runtime, state),
                clip=recipe.settings.optim.clip,
            )
            loop.log(state, reporter)
            state.epoch += 1
            if watch.wants(phase is recipe.phases[-1]):
                loss = predict.loss(runtime, model, inner, recipe.input)
                reporter.metrics(state.step, {"epoch": state.epoch, "inner_loss": loss})
                watch.saw(loss, model, state.epoch)
            if watch.is_over:
                break
        epoch, step = state.epoch, state.step
    watch.restore(model, epoch)


def _batches(
    runtime: Runtime,
    recipe: Recipe,
    train: Cohort,
    seed: int,
    image_weight: NDArray[np.float64] | None,
) -> TrainingBatches:
    settings = recipe.settings
    size = min(int(settings.batch_size), len(train))
    sampler: Sampler = Shuffled(len(train), size, seed)
    if image_weight is not None:
        sampler = Weighted(image_weight, size, seed)
    elif recipe.compares:
        sampler = Stratified(np.unique(train.label, axis=0, return_inverse=True)[1], size, seed)
    return TrainingBatches(
        recipe.input.open(train.archive, train.table),
        sampler,
        device=runtime.device,
        intensity=recipe.input.intensity,
        views=settings.views,
        shape=settings.shape,
        seed=seed,
        target=train.label,
        plain=not settings.random_views,
    )


def _arguments(
    batches: TrainingBatches, planned: Sequence[Phase], kept: KeptFeatures | None = None
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Yield what the model is called with at each step of a run: images, labels, and the mix."""
    of_epoch = [phase for phase in planned for _ in phase.released]
    for epoch, phase in enumerate(of_epoch):
        if kept is not None and kept.serve(phase):
            yield from kept.epoch(epoch)
            continue
        rng = seeding.rng(batches.seed, "mix", epoch)
        for step in batches.epoch(epoch):
            arguments, named = _call(step)
            mixed = mixing.mix(arguments[0], phase.mixup, phase.cutmix, rng)
            if mixed is not None:
                arguments = (mixed.images, arguments[1])
                named |= {"partner": arguments[1][mixed.partner], "kept": mixed.kept}
            yield arguments, named


def _call(step: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:  # noqa: ANN401
    (images,), target = step.views, step.target
    return (images, target), {"slices": step.slices} if step.slices else {}


def _tensor(values: NDArray[np.float64] | None, runtime: Runtime) -> Tensor | None:
    return None if values is None else torch.from_numpy(values).float().to(runtime.device)


def _clear(folder: Path) -> None:
    """Empty the folder of a fold that a killed process left half done."""
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.iterdir():
            stale.unlink()
