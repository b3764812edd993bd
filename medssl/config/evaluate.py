"""Settings of `medssl evaluate`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, ValidationInfo, field_validator, model_validator

from medssl.config import controls as known_controls
from medssl.config import subgroups as known_attributes
from medssl.config.judging import Judging
from medssl.config.task import Kind
from medssl.foundation.errors import UsageError

Prevalence = Annotated[float, Field(gt=0, lt=1)]


class EvaluateSettings(Judging):
    """Everything that decides a report: which predictions, and how they are judged."""

    run: Path | None = None  # a finetune run
    predictions: Path | None = None  # or a table of any tool: CSV or Parquet
    task: Kind | None = None  # of that table; None: its columns say it, and labels are no amounts
    key_file: Path | None = None  # institution's key, which makes its ids pseudonyms; None: the one
    # in the user's configuration folder
    archive: Path | None = None  # external test (--on): the models of the run judge this one with
    # labels
    target: tuple[str, ...] = ()  # its label columns, in the order of the run's targets; empty:
    # they have the same names
    classes: tuple[str, ...] = ()  # THEIRS=OURS, where its classes have other names; THEIRS= alone
    # leaves their images out
    unusual: float = Field(default=0.01, gt=0, lt=1)  # share of images like those of the run's
    # cohort that may be marked as unlike them
    threshold: FiniteFloat | Literal["auto", "none"] = "auto"  # from this score on: positive;
    # auto is 0.5 for probabilities and none for other scores
    target_sensitivity: Prevalence | None = None  # of a new positive: thresholds are chosen for it
    target_specificity: Prevalence | None = None  # on the inner part of each fold, or for this
    fail_under: tuple[str, ...] = ()  # metric=bound, or metric=bound:lower; else exit 9
    strict: bool = False  # exit 9 as well where a control failed

    prevalence: tuple[Prevalence, ...] = ()  # where predictive values are wanted as well

    decision: tuple[Prevalence, Prevalence] | None = None  # net benefit between these thresholds

    controls: tuple[str, ...] = (
        known_controls.QUICK
    )  # none, auto (those that need no images and no other
    # model), all, or names: what would make the numbers too good

    subgroups: tuple[str, ...] = Field(
        default=("auto",), validate_default=True
    )  # none, auto, or attributes of the archive and label:NAME, of a table its columns, and two
    # together as a*b: each group of patients by itself
    failures: int = Field(default=10, ge=0)  # false positives, and false negatives, listed
    thumbnails: int = Field(default=0, ge=0, le=50)  # images of each kind of call shown, with maps
    # of what speaks for it; 0: the report holds no pixels
    pdf: bool = False  # the page as `report.pdf` as well; needs the extra pdf

    @field_validator("controls")
    @classmethod
    def _known_controls(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return known_controls.chosen(given) or ("none",)

    @field_validator("subgroups")
    @classmethod
    def _known_attributes(cls, given: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        of_table = info.data.get("predictions") is not None
        return known_attributes.chosen(given, of_table=of_table) or ("none",)

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.run is None) == (self.predictions is None):
            raise UsageError(
                "evaluate needs one input: a finetune run, or --predictions FILE",
                fix="for example `medssl evaluate runs/finetune/site`",
            )
        self._check_external()
        if self.thumbnails and self.predictions is not None:
            raise UsageError(
                "a table has no models and no images, so there is nothing to explain",
                where="thumbnails",
                fix="leave it out, or give a finetune run",
            )
        if self.run is not None and (self.task is not None or self.key_file is not None):
            raise UsageError(
                "a run knows its task and its pseudonyms",
                where="key_file" if self.task is None else "task",
                fix="leave it out; it belongs to --predictions FILE",
            )
        if self.strict and self.controls == ("none",):
            raise UsageError(
                "there is no control that could fail",
                where="strict",
                fix="leave out --controls none, or --strict",
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

    def _check_external(self) -> None:
        """Refuse what makes sense of another archive only, and an external test without models."""
        if self.archive is not None and self.run is None:
            raise UsageError(
                "a table has no models that could judge an archive",
                where="--on",
                fix="give a finetune run, for example `medssl evaluate RUN --on ARCHIVE`",
            )
        for name in ("target", "classes"):
            if self.archive is None and getattr(self, name):
                raise UsageError(
                    "names the labels of another archive, and none is given",
                    where=name,
                    fix="add --on ARCHIVE, or leave it out",
                )
        self.words()

    def words(self) -> dict[str, str | None]:
        """Return `classes` as a mapping: class of the archive to class of the run, None: left out.

        Raises:
            UsageError: One is not written THEIRS=OURS, or is named twice.
        """
        found: dict[str, str | None] = {}
        for text in self.classes:
            theirs, sign, ours = text.rpartition("=")
            if not sign or not theirs or theirs in found:
                raise UsageError(
                    f"{text!r} is not written THEIRS=OURS, or its class is named twice",
                    where="classes",
                    fix="for example --classes sick=1,well=0",
                )
            found[theirs] = ours or None
        return found
