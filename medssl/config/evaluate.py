"""Settings of `medssl evaluate`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from medssl.config import controls as known_controls
from medssl.config import subgroups as known_attributes
from medssl.config.judging import Judging
from medssl.foundation.errors import UsageError

Prevalence = Annotated[float, Field(gt=0, lt=1)]


class EvaluateSettings(Judging):
    """Everything that decides a report: which predictions, and how they are judged."""

    run: Path | None = None  # a finetune run
    predictions: Path | None = None  # or a table of any tool: CSV or Parquet
    threshold: FiniteFloat | Literal["auto", "none"] = "auto"  # from this score on: positive;
    # auto is 0.5 for probabilities and none for other scores
    target_sensitivity: Prevalence | None = None  # of a new positive: thresholds are chosen for it
    target_specificity: Prevalence | None = None  # on the inner part of each fold, or for this
    fail_under: tuple[str, ...] = ()  # metric=bound, or metric=bound:lower; else exit 9

    prevalence: tuple[Prevalence, ...] = ()  # where predictive values are wanted as well

    decision: tuple[Prevalence, Prevalence] | None = None  # net benefit between these thresholds

    controls: tuple[str, ...] = (
        known_controls.QUICK
    )  # none, auto (those that need no images and no other
    # model), all, or names: what would make the numbers too good

    subgroups: tuple[str, ...] = (
        known_attributes.AUTO
    )  # none, auto, or attributes of the archive and
    # label:NAME: each group of patients by itself
    failures: int = Field(default=10, ge=0)  # false positives, and false negatives, listed

    @field_validator("controls")
    @classmethod
    def _known_controls(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return known_controls.chosen(given) or ("none",)

    @field_validator("subgroups")
    @classmethod
    def _known_attributes(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return known_attributes.chosen(given) or ("none",)

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
        if self.target_sensitivity is not None and self.target_specificity is not None:
            raise UsageError(
                "one threshold reaches one target, and two are declared",
                where="target_specificity",
                fix="declare a sensitivity or a specificity",
            )
        if self.decision is not None and self.decision[0] >= self.decision[1]:
            raise UsageError(
                "the range of thresholds ends before it begins",
                where="decision",
                fix="give the lower threshold first, for example 0.05,0.3",
            )
        return self
