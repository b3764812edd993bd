"""`splits.json`: which patient is tested in which fold, written before any training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medssl.artifacts import records
from medssl.config import task as tasks
from medssl.config.task import Task
from medssl.foundation import files

SCHEMA = "medssl.splits/2"
Groups = tuple[tuple[tuple[str, ...], ...], ...]  # per repeat and fold: patient keys, sorted


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Which patients each fold tests, and which of the others its model does not learn from."""

    task: Task
    seed: int
    group: str  # patient, or none
    by: str  # folds, site, hold_out, time, file
    n_folds: int
    test_fold: tuple[Mapping[str, int], ...]  # per repeat: patient key -> fold it is tested in;
    # who is in no fold is trained on in all of them
    names: tuple[str, ...] = ()  # of the folds, where they have one: the site that is tested
    balanced_test: bool = False  # folds have as many positive patients as others, unlike the cohort
    inner: Groups = ()  # set apart to choose
    unused: Groups = ()  # left out: a fraction of the cohort
    barred: Groups = ()  # left out: seen at the site that is tested, and tested with another

    @property
    def target(self) -> str:
        """What is predicted."""
        return self.task.name

    @property
    def positive(self) -> str | None:
        """The positive class of two."""
        return self.task.positive

    @property
    def digest(self) -> str:
        """Return a digest equal for equal test folds, so that two runs can be compared."""
        rows = [f"{r}/{key}/{fold}" for r, plan in enumerate(self.test_fold)
                for key, fold in sorted(plan.items())]  # fmt: skip
        return files.sha256_text("\n".join(rows))[:16]


def write(path: Path, splits: Splits) -> None:
    """Write the plan."""
    records.write(path, SCHEMA, asdict(splits) | {"digest": splits.digest})


def read(path: Path) -> Splits:
    """Return the plan; one of version 1 is read as what it would be today.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    record = records.read(path, SCHEMA)
    if "task" not in record and "target" in record:
        record["task"] = asdict(tasks.from_record(tasks.of_one_target(record)))
        record["by"] = "folds"
    found = records.fill(Splits, record, path)
    groups = {name: _tuples(getattr(found, name)) for name in ("inner", "unused", "barred")}
    return replace(found, task=tasks.from_record(record["task"]), **groups)


def _tuples(value: Any) -> Any:  # noqa: ANN401 - nested lists of keys
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
