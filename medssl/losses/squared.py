"""Squared error of amounts, in units of their spread among the training patients."""

from dataclasses import dataclass

from torch import Tensor

from medssl.config.task import Task

TASKS = ("regression",)
MIXES = True


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
    known = target.isfinite()
    each = (logits - target.nan_to_num().to(logits.dtype)).square()
    return (each * known).sum() / known.sum().clamp(min=1)
