"""Focal loss: what is already right counts less (Lin et al., ICCV 2017, arXiv:1708.02002).

The cross-entropy of each label times (1 - p)^gamma, where p is the probability of that label. It
was made for detectors that see a thousand easy negatives to a positive. It is lowest at
probabilities nearer to one half than the true ones, so they need calibration.
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
MIXES = True
WEIGHTS = True
CALIBRATED = False


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much less; 0 is cross-entropy, 2 the paper's value.

    The paper's alpha, a weight of the positive class, is the setting ``loss_weights``.
    """

    gamma: Annotated[float, Field(ge=0)] = 2.0


def loss(
    logits: Tensor,
    target: Tensor,
    features: Tensor,
    *,
    task: Task,
    weight: Tensor | None,
    config: Config,
) -> Tensor:
    """Return the mean focal loss over what is labelled; see `LossModule`."""
    del features
    logits = _likelihood.at_least_32_bits(logits)
    if task.kind == "multi_class":
        named = target[:, 0].long()
        right = logits.log_softmax(dim=1).gather(1, named[:, None])[:, 0]
        own = torch.arange(logits.shape[1], device=logits.device) == named[:, None]
        wrong = logits.masked_fill(own, -torch.inf).logsumexp(dim=1) - logits.logsumexp(dim=1)
        each = -(config.gamma * wrong).exp() * right
        return (each if weight is None else each * weight[named]).mean()
    signed = torch.where(target == 1, logits, -logits)
    # (1 - p)^gamma as exp(gamma log(1 - p)): its gradient is finite at p = 1 for every gamma
    each = -(config.gamma * F.logsigmoid(-signed)).exp() * F.logsigmoid(signed)
    return _likelihood.mean_of_labelled(each, target, weight)
