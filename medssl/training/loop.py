"""The one training loop, for every method and every freezing schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from medssl.foundation import seeding
from medssl.foundation.errors import TrainingError
from medssl.foundation.reporting import Reporter
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState

LOG_EVERY = 50  # steps; reading a loss waits for the device

T = TypeVar("T")
Update = Callable[[T], dict[str, Tensor]]  # forward and backward of one step, its losses
Stop = Callable[[TrainState], bool]  # whether to leave after the step just done


def train(  # noqa: PLR0913 - one value per thing it needs
    runtime: Runtime,
    state: TrainState,
    steps: Iterable[T],
    reporter: Reporter,
    *,
    update: Update[T],
    clip: float | None = None,
    stop: Stop | None = None,
) -> dict[str, float]:
    """Advance ``state`` by ``steps``, or by those before it is told to stop.

    Args:
        runtime: Where it runs.
        state: The model in training.
        steps: What each step is made of.
        reporter: Takes the mean losses every `LOG_EVERY` steps; `log` gives it the rest.
        update: Turns that into gradients.
        clip: Highest gradient norm.
        stop: Asked after every step.

    Returns:
        The mean losses last logged, empty if none were.

    Raises:
        TrainingError: The loss is not finite when it is logged.
    """
    state.module.train()
    logged: dict[str, float] = {}
    for shown in steps:
        torch.manual_seed(seeding.derive(state.seed, "step", state.step))  # dropout replays
        losses = update(shown)
        if clip is not None:
            runtime.clip(state.module, state.optimizer, clip)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.scheduler.step()
        state.step += 1
        _add(state, losses)
        if state.step % LOG_EVERY == 0:
            logged = log(state, reporter)
        if stop is not None and stop(state):
            break
    return logged


Call = tuple[tuple[Any, ...], dict[str, Any]]  # arguments of a call, and those with names


def one_call(runtime: Runtime, state: TrainState) -> Update[Call]:
    """Return the update of a module whose step is one call with the given arguments."""

    def update(call: Call) -> dict[str, Tensor]:
        arguments, named = call
        losses: dict[str, Tensor] = state.module(*arguments, **named)
        runtime.backward(losses["total"])
        return losses

    return update


def log(state: TrainState, reporter: Reporter) -> dict[str, float]:
    """Report the mean losses of the steps since the last report, and return them.

    Raises:
        TrainingError: The loss is not finite.
    """
    if not state.n_unlogged:
        return {}
    values = {name: float(total) / state.n_unlogged for name, total in state.unlogged.items()}
    if not math.isfinite(values["total"]):
        raise TrainingError(
            f"the loss became {values['total']} by step {state.step}",
            fix="lower the learning rate, or train with precision 32",
        )
    state.unlogged, state.n_unlogged = {}, 0
    lr = float(max(state.scheduler.get_last_lr()))
    reporter.metrics(state.step, {"epoch": state.epoch + 1, "lr": lr, **values})
    return values


def _add(state: TrainState, losses: dict[str, Tensor]) -> None:
    for name, loss in losses.items():
        so_far = state.unlogged.get(name)
        state.unlogged[name] = loss.detach() if so_far is None else so_far + loss.detach()
    state.n_unlogged += 1
