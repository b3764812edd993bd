"""Settings of `medssl evaluate`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from medssl.config.judging import Judging
from medssl.foundation.errors import UsageError

Prevalence = Annotated[float, Field(gt=0, lt=1)]


class EvaluateSettings(Judging):
    """Everything that decides a report: which predictions, and how they are judged."""

    run: Path | None = None  # a finetune run
    predictions: Path | None = None  # or a table of any tool: CSV or Parquet
    threshold: FiniteFloat | Literal["auto", "none"] = "auto"  # from this score on: positive;
    # auto is 0.5 for probabilities and none for other scores
    prevalence: tuple[Prevalence, ...] = ()  # where predictive values are wanted as well

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.run is None) == (self.predictions is None):
            raise UsageError(
                "evaluate needs one input: a finetune run, or --predictions FILE",
                fix="for example `medssl evaluate runs/finetune/site`",
            )
        if self.prevalence and self.threshold == "none":
            raise UsageError(
                "predictive values need a threshold", where="prevalence", fix="give --threshold"
            )
        return self
