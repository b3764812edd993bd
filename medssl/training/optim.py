"""Optimiser and schedule: AdamW over named groups, linear warm-up, cosine decay."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from medssl.config.training import Optim


def adamw(groups: Mapping[str, tuple[Iterable[nn.Module], float]], optim: Optim) -> AdamW:
    """Return AdamW with two parameter groups per layer group: with and without weight decay.

    Biases and norm weights (all parameters of one dimension) are not decayed. Frozen groups are
    included, so that releasing them later changes no group; without a gradient they do not move.

    Args:
        groups: Name -> modules and peak learning rate.
        optim: Weight decay.
    """
    parameters = []
    for name, (modules, lr) in groups.items():
        own = [p for module in modules for p in module.parameters()]
        for part, decay in (("weights", optim.weight_decay), ("bias and norm", 0.0)):
            chosen = [p for p in own if (p.ndim > 1) == (part == "weights")]
            if chosen:
                label = f"{name}: {part}"
                parameters.append(
                    {"params": chosen, "lr": lr, "weight_decay": decay, "name": label}
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
