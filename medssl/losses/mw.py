"""MW: the Mann-Whitney statistic made smooth, so that training raises AUROC (arXiv:2510.00137).

The mean over all pairs of a positive and a negative image of softplus(-(s+ - s-) / tau), the
area over the ROC curve with its steps made smooth. Divided by ln 2 it is never below that area, as
softplus(-x) / ln 2 is at least 1 for x <= 0. It compares images, so it says nothing of how high
scores are as a whole: they rank, and need calibration before they are read as probabilities. The
paper's tau of 0.01 is for cosines; logits have no bound.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from pydantic import Field
from torch import Tensor

from medssl.config.task import Task
from medssl.losses import _likelihood

TASKS = ("binary", "multi_class", "multi_label")
MIXES = False
WEIGHTS = False
CALIBRATED = False


@dataclass(frozen=True, kw_only=True)
class Config:
    """Difference of two logits at which a pair counts as told apart; 1 suits unbounded logits."""

    tau: Annotated[float, Field(gt=0)] = 1.0


def loss(
    logits: Tensor,
    target: Tensor,
    features: Tensor,
    *,
    task: Task,
    weight: Tensor | None,
    config: Config,
) -> Tensor:
    """Return the mean over classes, each against the rest, or over targets; see `LossModule`.

    A class or target of which the batch lacks either side is left out; 0 where all are.
    """
    del features, weight
    scores = _likelihood.at_least_32_bits(logits)
    if task.kind == "multi_class":
        scores = _log_odds(scores)
        named = torch.arange(scores.shape[1], device=scores.device)
        yes, no = target == named, target != named
    else:
        yes, no = target == 1, target == 0  # neither where there is no label
    apart = scores[:, None] - scores[None]  # (B, B, K): of the first image over the second
    pair = yes[:, None] & no[None]
    n_pairs = pair.sum(dim=(0, 1))
    each = torch.where(pair, F.softplus(-apart / config.tau), 0).sum(dim=(0, 1))
    return (each / n_pairs.clamp(min=1)).sum() / (n_pairs > 0).sum().clamp(min=1)


def _log_odds(logits: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of softmax probabilities: it ranks images as they do, (B, K)."""
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    others = logits[:, None].masked_fill(own, -torch.inf).logsumexp(dim=2)
    return logits - others
