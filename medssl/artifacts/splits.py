"""`splits.json`: which patient is tested in which fold, written before any training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from medssl.artifacts import records
from medssl.foundation import files

SCHEMA = "medssl.splits/1"


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A patient-grouped cross-validation plan."""

    target: str
    classes: tuple[str, ...]
    positive: str | None  # None for more than two classes
    seed: int
    group: str  # patient, or none
    n_folds: int
    test_fold: tuple[Mapping[str, int], ...]  # per repeat: patient key -> fold it is tested in

    @property
    def digest(self) -> str:
        """Return a digest equal for equal folds, so that two runs can be compared."""
        rows = [f"{r}/{key}/{fold}" for r, plan in enumerate(self.test_fold)
                for key, fold in sorted(plan.items())]  # fmt: skip
        return files.sha256_text("\n".join(rows))[:16]


def write(path: Path, splits: Splits) -> None:
    """Write the plan."""
    records.write(path, SCHEMA, asdict(splits) | {"digest": splits.digest})


def read(path: Path) -> Splits:
    """Return the plan.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read_as(Splits, path, SCHEMA)
