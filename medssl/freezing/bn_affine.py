"""Norms only: the head, and scale and shift of every norm (arXiv:2003.00152).

Filters and running statistics stay as they are. Batch, group and layer norms count alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class Config:
    """Peak learning rates."""

    head_lr: Annotated[float, Field(gt=0)] = 1e-3
    norm_lr: Annotated[float, Field(gt=0)] = 1e-3


def trainable_groups(epoch: int, epochs: int, groups: Sequence[str], config: Config) -> list[str]:
    """Return the head, and the norms of every other group."""
    del epoch, epochs, config
    return [group if group == "head" else f"{group}.norms" for group in groups]


def max_lr(group: str, groups: Sequence[str], config: Config) -> float:
    """Return the peak learning rate of a group, or of its norms."""
    del groups
    return config.head_lr if group == "head" else config.norm_lr
