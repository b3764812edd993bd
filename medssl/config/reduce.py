"""Settings of `medssl reduce`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from medssl.config.settings import Settings
from medssl.config.training import Span
from medssl.foundation.errors import UsageError

Selector = Literal["leader", "k_center", "balanced_kmeans"]
Similarity = Annotated[FiniteFloat, Field(ge=0, le=1)]


def _parts(value: Any) -> Any:  # noqa: ANN401 - whatever a file or a flag holds
    """Read `a,b` and a single value like a list."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return (value,) if isinstance(value, int | float) else value


class Shown(Settings):
    """What a similarity is shown of an image."""

    window_hu: Span = (-1000.0, 1000.0)  # of CT; other images by their own range
    mask: bool = True  # black outside the body, of CT and MR


class ReduceSettings(Settings):
    """Everything that decides which images are kept."""

    archive: Path = Field(description="an archive written by `medssl ingest`")
    by: Annotated[tuple[str, ...], BeforeValidator(_parts)] = Field(("dhash",), min_length=1)
    # strategies, under any of which one image may stand for another; see `medssl list strategies`
    options: Mapping[str, Mapping[str, Any]] = {}  # of each strategy, by its name
    encoder: Path | None = None  # pretrain run or export `embedding` sees with; None: pixels
    shown: Shown = Shown()
    within: Literal["auto", "series", "patient", "site", "archive"] = "auto"
    threshold: Annotated[tuple[Similarity, ...], BeforeValidator(_parts)] = ()  # similarities
    # from which one image stands for another: of each strategy, or of the last; empty: their own
    keep: float | None = Field(default=None, gt=0, le=1)  # at most this share of the images
    budget: int | None = Field(default=None, ge=1)  # at most this many images
    select: Selector = "leader"  # the other two spend a budget on what is most diverse
    approximate: bool = False  # search scopes of very many images approximately, with faiss
    min_per_patient: int = Field(default=0, ge=0)  # or all there are
    min_per_series: int = Field(default=0, ge=0)
    max_per_patient: int | None = Field(default=None, ge=1)
    protect: str = "auto"  # images kept in any case: auto, none, labelled, or a condition on the
    # columns of images.parquet and the targets
    against: tuple[Path, ...] = ()  # archives to be
    # evaluated on: what shows the same patient or image is left out of the pool
    same_by: str = "embedding"  # strategy that says whether images of two patients are one image,
    # for `against` and `aliases`; embedding compares thumbnails
    same: Similarity | None = None  # similarity from which they are; None: the strategy's own
    strict: bool = False  # refuse where something shows a patient or an image of `against`
    aliases: bool | Literal["auto"] = (
        "auto"  # look for patients under two ids; auto: in small pools
    )
    match: Path | None = None  # a reduce run: as many images of each of its scopes, at random
    controls: int = Field(default=3, ge=0)  # random selections of the same size to write beside it
    thumbnails: bool = False  # show images in the report
    seed: int = 0  # of balanced_kmeans, and of what an approximate search draws
    smoke: bool = False  # the images of 16 patients, to try the whole path

    @property
    def limits_size(self) -> bool:
        """Whether the size of the selection is given rather than a threshold."""
        return self.keep is not None or self.budget is not None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        sizes = ("keep", "budget", "match")
        given = [name for name in sizes if getattr(self, name) is not None]
        if self.threshold and given and not self._is_of_earlier_strategies:
            given = ["threshold", *given]
        if len(given) > 1:
            raise UsageError(
                f"{' and '.join(given)} exclude each other", fix=f"give only {given[0]}"
            )
        if self.match is not None and self.by != ("random",):
            raise UsageError(
                f"match draws at random, not by {','.join(self.by)}",
                where="match",
                fix="use --by random",
            )
        return self

    @model_validator(mode="after")
    def _chain(self) -> Self:
        if len(set(self.by)) < len(self.by):
            raise UsageError("a strategy is named twice", where="by", fix="name each once")
        n, wanted = len(self.threshold), len(self.by) - self.limits_size
        if n not in (0, 1, wanted):
            raise UsageError(
                f"{n} thresholds for {wanted} strategies",
                where="threshold",
                fix="give one for each, or one for the last",
            )
        unknown = set(self.options) - set(self.by)
        if unknown:
            raise UsageError(
                f"options of {', '.join(sorted(unknown))}, which is not used",
                where="options",
                fix=f"use {' or '.join(f'options.{name}' for name in self.by)}",
            )
        return self

    @model_validator(mode="after")
    def _selector(self) -> Self:
        if self.select == "leader":
            return self
        if not self.limits_size:
            raise UsageError(
                f"{self.select} spends a budget", where="select", fix="give --keep or --budget"
            )
        if len(self.by) > 1:
            raise UsageError(
                f"{self.select} takes one strategy, not {len(self.by)}",
                where="by",
                fix="reduce by one of them",
            )
        return self

    @model_validator(mode="after")
    def _limits(self) -> Self:
        most = self.max_per_patient
        if most is not None and self.select != "leader":
            raise UsageError(
                f"{self.select} knows no most per patient", where="max_per_patient",
                fix="use --select leader",
            )  # fmt: skip
        least = max(self.min_per_patient, self.min_per_series)
        if most is not None and most < least:
            raise UsageError(
                f"at most {most} images of a patient, and at least {least}",
                where="max_per_patient",
                fix=f"allow {least}",
            )
        if self.strict and not self.against:
            raise UsageError("nothing to be strict about", where="strict", fix="give --against")
        return self

    @model_validator(mode="after")
    def _approximation(self) -> Self:
        sizes = ("keep", "budget", "match", "max_per_patient")
        other = [name for name in sizes if getattr(self, name) is not None]
        other += ["select"] * (self.select != "leader") + ["by"] * (len(self.by) > 1)
        if self.approximate and other:
            raise UsageError(
                f"an approximate search takes one strategy and its threshold: {', '.join(other)} "
                "asks for more",
                where="approximate",
                fix="leave out --approximate, or reduce by one threshold",
            )
        return self

    @property
    def _is_of_earlier_strategies(self) -> bool:
        """Whether the thresholds leave out that of the last strategy, which a size decides."""
        return self.limits_size and len(self.by) > 1 and len(self.threshold) == len(self.by) - 1
