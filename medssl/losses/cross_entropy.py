"""Cross-entropy: the likelihood of one class, of one of several, or of several at once."""

from dataclasses import dataclass
from typing import Annotated

import torch.nn.functional as F  # noqa: N812 - the customary name
from pydantic import Field
from torch import Tensor

from medssl.config.task import Task

TASKS = ("binary", "multi_class", "multi_label")
MIXES = True


@dataclass(frozen=True, kw_only=True)
class Config:
    """Label smoothing (Szegedy et al., arXiv:1512.00567): this share goes to all classes alike."""

    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


def loss(
    logits: Tensor,
    target: Tensor,
    features: Tensor,
    *,
    task: Task,
    weight: Tensor | None,
    config: Config,
) -> Tensor:
    """Return the mean cross-entropy over what is labelled; see `LossModule`."""
    del features
    if task.kind == "multi_class":
        each = F.cross_entropy(
            logits, target[:, 0].long(), reduction="none", label_smoothing=config.smoothing
        )
        return (each if weight is None else each * weight[target[:, 0].long()]).mean()
    known = target.isfinite()
    wanted = target.nan_to_num().to(logits.dtype)
    soft = wanted * (1 - config.smoothing) + config.smoothing / 2
    each = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
    if weight is not None:
        off, on = weight.reshape(-1, 2).unbind(dim=1)
        each = each * (off + (on - off) * wanted)
    return (each * known).sum() / known.sum().clamp(min=1)
