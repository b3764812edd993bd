"""Core-tuning: cross-entropy, and images of a class drawn together (arXiv:2102.06605).

Cross-entropy plus eta times a supervised contrastive loss (arXiv:2004.11362) over the features the
head sees. A pair whose images are unlike counts more: by the focal weight 1 - p, where p is the
probability that an image is told to be the other's partner among all of the batch, and the
least similar image of the same class counts as a positive once more.

Two things differ from the paper. It mixes hard pairs into new features, for which the batches of a
small site are too small; here the hardest positive stands for the mixed one. And it contrasts
behind a projector of three layers, which is left out: its millions of weights would start at
random, with some dozen patients to learn from, and what it protects, features that tell more than
the classes, is not asked for here. Where the encoder is frozen, the contrast is a constant.

The authors' code picks the hardest positive by argmin over similarities of which those excluded
were set to 0: of features that are never negative, as behind a ReLU, it picks the image itself or
a negative. Here what is excluded is infinitely far away.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from pydantic import Field
from torch import Tensor

from medssl.config.task import Task
from medssl.losses import _likelihood

TASKS = ("binary", "multi_class")
MIXES = False
WEIGHTS = True
CALIBRATED = True

_LEAST = 1e-6  # of 1 - p: below it the power has no gradient worth the name
_SHORTEST = 1e-3  # features with a direction; below it half precision cannot hold the gradient


@dataclass(frozen=True, kw_only=True)
class Config:
    """Weight and temperature of the contrast are the paper's."""

    eta: Annotated[float, Field(ge=0)] = 0.1
    tau: Annotated[float, Field(gt=0)] = 0.07
    gamma: Annotated[float, Field(ge=0)] = 1.0  # power of 1 - p; 0: all pairs alike
    hardest: Annotated[float, Field(ge=0)] = 1.0  # how often more the hardest positive counts


def loss(
    logits: Tensor,
    target: Tensor,
    features: Tensor,
    *,
    task: Task,
    weight: Tensor | None,
    config: Config,
) -> Tensor:
    """Return the weighted mean cross-entropy plus eta times the contrast; see `LossModule`."""
    likelihood = _likelihood.cross_entropy(logits, target, task=task, weight=weight)
    if not config.eta:
        return likelihood
    same = target == target.T
    return likelihood + config.eta * contrast(features, same, config)


def contrast(features: Tensor, same: Tensor, config: Config) -> Tensor:
    """Return the mean focal contrastive loss of the images that have a partner, a scalar.

    Args:
        features: Shape (B, F), any scale.
        same: Shape (B, B), whether two images are of one class; the diagonal is ignored.
        config: Temperature and weights.

    Returns:
        0 where no class has two images in the batch.
    """
    rows = F.normalize(_likelihood.at_least_32_bits(features), dim=1, eps=_SHORTEST)
    oneself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    kind = rows.device.type
    known = torch.amp.is_autocast_available(kind)  # the meta device has none
    with torch.autocast(kind if known else "cpu", enabled=False):
        alike = rows @ rows.T / config.tau  # not to be taken to half precision again
    others = alike.masked_fill(oneself, torch.finfo(alike.dtype).min)
    log_p = others - others.logsumexp(dim=1, keepdim=True)
    partner = same & ~oneself
    focus = (-log_p.expm1()).clamp(min=_LEAST).pow(config.gamma) if config.gamma else 1.0
    count = partner + config.hardest * hardest(alike, partner)
    each = torch.where(partner, -count * focus * log_p, 0).sum(dim=1)
    each = each / count.sum(dim=1).clamp(min=1)
    found = partner.any(dim=1)
    return each.sum() / found.sum().clamp(min=1)


def hardest(alike: Tensor, partner: Tensor) -> Tensor:
    """Return which image of its class each one resembles least, one per row, (B, B) bool.

    Args:
        alike: Shape (B, B), similarities of any sign.
        partner: Shape (B, B), the images of the class but for itself; a row of none has none.
    """
    farthest = alike.masked_fill(~partner, torch.inf).argmin(dim=1, keepdim=True)
    return (torch.arange(len(alike), device=alike.device) == farthest) & partner
