"""`arms.json`: the runs beside a finetune run, on the same test folds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medssl.artifacts import records

SCHEMA = "medssl.arms/1"


@dataclass(frozen=True, kw_only=True)
class ArmInfo:
    """One of them; the first is the run itself."""

    name: str
    folder: str  # relative to the run; a finetune run in its own right
    init: str  # random, or the name of the weights
    fraction: float  # of the training patients
    n_train_patients: int  # of the first fold
    measure: str
    of_folds: tuple[float, ...]  # to look at


def write(run: Path, arms: Sequence[ArmInfo]) -> None:
    """Write `arms.json`."""
    records.write(run / "arms.json", SCHEMA, {"arms": [asdict(arm) for arm in arms]})


def read(run: Path) -> tuple[ArmInfo, ...]:
    """Return the arms of a run, empty where it has none.

    Raises:
        ArtifactError: The file is of another schema.
    """
    path = run / "arms.json"
    if not path.is_file():
        return ()
    found: list[dict[str, Any]] = records.read(path, SCHEMA)["arms"]
    return tuple(records.fill(ArmInfo, arm, path) for arm in found)
