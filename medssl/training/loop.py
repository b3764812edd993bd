"""The one training loop, for every method and every freezing schedule."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from medssl.foundation import seeding
from medssl.foundation.errors import TrainingError
from medssl.foundation.reporting import Reporter
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState

LOG_EVERY = 50  # steps; reading a loss waits for the device


def train_epoch(
    runtime: Runtime,
    state: TrainState,
    batches: Iterable[tuple[object, ...]],
    reporter: Reporter,
    clip: float | None = None,
) -> dict[str, float]:
    """Advance ``state`` by one pass over ``batches``.

    Args:
        runtime: Where it runs.
        state: The model in training.
        batches: Arguments of the module's forward, one tuple per step.
        reporter: Takes the mean losses every `LOG_EVERY` steps and at the end.
        clip: Highest gradient norm.

    Returns:
        The mean losses last logged.

    Raises:
        TrainingError: The loss is not finite when it is logged.
    """
    state.module.train()
    sums: dict[str, Tensor] = {}
    since = 0
    logged: dict[str, float] = {}
    for batch in batches:
        torch.manual_seed(seeding.derive(state.seed, "step", state.step))  # dropout replays
        losses = state.module(*batch)
        runtime.backward(losses["total"])
        if clip is not None:
            runtime.clip(state.module, state.optimizer, clip)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.scheduler.step()
        state.step += 1
        since += 1
        for name, loss in losses.items():
            sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
        if state.step % LOG_EVERY == 0:
            logged = _log(state, sums, since, reporter)
            sums, since = {}, 0
    if since:
        logged = _log(state, sums, since, reporter)
    state.epoch += 1
    return logged


def _log(
    state: TrainState, sums: dict[str, Tensor], steps: int, reporter: Reporter
) -> dict[str, float]:
    values = {name: float(total) / steps for name, total in sums.items()}
    if not math.isfinite(values["total"]):
        raise TrainingError(
            f"the loss became {values['total']} by step {state.step}",
            fix="lower the learning rate, or train with precision 32",
        )
    lr = float(max(state.scheduler.get_last_lr()))
    reporter.metrics(state.step, {"epoch": state.epoch + 1, "lr": lr, **values})
    return values
