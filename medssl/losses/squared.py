"""Squared error of amounts, in units of their spread among the training patients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.config.task import Task
from medssl.losses import _likelihood

TASKS = ("regression",)
MIXES = True
WEIGHTS = False
CALIBRATED = True


@dataclass(frozen=True, kw_only=True)
class Config:
    """No options."""


def loss(
    logits: Tensor,
    target: Tensor,
    features: Tensor,
    *,
    task: Task,
    weight: Tensor | None,
    config: Config,
) -> Tensor:
    """Return the mean squared error over what is labelled; see `LossModule`."""
    del features, task, weight, config
    logits = _likelihood.at_least_32_bits(logits)
    known = target.isfinite()
    each = (logits - target.nan_to_num().to(logits.dtype)).square()
    return torch.where(known, each, 0).sum() / known.sum().clamp(min=1)
