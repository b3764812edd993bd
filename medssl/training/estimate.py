"""What a pretraining would take, from a few steps: small ones where whole ones take minutes.

On a CPU a step of the trial has no more images than fit a budget of memory, and time and memory
are scaled to the whole step. How much an image adds is found on torch's device `meta`, where
nothing is computed.
"""

import copy
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from medssl.config.pretrain import PretrainSettings
from medssl.data.batches import Shown, TrainingBatches
from medssl.data.sampling import Sampler
from medssl.foundation.cost import Cost, peak_memory
from medssl.foundation.reporting import Silent
from medssl.foundation.wording import counted
from medssl.training import optim, trial
from medssl.training.runtime import Runtime
from medssl.training.ssl import Images
from medssl.training.step import Step
from medssl.training.update import StepUpdate

_LEAST = 2  # images, which norms over a batch need
_KEPT = 256 * 2**20  # bytes that a trial step may keep for its gradients, if two images allow it
_BACKWARD = 1.5  # of it that a step needs: gradients lie beside it (1.4 to 1.5 was measured)
_IN_PIECES = 4 / 3  # forward twice and backward once, over forward and backward once


class _First:
    """The first images of every step of another sampler."""

    def __init__(self, sampler: Sampler, count: int) -> None:
        self._sampler, self.batch_size = sampler, count
        self.steps_per_epoch = sampler.steps_per_epoch

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """See `Sampler`."""
        return self._sampler.epoch(epoch)[:, : self.batch_size]


def cost(runtime: Runtime, settings: PretrainSettings, method: nn.Module, images: Images) -> Cost:
    """Return what `ssl.run` would take; the weights of ``method`` are moved.

    Raises:
        TrainingError: The features are not finite.
    """
    whole, epochs, step = images.batches.batch_size, int(settings.epochs), Step(method)
    shown = next(iter(_few(images.batches, min(whole, _LEAST)).steps(range(1))))
    each = bytes_per_image(step, shown)
    count = whole if runtime.device.type == "cuda" else fitting(whole, each)
    few = _few(images.batches, count)
    module, stepped = runtime.setup(step, optim.pretraining(method, settings.optim))
    pace = trial.seconds_per_step(
        runtime,
        module,
        stepped,
        few.steps(trial.FOREVER),
        lambda state: StepUpdate(runtime, state, step, len(trial.FOREVER), Silent()),
    )
    fixed = min(pace, _seconds(stepped)) if count < whole else 0.0
    pace = fixed + (pace - fixed) * whole / count
    pace *= _IN_PIECES if settings.pieces > 1 else 1
    measuring = images.monitors.seconds(step, shown)
    measurements = 1 + sum(images.monitors.due(epoch) for epoch in range(1, epochs + 1))
    encoder = trial.tensor_bytes(step.encoder)
    scaled = f", scaled to {whole}" if count < whole else ""
    return Cost(
        seconds=pace * epochs * images.steps_per_epoch + measuring * measurements,
        disk_bytes=2 * (trial.tensor_bytes(method) + _moments(stepped)) + encoder,  # checkpoints
        memory_bytes=_memory(-(-whole // settings.pieces) - count, each),
        basis=f"{trial.TIMED} steps of {counted(count, settings.unit)}{scaled}, "
        f"features of {len(shown.patients)}",
    )


def fitting(whole: int, each: float) -> int:
    """Return how many images of a step of ``whole`` a trial takes, if one keeps ``each`` bytes."""
    return min(whole, max(_LEAST, int(_KEPT // max(each, 1))))


def bytes_per_image(step: Step, shown: Shown) -> float:
    """Return what each image adds to what a step keeps for its gradients, at single precision.

    Args:
        step: The method in training; it is left alone.
        shown: Of a step of any size; their shapes count, no values.
    """
    fewer, more = (_kept(step, shown, count) for count in (_LEAST, 2 * _LEAST))
    return (more - fewer) / _LEAST


def _kept(step: Step, shown: Shown, count: int) -> int:
    """Return the bytes that a step of ``count`` images keeps, weights that it keeps included."""
    named = {**dict(step.named_parameters()), **dict(step.named_buffers())}
    blank = {
        name: torch.empty_like(value, device="meta").requires_grad_(value.requires_grad)
        for name, value in named.items()
    }
    views = [torch.empty(count, *view.shape[1:], device="meta") for view in shown.views]
    patients = torch.empty(count, dtype=torch.int64, device="meta")
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        storages[storage._cdata] = storage  # kept, so that no other gets its address
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        losses = torch.func.functional_call(step, blank, (views, patients))
    del losses
    return sum(storage.nbytes() for storage in storages.values())


def _few(batches: TrainingBatches, count: int) -> TrainingBatches:
    """Return batches of the first ``count`` images of every step."""
    few = copy.copy(batches)
    few.sampler = _First(batches.sampler, count)
    return few


def _seconds(optimizer: Optimizer) -> float:
    """Return the time of a step of an optimiser, which does not depend on the images."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    started = time.perf_counter()
    optimizer.step()
    spent = time.perf_counter() - started
    optimizer.zero_grad(set_to_none=True)
    return spent


def _moments(optimizer: Optimizer) -> int:
    """Return the bytes an optimiser keeps of each parameter."""
    return sum(
        value.numel() * value.element_size()
        for values in optimizer.state_dict()["state"].values()
        for value in values.values()
        if isinstance(value, Tensor)
    )


def _memory(more: int, each: float) -> int:
    """Return the most memory used so far and that of ``more`` images, of process and GPU."""
    extra = max(0, round(more * each * _BACKWARD))
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return max(peak_memory(), torch.cuda.max_memory_allocated() + extra)
    return peak_memory() + extra if peak_memory() else 0
