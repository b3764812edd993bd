"""Optimiser and learning rates: AdamW over named layer groups, and how their rates move."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR


@dataclass(frozen=True, kw_only=True)
class LayerGroup:
    """Modules that learn at one rate."""

    modules: Sequence[nn.Module]
    lr: float  # peak
    weight_decay: float


def adamw(groups: Mapping[str, LayerGroup], *, decay_all: bool = False) -> AdamW:
    """Return AdamW with two parameter groups per layer group: with and without weight decay.

    Biases and norm weights (all parameters of one dimension) are not decayed. Frozen groups are
    included, so that releasing them later changes no group; without a gradient they do not move.

    Args:
        groups: Layer groups by name.
        decay_all: Decay biases and norm weights like everything else.
    """
    parameters = []
    for name, group in groups.items():
        own = [p for module in group.modules for p in module.parameters()]
        for part in ("weights", "bias and norm"):
            chosen = [p for p in own if (p.ndim > 1) == (part == "weights")]
            decay = group.weight_decay if part == "weights" or decay_all else 0.0
            if chosen:
                label = f"{name}: {part}"
                parameters.append(
                    {"params": chosen, "lr": group.lr, "weight_decay": decay, "name": label}
                )
    return AdamW(parameters)


def warmup_cosine(optimizer: torch.optim.Optimizer, steps: int, warmup: float) -> LambdaLR:
    """Return a schedule that rises linearly and falls along a cosine to zero at the last step.

    Args:
        optimizer: Its learning rates are the peaks.
        steps: Length of the run, in optimiser steps.
        warmup: Share of them for the rise.
    """
    rise = round(steps * warmup)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return LambdaLR(optimizer, factor)


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    """Return one cycle (Smith & Topin, arXiv:1708.07120) as in arXiv:2507.12269.

    Rates rise along a cosine from a 25th of their peak over 30 % of the run, and fall to a
    250,000th; AdamW's first beta mirrors them, 0.95 to 0.85 and back.

    Args:
        optimizer: Its learning rates are the peaks.
        steps: Length of the run, in optimiser steps.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(
        optimizer,
        peaks,
        total_steps=steps,
        pct_start=0.3,
        anneal_strategy="cos",
        div_factor=25.0,
        final_div_factor=1e4,
        base_momentum=0.85,
        max_momentum=0.95,
    )


def constant(optimizer: torch.optim.Optimizer) -> LambdaLR:
    """Return a schedule that leaves every rate as it is."""
    return LambdaLR(optimizer, lambda _: 1.0)
