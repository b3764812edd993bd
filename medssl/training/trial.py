"""A few steps of a training, timed, to say what all of it would take."""

import time
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from medssl.data.batches import TrainingBatches
from medssl.foundation.cost import peak_memory
from medssl.foundation.reporting import Silent
from medssl.training import loop, optim
from medssl.training.runtime import Runtime
from medssl.training.state import TrainState

WARM_UP, TIMED = 2, 3  # steps; the first ones of a shape are slow


def seconds_per_step(
    runtime: Runtime, module: nn.Module, stepped: Optimizer, steps: Iterator[tuple[Any, ...]]
) -> float:
    """Return the time of one step with its loading and views; it moves the weights of ``module``.

    Args:
        runtime: Where it runs.
        module: Set up by ``runtime``.
        stepped: Its optimiser, set up too.
        steps: Arguments of the module's forward; at least `WARM_UP` + `TIMED` of them.
    """
    state = TrainState(module, stepped, optim.constant(stepped), seed=0)
    loop.train_epoch(runtime, state, islice(steps, WARM_UP), Silent())
    started = time.perf_counter()
    loop.train_epoch(runtime, state, islice(steps, TIMED), Silent())
    return (time.perf_counter() - started) / TIMED


def forever(batches: TrainingBatches) -> Iterator[tuple[Any, ...]]:
    """Yield views and targets, epoch after epoch."""
    for epoch in count():
        yield from batches.epoch(epoch)


def memory() -> int:
    """Return the most memory used so far, of the process and of the GPU, bytes."""
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return max(peak_memory(), on_gpu)


def tensor_bytes(module: nn.Module) -> int:
    """Return the size of all parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in module.state_dict().values())
