"""Settings of `medssl evaluate`."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from medssl.config.settings import Settings
from medssl.foundation.errors import UsageError


class EvaluateSettings(Settings):
    """Everything that decides a report: which predictions, and how intervals are drawn."""

    run: Path | None = None  # a finetune run
    predictions: Path | None = None  # or a table of any tool: CSV or Parquet
    aggregate: Literal["mean", "max"] = "mean"  # image scores -> patient score
    resamples: int = Field(default=2000, ge=100)  # bootstrap resamples, of patients
    level: float = Field(default=0.95, gt=0.5, lt=1)  # of the intervals
    seed: int = 0
    smoke: bool = False  # 200 resamples, to try the whole path

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.run is None) == (self.predictions is None):
            raise UsageError(
                "evaluate needs one input: a finetune run, or --predictions FILE",
                fix="for example `medssl evaluate runs/finetune/site`",
            )
        return self
