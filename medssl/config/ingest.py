"""Settings of `medssl ingest`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from medssl.config.reading import Colour, FourD, Role
from medssl.config.settings import Settings
from medssl.foundation.errors import UsageError

Millimetres = Annotated[FiniteFloat, Field(gt=0)]
_AXES = ("LR", "PA", "IS")


class IngestSettings(Settings):
    """Everything that decides what an archive holds."""

    sources: tuple[Path, ...] = Field(
        min_length=1, description="folders, files or ZIP archives to read"
    )
    exclude: tuple[str, ...] = ()  # patterns of paths below a source, such as */masks/*
    labels: Path | None = None  # CSV or XLSX; a labels.csv in a source folder is joined unasked
    key: Literal["path", "stem", "patient", "study", "series"] | None = None  # None: best match
    key_column: str | None = None  # None: the best-matching column
    label: tuple[str, ...] = ()  # label columns; empty: the column `label`
    patient: str = "auto"  # auto, tag, parent or col:NAME
    site: str = "auto"
    series: str = "auto"
    patient_scope: Literal["key", "site", "issuer"] = "key"  # where a patient id is unique
    size: Annotated[int, Field(ge=8)] | Literal["keep"] = 256  # longest stored side, px
    spatial_dims: Literal["auto", 2, 3] = "auto"
    spacing: tuple[Millimetres, Millimetres, Millimetres] | None = None  # of columns, rows and
    # slices, which volumes are resampled to
    orientation: str | None = None  # where these are to point, such as RAS
    colour: Colour = "reject"  # keep: all images get three channels
    four_d: FourD = "reject"  # NIfTI of several volumes
    gaps: Literal["keep", "single", "reject"] = "keep"  # single: slices of such series stand alone
    min_slices: int = Field(default=1, ge=1)  # of a CT, MR or PT series; shorter ones are left out
    include: tuple[Role, ...] = ()  # kinds of images that are otherwise left out
    key_file: Path | None = None  # institution's key; None: the user's configuration folder
    max_rejects: float = Field(default=0.05, ge=0, le=1)  # above this share of files: exit 8
    file_seconds: float = Field(default=60, gt=0)  # after which a file is given up
    file_memory_gib: float = Field(default=2, gt=0)  # beyond what its pixels need
    thumbnails: bool = False  # show images in the report
    smoke: bool = False  # 64 files drawn evenly, to try the whole path

    @property
    def resamples(self) -> bool:
        """Whether volumes are stored on another grid than their own."""
        return self.spacing is not None or self.orientation is not None

    @model_validator(mode="after")
    def _one_grid(self) -> Self:
        """Refuse what volumes cannot be resampled to."""
        if self.spacing is not None and self.size != "keep":
            raise UsageError(
                f"images shrunk to {self.size} px would not have the spacing asked for",
                where="spacing",
                fix="give --size keep with --spacing",
            )
        to = self.orientation
        if to is None:
            return self
        if len(to) != len(_AXES) or any(len({*pair} & {*to}) != 1 for pair in _AXES):
            raise UsageError(
                f"{to!r} is no orientation",
                where="orientation",
                fix="give one letter each of L/R, P/A and I/S, for example RAS",
            )
        if to[2] not in "RAS":
            raise UsageError(
                f"slices are stored towards R, A or S, not {to[2]}",
                where="orientation",
                fix="turn the last letter round, for example RAS instead of RAI",
            )
        return self
