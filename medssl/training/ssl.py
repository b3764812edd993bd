"""Self-supervised training: epochs over an archive, watched, with checkpoints to resume from."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from medssl.artifacts.run_folder import RunLog
from medssl.config.pretrain import PretrainSettings
from medssl.data.batches import TrainingBatches
from medssl.foundation import seeding
from medssl.foundation.cost import Cost
from medssl.foundation.reporting import Reporter
from medssl.training import checkpoint, loop, monitors, optim, trial
from medssl.training.monitors import Monitors
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState


@dataclass(frozen=True, kw_only=True)
class Images:
    """What a method is trained on, and what measures it."""

    batches: TrainingBatches
    monitors: Monitors
    steps_per_epoch: int  # what counts as an epoch; it may be several passes over the images


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a training ended."""

    state: TrainState
    losses: dict[str, float]  # the last ones logged
    measured: dict[str, float]  # by the monitors, the last time
    measured_before: dict[str, float]  # before the first step


def run(
    runtime: Runtime,
    settings: PretrainSettings,
    method: nn.Module,
    images: Images,
    folder: Path,
    reporter: Reporter,
) -> Trained:
    """Train ``method`` to its last epoch, from the newest checkpoint in ``folder`` if there is one.

    Args:
        runtime: Where it runs.
        settings: Resolved settings.
        method: A method around an encoder.
        images: What it sees, and what it is measured on.
        folder: Run folder.
        reporter: Told about progress and losses.

    Raises:
        TrainingError: The loss or a feature is not finite, or the features have collapsed. The
            checkpoint of the last epoch before that stays.
        ArtifactError: A checkpoint does not fit.
    """
    epochs, batches = int(settings.epochs), images.batches
    module, optimizer = runtime.setup(method, _optimizer(method, settings))
    steps = epochs * images.steps_per_epoch
    scheduler = optim.warmup_cosine(optimizer, steps, settings.optim.warmup)
    state = TrainState(module, optimizer, scheduler, seeding.derive(settings.seed, "steps"))
    if checkpoint.load(folder / "checkpoints", state):
        reporter.note(f"continuing after epoch {state.epoch} of {epochs}")
    RunLog(folder).forget_after(state.step)
    course = _logged(folder, "feature_std")
    losses = next(reversed(_logged(folder, "total")), {})
    if not course:
        course.append(_measure(state, images.monitors, reporter))
    shown = reporter.track(
        _arguments(batches, range(state.step, steps)),
        task="pretraining",
        total=steps - state.step,
        unit="images",
        each=batches.batch_size,
    )
    while state.epoch < epochs:
        one_epoch = islice(shown, images.steps_per_epoch)
        losses = loop.train_epoch(runtime, state, one_epoch, reporter, settings.optim.clip)
        if images.monitors.due(state.epoch):
            course.append(_measure(state, images.monitors, reporter))
            if images.monitors.stops:
                monitors.refuse_collapse(course, folder, at_the_end=state.epoch == epochs)
        if state.epoch % settings.checkpoint_every == 0 or state.epoch == epochs:
            checkpoint.save(folder / "checkpoints", state)
    return Trained(state=state, losses=losses, measured=course[-1], measured_before=course[0])


def cost(runtime: Runtime, settings: PretrainSettings, method: nn.Module, images: Images) -> Cost:
    """Return what `run` would take, from a few steps and one measurement."""
    batches, epochs = images.batches, int(settings.epochs)
    module, stepped = runtime.setup(method, _optimizer(method, settings))
    steps = ((views,) for views, _ in trial.forever(batches))
    pace = trial.seconds_per_step(runtime, module, stepped, steps)
    started = time.perf_counter()
    images.monitors.measure(module)
    measuring = time.perf_counter() - started
    measurements = 1 + sum(images.monitors.due(epoch) for epoch in range(1, epochs + 1))
    moments = 2 * sum(p.numel() * p.element_size() for p in method.parameters())
    encoder = trial.tensor_bytes(method.encoder)  # type: ignore[arg-type]
    return Cost(
        seconds=pace * epochs * images.steps_per_epoch + measuring * measurements,
        disk_bytes=2 * (trial.tensor_bytes(method) + moments) + encoder,  # two checkpoints
        memory_bytes=trial.memory(),
        basis=f"{trial.TIMED} steps of {batches.batch_size} images, one measurement",
    )


def build_method(module: Any, encoder: nn.Module, config: Any, seed: int) -> nn.Module:  # noqa: ANN401
    """Return a plugin's method around ``encoder``, its projector drawn from ``seed``."""
    torch.manual_seed(seeding.derive(seed, "method"))
    method: nn.Module = module.Method(encoder, config)
    return method


def _optimizer(method: nn.Module, settings: PretrainSettings) -> AdamW:
    everything = optim.LayerGroup(
        modules=[method],
        lr=float(settings.optim.lr),
        weight_decay=settings.optim.weight_decay,
    )
    return optim.adamw({"all": everything})


def _measure(state: TrainState, measuring: Monitors, reporter: Reporter) -> dict[str, float]:
    values = measuring.measure(state.module)
    reporter.metrics(state.step, {"epoch": state.epoch, **values})
    return values


def _logged(folder: Path, telling: str) -> list[dict[str, float]]:
    """Return what was logged before the run was interrupted, of the lines with one value."""
    return [
        {name: value for name, value in point.items() if name not in {"step", "epoch", "lr"}}
        for point in RunLog(folder).history()
        if telling in point
    ]


def _arguments(batches: TrainingBatches, steps: range) -> Iterator[tuple[list[Tensor]]]:
    """Yield the views of some steps of the run; one pass over the images follows the other."""
    passes, begun = divmod(steps.start, batches.steps_per_epoch)
    rest = chain.from_iterable(map(batches.epoch, count(passes)))
    for views, _ in islice(rest, begun, begun + len(steps)):
        yield (views,)
