"""Ordered classes: one binary question per threshold, a shared direction (arXiv:1901.07884)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor

from medssl.config.task import Task
from medssl.losses import _likelihood

TASKS = ("ordinal",)
MIXES = True
WEIGHTS = True
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
    """Return the mean over images of the cross-entropies of "above class k"; see `LossModule`.

    Called CORAL: with one weight vector and ordered thresholds, which `heads.Ordinal` has, the
    probabilities fall from threshold to threshold.
    """
    del features, config, task
    logits = _likelihood.at_least_32_bits(logits)
    thresholds = torch.arange(logits.shape[1], device=logits.device)
    above = (target > thresholds).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, above, reduction="none").sum(dim=1)
    return (each if weight is None else each * weight[target[:, 0].long()]).mean()
