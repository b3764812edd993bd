"""Surgical fine-tuning: layers learn as fast as their gradients are large (arXiv:2210.11466).

Auto-RGN of the paper. The relative gradient norm of a layer group, that of its gradient over that
of its weights, is large where the pretrained weights do not suit the task. It is measured at the
start of every epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class Config:
    """Peak learning rate of the group with the largest relative gradient; others get a share."""

    lr: Annotated[float, Field(gt=0)] = 1e-3


def trainable_groups(epoch: int, epochs: int, groups: Sequence[str], config: Config) -> list[str]:
    """Return every group."""
    del epoch, epochs, config
    return list(groups)


def max_lr(group: str, groups: Sequence[str], config: Config) -> float:
    """Return the peak learning rate, the same for all before the factors."""
    del group, groups
    return config.lr


def factors(relative: Mapping[str, float], config: Config) -> dict[str, float]:
    """Return relative gradient norms over the largest one; 1 for all where there is no gradient."""
    del config
    largest = max(relative.values())
    return {name: value / largest if largest else 1.0 for name, value in relative.items()}
