"""`finetune.json`: how the models of a finetune run were made and how to feed them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medssl.artifacts import records
from medssl.config import task as tasks
from medssl.config.task import Task

SCHEMA = "medssl.finetune/2"


@dataclass(frozen=True, kw_only=True)
class FinetuneInfo:
    """What all folds of a run share; each fold's weights are `folds/k/model.safetensors`."""

    archive_hash: str
    task: Task
    encoder: str
    encoder_options: Mapping[str, Any]
    in_channels: int
    spatial_dims: int
    shape: tuple[int, ...]  # of the encoder's input, px: (rows, columns) or (slices, ...)
    pooling: str  # of the slices of a series, or none
    slices: int  # of a series, where they are pooled
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
    key_id: str = ""  # key the pseudonyms of the cohort were made with; empty: not recorded
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of each of several
    # targets; empty: of one target `task` has them, or they are not recorded
    positives: Mapping[str, str] = field(default_factory=dict)  # likewise, the positive one
    stored_size: int | None = None  # longest side of the archive's images, px; None: native

    @property
    def judges_series(self) -> bool:
        """Whether a row that the models judge is a whole series, else it is an image."""
        return self.spatial_dims == 3 or self.pooling != "none"


def write(folder: Path, info: FinetuneInfo) -> None:
    """Write `finetune.json`."""
    records.write(folder / "finetune.json", SCHEMA, asdict(info))


def is_first(folder: Path) -> bool:
    """Return whether `finetune.json` is of version 1, whose folds have no `fold.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return "task" not in records.read(folder / "finetune.json", SCHEMA)


def read(folder: Path) -> FinetuneInfo:
    """Return `finetune.json`; one of version 1 is read as what it would be today.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    path = folder / "finetune.json"
    record = records.read(path, SCHEMA)
    if "task" not in record:  # version 1
        side = record["image_size"]
        record |= {"task": tasks.of_one_target(record), "shape": (side, side)}
        record |= {"pooling": "none", "slices": 0}
    return records.fill(FinetuneInfo, record | {"task": tasks.from_record(record["task"])}, path)
