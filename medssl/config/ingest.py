"""Settings of `medssl ingest`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medssl.config.reading import Colour, FourD, Role
from medssl.config.settings import Settings


class IngestSettings(Settings):
    """Everything that decides what an archive holds."""

    sources: tuple[Path, ...] = Field(min_length=1)
    labels: Path | None = None  # CSV; a labels.csv in a source folder is joined without being asked
    key: Literal["path", "stem", "patient", "study", "series"] | None = None  # None: best match
    key_column: str | None = None  # None: the best-matching column
    label: tuple[str, ...] = ()  # label columns; empty: the column `label`
    patient: str = "auto"  # auto, tag, parent or col:NAME
    site: str = "auto"
    series: str = "auto"
    patient_scope: Literal["key", "site", "issuer"] = "key"  # where a patient id is unique
    size: Annotated[int, Field(ge=8)] | Literal["keep"] = 256  # longest stored side, px
    spatial_dims: Literal["auto", 2, 3] = "auto"
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
