"""Cross-entropy: the likelihood of one class, of one of several, or of several at once."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from medssl.config.task import Task
from medssl.losses import _likelihood

TASKS = ("binary", "multi_class", "multi_label")
MIXES = True
WEIGHTS = True
CALIBRATED = True


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
    return _likelihood.cross_entropy(
        logits, target, task=task, weight=weight, smoothing=config.smoothing
    )
