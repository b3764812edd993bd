"""Discriminative rates: every layer trains, each group slower than the last (arXiv:1801.06146).

The rule of ULMFiT: the nearer a group is to the input, the less it has to change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class Config:
    """Peak learning rate of the head, and what it is divided by from one group to the next."""

    head_lr: Annotated[float, Field(gt=0)] = 1e-3
    decay: Annotated[float, Field(ge=1)] = 2.6  # the paper's


def trainable_groups(epoch: int, epochs: int, groups: Sequence[str], config: Config) -> list[str]:
    """Return every group."""
    del epoch, epochs, config
    return list(groups)


def max_lr(group: str, groups: Sequence[str], config: Config) -> float:
    """Return the peak learning rate of a group: ``head_lr / decay ** groups above it``."""
    return config.head_lr / config.decay ** list(groups).index(group)
