"""Self-supervised training: epochs over an archive, with checkpoints to resume from."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medssl.artifacts.run_folder import RunLog
from medssl.config.pretrain import PretrainSettings
from medssl.data.batches import TrainingBatches
from medssl.foundation import seeding
from medssl.foundation.reporting import Reporter
from medssl.training import checkpoint, loop, optim
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState


def run(
    runtime: Runtime,
    settings: PretrainSettings,
    method: nn.Module,
    batches: TrainingBatches,
    folder: Path,
    reporter: Reporter,
) -> tuple[TrainState, dict[str, float]]:
    """Train ``method`` to its last epoch, from the newest checkpoint in ``folder`` if there is one.

    Args:
        runtime: Where it runs.
        settings: Resolved settings.
        method: A method around an encoder.
        batches: What it sees.
        folder: Run folder.
        reporter: Told about progress and losses.

    Returns:
        The state at the end, and the last losses logged (empty if nothing was left to do).

    Raises:
        TrainingError: The loss is not finite.
        ArtifactError: A checkpoint does not fit.
    """
    epochs = int(settings.epochs)
    optimizer = optim.adamw(
        {
            "all": optim.LayerGroup(
                modules=[method],
                lr=float(settings.optim.lr),
                weight_decay=settings.optim.weight_decay,
            )
        }
    )
    module, optimizer = runtime.setup(method, optimizer)
    steps = epochs * batches.steps_per_epoch
    scheduler = optim.warmup_cosine(optimizer, steps, settings.optim.warmup)
    state = TrainState(module, optimizer, scheduler, seeding.derive(settings.seed, "steps"))
    if checkpoint.load(folder / "checkpoints", state):
        reporter.note(f"continuing after epoch {state.epoch} of {epochs}")
    RunLog(folder).forget_after(state.step)
    losses: dict[str, float] = {}
    shown = reporter.track(
        _arguments(batches, range(state.epoch, epochs)),
        task="pretraining",
        total=(epochs - state.epoch) * batches.steps_per_epoch,
        unit="images",
        each=batches.batch_size,
    )
    while state.epoch < epochs:
        one_epoch = islice(shown, batches.steps_per_epoch)
        losses = loop.train_epoch(runtime, state, one_epoch, reporter, settings.optim.clip)
        if state.epoch % settings.checkpoint_every == 0 or state.epoch == epochs:
            checkpoint.save(folder / "checkpoints", state)
    return state, losses


def build_method(module: Any, encoder: nn.Module, config: Any, seed: int) -> nn.Module:  # noqa: ANN401
    """Return a plugin's method around ``encoder``, its projector drawn from ``seed``."""
    torch.manual_seed(seeding.derive(seed, "method"))
    method: nn.Module = module.Method(encoder, config)
    return method


def _arguments(batches: TrainingBatches, epochs: range) -> Iterator[tuple[list[Tensor]]]:
    for epoch in epochs:
        for views, _ in batches.epoch(epoch):
            yield (views,)
