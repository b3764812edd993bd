"""A few steps of a training, timed, to say what all of it would take."""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from medssl.foundation.cost import peak_memory
from medssl.foundation.reporting import Silent
from medssl.training import loop, optim
from medssl.training.loop import Update
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState

WARM_UP, TIMED = 2, 3  # steps; the first ones of a shape are slow
FOREVER = range(10**9)  # as many steps as anyone wants to time

T = TypeVar("T")


def seconds_per_step(
    runtime: Runtime,
    module: nn.Module,
    stepped: Optimizer,
    steps: Iterator[T],
    update: Callable[[TrainState], Update[T]] | None = None,
) -> float:
    """Return the time of one step with its loading and views; it moves the weights of ``module``.

    Args:
        runtime: Where it runs.
        module: Set up by ``runtime``.
        stepped: Its optimiser, set up too.
        steps: What its steps are made of; at least `WARM_UP` + `TIMED` of them.
        update: Makes what turns that into gradients; None: one call of ``module``.
    """
    state = TrainState(module, stepped, optim.constant(stepped), seed=0)
    does: Update[Any] = update(state) if update else loop.one_call(runtime, state)
    loop.train(runtime, state, islice(steps, WARM_UP), Silent(), update=does)
    started = time.perf_counter()
    loop.train(runtime, state, islice(steps, TIMED), Silent(), update=does)
    return (time.perf_counter() - started) / TIMED


def memory() -> int:
    """Return the most memory used so far, of the process and of the GPU, bytes."""
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return max(peak_memory(), on_gpu)


def tensor_bytes(module: nn.Module) -> int:
    """Return the size of all parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in module.state_dict().values())
