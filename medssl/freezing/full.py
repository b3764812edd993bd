"""Full fine-tuning: every layer trains from the start, the head faster (arXiv:2507.12269)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class Config:
    """Peak learning rates, those of the paper's full fine-tuning arm."""

    head_lr: Annotated[float, Field(gt=0)] = 1e-3
    encoder_lr: Annotated[float, Field(gt=0)] = 2.5e-4


def trainable_groups(epoch: int, epochs: int, groups: Sequence[str], config: Config) -> list[str]:
    """Return every group."""
    del epoch, epochs, config
    return list(groups)


def max_lr(group: str, groups: Sequence[str], config: Config) -> float:
    """Return the peak learning rate of a group."""
    del groups
    return config.head_lr if group == "head" else config.encoder_lr
