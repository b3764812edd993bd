"""LP-FT: a linear probe, then everything at a lower rate (arXiv:2202.10054).

Fine-tuned from a random head, an encoder first bends to it: the features that new patients need
are distorted while the head is still wrong. Behind a head that already fits, they move little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

PROBE_SHARE = 0.5
PROBE_LR = 1e-2  # as in `linear_probe`: the head is to be near its optimum when the encoder moves


@dataclass(frozen=True, kw_only=True)
class Config:
    """Peak learning rate of every layer, the head included: it has learned in the probe."""

    lr: Annotated[float, Field(gt=0)] = 1e-4


def trainable_groups(epoch: int, epochs: int, groups: Sequence[str], config: Config) -> list[str]:
    """Return every group; the probe comes before the schedule."""
    del epoch, epochs, config
    return list(groups)


def max_lr(group: str, groups: Sequence[str], config: Config) -> float:
    """Return the peak learning rate, the same for all."""
    del group, groups
    return config.lr
