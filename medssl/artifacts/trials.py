"""`trials.parquet`: which configurations were tried for each fold of a tuned run, and their value.

One row per trial. The table of a fold alone, `tuning/k/trials.parquet`, grows by a row whenever a
trial is finished, and a tuning that was stopped goes on from it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from medssl.artifacts import tables

SCHEMA = "medssl.trials/1"
FINISHED = "finished"  # it has a value
REPEATED = "repeated"  # as an earlier one of the fold, from which the values are
DIVERGED = "diverged"  # no value: the training of a model did not work
REFUSED = "refused"  # no value: its settings contradict each other
TRIALS = pa.schema(
    [
        ("repeat", pa.int32()),
        ("fold", pa.int32()),
        ("trial", pa.int32()),  # of the fold, from 0
        ("settings", pa.string()),  # JSON: setting -> value
        ("value", pa.float64()),  # mean over the inner folds
        ("inner", pa.list_(pa.float64())),  # value of each inner fold
        ("state", pa.string()),  # finished, repeated, diverged, refused
        ("chosen", pa.bool_()),  # whether the model of the fold was made so
        ("seconds", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration of one fold."""

    repeat: int
    fold: int
    trial: int
    settings: Mapping[str, Any]
    inner: tuple[float, ...]  # empty where there is no value
    value: float | None
    state: str
    seconds: float
    chosen: bool = False


def write(path: Path, found: Sequence[Trial]) -> None:
    """Write the trials of a fold or of a run."""
    rows = [asdict(one) | {"settings": json.dumps(one.settings)} for one in found]
    tables.write(path, SCHEMA, tables.build(rows, TRIALS))


def read(path: Path) -> list[Trial]:
    """Return the trials of a fold or of a run.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return [
        Trial(**row | {"settings": json.loads(row["settings"]), "inner": tuple(row["inner"])})
        for row in tables.read(path, SCHEMA, TRIALS).to_pylist()
    ]


def best(found: Sequence[Trial]) -> Trial | None:
    """Return the trial of the highest value, the first of several; None: none has a value."""
    known = [one for one in found if one.value is not None]
    return max(known, key=lambda one: (one.value, -one.trial)) if known else None


def configurations(found: Sequence[Trial]) -> int:
    """Return how many different configurations were tried in all."""
    return len({json.dumps(one.settings, sort_keys=True) for one in found})
