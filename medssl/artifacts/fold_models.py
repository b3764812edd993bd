"""`folds/k/fold.json`: what belongs to the model of one fold besides its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medssl.artifacts import records
from medssl.foundation import files

SCHEMA = "medssl.fold/1"


@dataclass(frozen=True, kw_only=True)
class FoldModel:
    """How the scores of a model become those of the cohort."""

    repeat: int
    fold: int
    epochs: int  # after which the weights were taken
    prior: tuple[tuple[float, ...], ...]  # per target: shares of the classes it was trained on
    drawn: tuple[tuple[float, ...], ...]  # and as it learned them; equal where nothing is corrected
    calibrator: Mapping[str, Any] | None = None  # `evaluation.calibrators.Calibrator`; None: none
    learned: tuple[str, ...] | None = None  # patient keys, as the archive has them, of whom it
    # learned from or was chosen and calibrated on; None: not recorded


def write(folder: Path, model: FoldModel) -> None:
    """Write `fold.json`."""
    records.write(folder / "fold.json", SCHEMA, asdict(model))


def read(folder: Path) -> FoldModel:
    """Return `fold.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read_as(FoldModel, folder / "fold.json", SCHEMA)


def read_all(run: Path) -> tuple[FoldModel, ...]:
    """Return the record of every fold of a run, by repeat and fold; empty where it keeps none.

    Raises:
        ArtifactError: A record is damaged.
    """
    found = [read(path.parent) for path in sorted(run.glob("folds/*/fold.json"))]
    return tuple(sorted(found, key=lambda one: (one.repeat, one.fold)))


def weights(run: Path) -> tuple[Path, ...]:
    """Return the weights of every fold of a run, in the order of the folds."""
    found = run.glob("folds/*/model.safetensors")
    return tuple(sorted(found, key=lambda path: int(path.parent.name)))


def weights_sha256(paths: Sequence[Path]) -> str:
    """Return one digest of the weights of several models, as `medssl predict` records it."""
    return files.sha256_text("".join(files.sha256(path) for path in paths))
