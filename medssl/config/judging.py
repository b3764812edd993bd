"""Settings shared by everything that judges predictions."""

from typing import Literal

from pydantic import Field

from medssl.config.settings import Settings

SMOKE_RESAMPLES = 200


class Judging(Settings):
    """How scores become observations, and how intervals are drawn."""

    aggregate: Literal["mean", "max"] = "mean"  # image scores -> patient score
    resamples: int = Field(default=2000, ge=100)  # bootstrap resamples, of patients
    intervals: Literal["auto", "bca", "percentile"] = "auto"  # auto: bca where there are 1,000
    # resamples and at most 3,000 patients
    level: float = Field(default=0.95, gt=0.5, lt=1)  # of the intervals
    seed: int = 0
    smoke: bool = False  # 200 resamples, to try the whole path

    @property
    def draws(self) -> int:
        """How many resamples are drawn."""
        return min(self.resamples, SMOKE_RESAMPLES) if self.smoke else self.resamples
