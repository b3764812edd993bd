"""Progressive release: the head first, then one layer group after the other (arXiv:2507.12269).

Called progressive layer freezing in the paper. Each group has a peak learning rate of its own,
lower the nearer it is to the input; all rates move from the first step on, so a group released
late enters part-way. The layers nearest the input never train.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from medssl.foundation.errors import UsageError

_Rate = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Encoder groups from the last layer down; those beyond the lists never train.

    With a ResNet the defaults are layer4, layer3 and layer2 at the paper's rates and times.
    """

    head_lr: _Rate = 1e-3
    lr: tuple[_Rate, ...] = (5e-4, 2.5e-4, 1e-4)  # peaks
    release: tuple[_Share, ...] = (0.1, 0.3, 0.6)  # share of the epochs after which each trains

    @model_validator(mode="after")
    def _one_rate_per_release(self) -> "Config":
        if len(self.lr) != len(self.release):
            raise UsageError(
                f"{len(self.lr)} learning rates for {len(self.release)} releases",
                where="schedule_options",
                fix="give lr and release one value per encoder group, the last layer first",
            )
        return self


def trainable_groups(epoch: int, epochs: int, groups: Sequence[str], config: Config) -> list[str]:
    """Return the head and the groups released by ``epoch``."""
    _, *encoder = groups
    if len(config.release) > len(encoder):
        raise UsageError(
            f"{len(config.release)} releases for an encoder of {len(encoder)} layer groups",
            where="schedule_options",
            fix=f"give lr and release at most {len(encoder)} values",
        )
    released = zip(encoder, config.release, strict=False)
    return [groups[0], *(name for name, share in released if epoch >= _epoch(share, epochs))]


def max_lr(group: str, groups: Sequence[str], config: Config) -> float:
    """Return the peak learning rate of a group, 0 for one that is never released."""
    rates = dict(zip(groups, (config.head_lr, *config.lr), strict=False))
    return rates.get(group, 0.0)


def _epoch(share: float, epochs: int) -> int:
    """Return the first epoch after ``share`` of the run, counted from 0."""
    return int(round(share * epochs, 9))  # 0.29 * 100 is a little below 29
