"""Settings of `medssl reduce`."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from medssl.config.settings import Settings
from medssl.foundation.errors import UsageError


class ReduceSettings(Settings):
    """Everything that decides which images are kept."""

    archive: Path = Field(description="an archive written by `medssl ingest`")
    by: str = "dhash"  # strategy; see `medssl list strategies`
    options: dict[str, Any] = {}  # of the strategy
    within: Literal["auto", "series", "patient", "site", "archive"] = "auto"
    threshold: float | None = Field(default=None, ge=0, le=1)  # similarity from which one stands
    # for another; None: the strategy's own
    keep: float | None = Field(default=None, gt=0, le=1)  # at most this share of the images
    budget: int | None = Field(default=None, ge=1)  # at most this many images
    match: Path | None = None  # a reduce run: as many images of each of its scopes, at random
    controls: int = Field(default=3, ge=0)  # random selections of the same size to write beside it
    smoke: bool = False  # the images of 16 patients, to try the whole path

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        sizes = ("threshold", "keep", "budget", "match")
        given = [name for name in sizes if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(
                f"{' and '.join(given)} exclude each other", fix=f"give only {given[0]}"
            )
        if self.match is not None and self.by != "random":
            raise UsageError(
                f"match draws at random, not by {self.by}", where="match", fix="use --by random"
            )
        return self
