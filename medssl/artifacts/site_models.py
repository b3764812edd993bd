"""`finetune.json`: how the models of a finetune run were made and how to feed them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medssl.artifacts import records

SCHEMA = "medssl.finetune/1"


@dataclass(frozen=True, kw_only=True)
class FinetuneInfo:
    """What all folds of a run share; each fold's weights are `folds/k/model.safetensors`."""

    archive_hash: str
    target: str
    classes: tuple[str, ...]
    positive: str | None  # None for more than two classes
    encoder: str
    encoder_options: Mapping[str, Any]
    in_channels: int
    spatial_dims: int
    image_size: int  # px
    intensity: Mapping[str, Any]
    dropout: float
    schedule: str
    init: Mapping[str, Any]  # where the encoder weights came from; empty: random
    n_images: int
    n_patients: int
    group: str
    synthetic: bool  # the archive holds phantoms only
    merged: Mapping[str, int] = field(default_factory=dict)  # ids that a list of aliases says are
    # one patient with another, and the patients they came to; empty: no list was given
    notes: tuple[str, ...] = ()


def write(folder: Path, info: FinetuneInfo) -> None:
    """Write `finetune.json`."""
    records.write(folder / "finetune.json", SCHEMA, asdict(info))


def read(folder: Path) -> FinetuneInfo:
    """Return `finetune.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read_as(FinetuneInfo, folder / "finetune.json", SCHEMA)
