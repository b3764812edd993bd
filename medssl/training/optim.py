"""Optimisers over named groups of parameters, and how their rates move."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from medssl.config.pretrain import PretrainOptim
from medssl.training.lamb import LAMB
from medssl.training.lars import LARS

# Learned inputs, which decay would only fade: mask and class tokens, position embeddings.
_LEARNED_INPUT = re.compile(r"(^|[._])(tokens?(\.\d+)?$|pos(itions?)?([._]|$))")


@dataclass(frozen=True, kw_only=True)
class LayerGroup:
    """Modules that learn at one rate."""

    modules: Sequence[nn.Module]
    lr: float  # peak
    weight_decay: float


def adamw(
    groups: Mapping[str, LayerGroup], *, decay_all: bool = False, fused: bool = False
) -> AdamW:
    """Return AdamW with two parameter groups per layer group: with and without weight decay.

    Biases and norm weights (all parameters of one dimension) are not decayed. Frozen groups are
    included, so that releasing them later changes no group; without a gradient they do not move.

    Args:
        groups: Layer groups by name.
        decay_all: Decay biases and norm weights like everything else.
        fused: One call for all parameters, twice as fast on a CPU.
    """
    parameters = []
    for name, group in groups.items():
        own = [p for module in group.modules for p in module.parameters()]
        for part in ("weights", "bias and norm"):
            chosen = [p for p in own if (p.ndim > 1) == (part == "weights")]
            decay = group.weight_decay if part == "weights" or decay_all else 0.0
            if chosen:
                options = {"lr": group.lr, "weight_decay": decay, "name": f"{name}: {part}"}
                parameters.append({"params": chosen, "layer_group": name, **options})
    return AdamW(parameters, fused=fused)


def pretraining(method: nn.Module, settings: PretrainOptim) -> Optimizer:
    """Return the optimiser of all parameters of ``method`` that learn.

    Biases, norm weights, mask tokens and position embeddings are not decayed, nor are their steps
    scaled by LARS and LAMB. What has no gradient, as a momentum encoder, is left out.

    Args:
        method: A method around an encoder.
        settings: With the learning rate resolved.
    """
    groups = _groups(method, settings.weight_decay)
    lr = float(settings.lr)
    if settings.name == "sgd":
        return SGD(groups, lr, momentum=settings.momentum)
    if settings.name == "lars":
        return LARS(groups, lr, momentum=settings.momentum)
    if settings.name == "lamb":
        return LAMB(groups, lr, betas=settings.betas)
    return AdamW(groups, lr, betas=settings.betas)


def _groups(method: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            parts[parameter.ndim > 1 and not _LEARNED_INPUT.search(name)].append(parameter)
    return [
        {
            "params": chosen,
            "weight_decay": weight_decay if weights else 0.0,
            "adapted": weights,
            "name": "weights" if weights else "bias, norm and learned input",
        }
        for weights, chosen in parts.items()
        if chosen
    ]


@dataclass(frozen=True)
class Course:
    """Learning rate and weight decay of a pretraining run as functions of the step, from 0."""

    settings: PretrainOptim
    steps: int

    def factor(self, step: int) -> float:
        """Return the learning rate as a share of its peak."""
        return _warmup_cosine(step, self.steps, self.settings.warmup, self.settings.final)

    def weight_decay(self, step: int) -> float:
        """Return the weight decay; it ends at the last step."""
        first, last = self.settings.weight_decay, self.settings.weight_decay_end
        if last is None:
            return first
        share = min(1.0, step / max(1, self.steps - 1))
        return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


class Moving(LRScheduler):
    """Moves learning rate and weight decay of what `pretraining` returned.

    Args:
        optimizer: Its learning rates are the peaks.
        course: Where they are at each step.
    """

    def __init__(self, optimizer: Optimizer, course: Course) -> None:
        self._course = course
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the learning rates at this step."""
        factor = self._course.factor(self.last_epoch)
        return [peak * factor for peak in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        """Move on by one step."""
        super().step(epoch)
        self._move_decay()

    def state_dict(self) -> dict[str, Any]:
        """Return the step: all else follows from it."""
        return {"step": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the step that was saved."""
        self.last_epoch = state_dict["step"]
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr
        self._move_decay()

    def _move_decay(self) -> None:
        for group in self.optimizer.param_groups:
            if group["adapted"]:
                group["weight_decay"] = self._course.weight_decay(self.last_epoch)


def moving(optimizer: Optimizer, steps: int, settings: PretrainOptim) -> Moving:
    """Return what moves learning rate and weight decay over a pretraining run of ``steps`` steps.

    Args:
        optimizer: From `pretraining`.
        steps: Length of the run, in optimiser steps.
        settings: Those it was made with.
    """
    return Moving(optimizer, Course(settings, steps))


def curve(settings: PretrainOptim, steps: int) -> dict[str, NDArray[np.float64]]:
    """Return learning rate and weight decay at every step, as `Moving` will set them.

    Returns:
        ``lr`` and ``weight_decay``, shape (steps,) each.
    """
    course, peak = Course(settings, steps), float(settings.lr)
    return {
        "lr": np.array([peak * course.factor(step) for step in range(steps)]),
        "weight_decay": np.array([course.weight_decay(step) for step in range(steps)]),
    }


# Share of the peak, and AdamW's first beta if it moves too, at a step of so many.
Motion = Callable[[int, int], tuple[float, float | None]]


class Cycles(LRScheduler):
    """Moves the rate of every layer group on its own.

    Args:
        optimizer: Its learning rates are the peaks. Those of `adamw` know their layer groups.
        motion: What a group goes through from its first step to the last of all.
        steps: Length of the run, in optimiser steps.
        begins: First step of each layer group; of those not named the first of the run. Before
            it the rate is 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        motion: Motion,
        steps: int,
        begins: Mapping[str, int] | None = None,
    ) -> None:
        self._motion, self._steps, self._begins = motion, steps, dict(begins or {})
        self._owners = [group.get("layer_group", "") for group in optimizer.param_groups]
        self._factors: dict[str, float] = {}
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the learning rates at this step."""
        return [
            peak * self._place(owner)[0] * self._factors.get(owner, 1.0)
            for peak, owner in zip(self.base_lrs, self._owners, strict=True)
        ]

    def step(self, epoch: int | None = None) -> None:
        """Move on by one step."""
        super().step(epoch)
        self._move_betas()

    def scale(self, factors: Mapping[str, float]) -> None:
        """Multiply the rates of layer groups, from this step until they are scaled anew."""
        self._factors = dict(factors)
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the factors: all else follows from them."""
        return {"step": self.last_epoch, "factors": self._factors}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the step that was saved."""
        self.last_epoch, self._factors = state_dict["step"], dict(state_dict["factors"])
        self._apply()
        self._move_betas()

    def _place(self, owner: str) -> tuple[float, float | None]:
        first = self._begins.get(owner, 0)
        step, steps = self.last_epoch - first, self._steps - first
        return self._motion(step, steps) if step >= 0 else (0.0, None)

    def _apply(self) -> None:
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr

    def _move_betas(self) -> None:
        for group, owner in zip(self.optimizer.param_groups, self._owners, strict=True):
            beta = self._place(owner)[1]
            if beta is not None:
                group["betas"] = (beta, group["betas"][1])


def warmup_cosine(
    optimizer: Optimizer,
    steps: int,
    warmup: float,
    final: float = 0.0,
    *,
    begins: Mapping[str, int] | None = None,
) -> Cycles:
    """Return a schedule that rises linearly and falls along a cosine.

    It reaches its end when the last step is done: that step itself still moves the weights.

    Args:
        optimizer: Its learning rates are the peaks.
        steps: Length of the run, in optimiser steps.
        warmup: Share of a group's steps for the rise.
        final: Where the cosine ends, as a share of the peak.
        begins: See `Cycles`.
    """
    return Cycles(
        optimizer, lambda at, of: (_warmup_cosine(at, of, warmup, final), None), steps, begins
    )


def _warmup_cosine(step: int, steps: int, warmup: float, final: float) -> float:
    rise = round(steps * warmup)
    if step < rise:
        return (step + 1) / (rise + 1)
    fallen = 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
    return final + (1 - final) * fallen


def one_cycle(
    optimizer: Optimizer, steps: int, *, begins: Mapping[str, int] | None = None
) -> Cycles:
    """Return one cycle (Smith & Topin, arXiv:1708.07120) as in arXiv:2507.12269.

    Rates rise along a cosine from a 25th of their peak over 30 % of the run, and fall to a
    250,000th; AdamW's first beta mirrors them, 0.95 to 0.85 and back. torch's `OneCycleLR` does the
    same for groups that all begin at once.

    Args:
        optimizer: Its learning rates are the peaks.
        steps: Length of the run, in optimiser steps.
        begins: See `Cycles`.
    """
    return Cycles(optimizer, _one_cycle, steps, begins)


def _one_cycle(step: int, steps: int) -> tuple[float, float]:
    top, end = 0.3 * steps - 1, steps - 1
    if step <= top:
        return _along(1 / 25, 1.0, step / top), _along(0.95, 0.85, step / top)
    share = min(1.0, (step - top) / (end - top))
    return _along(1.0, 1 / 25 / 1e4, share), _along(0.85, 0.95, share)


def _along(start: float, end: float, share: float) -> float:
    """Return where a cosine from ``start`` to ``end`` is after a share of its way."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


def constant(optimizer: Optimizer) -> Cycles:
    """Return a schedule that leaves every rate as it is."""
    return Cycles(optimizer, lambda _, __: (1.0, None), 1)
