"""A fixed cut: from the stem up to one layer group all is frozen, everything above it trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from medssl.foundation.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    """The last frozen layer group, and peak learning rates of what is above it."""

    group: str = "layer2"
    head_lr: Annotated[float, Field(gt=0)] = 1e-3
    encoder_lr: Annotated[float, Field(gt=0)] = 2.5e-4


def trainable_groups(epoch: int, epochs: int, groups: Sequence[str], config: Config) -> list[str]:
    """Return the groups above the cut.

    Raises:
        UsageError: The encoder has no such group.
    """
    del epoch, epochs
    encoder = list(groups[1:])
    if config.group not in encoder:
        raise UsageError(
            f"no layer group called {config.group!r} in this encoder",
            where="schedule_options.group",
            fix=f"choose from {', '.join(reversed(encoder))}",
        )
    return list(groups[: list(groups).index(config.group)])


def max_lr(group: str, groups: Sequence[str], config: Config) -> float:
    """Return the peak learning rate of a group, 0 for one below the cut."""
    if group not in trainable_groups(0, 1, groups, config):
        return 0.0
    return config.head_lr if group == "head" else config.encoder_lr
