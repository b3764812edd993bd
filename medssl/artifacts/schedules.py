"""`tables/schedule.parquet` of a pretraining: what the optimiser does at every step."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.artifacts import tables

SCHEMA = "medssl.schedule/1"
SCHEDULE = pa.schema(
    [
        ("step", pa.int64()),  # from 0
        ("lr", pa.float64()),
        ("weight_decay", pa.float64()),  # of the parameters that have one
    ]
)


def table(curves: Mapping[str, NDArray[np.float64]]) -> pa.Table:
    """Return the rates of every step as a table.

    Args:
        curves: ``lr`` and ``weight_decay``, shape (steps,) each.
    """
    columns = {"step": np.arange(len(curves["lr"])), **curves}
    return pa.table({name: columns[name] for name in SCHEDULE.names}).cast(SCHEDULE)


def write(run: Path, rates: pa.Table) -> None:
    """Write the table into a run folder."""
    (run / "tables").mkdir(exist_ok=True)
    tables.write(run / "tables" / "schedule.parquet", SCHEMA, rates.select(SCHEDULE.names))


def read(run: Path) -> pa.Table:
    """Return the table of a run folder.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(run / "tables" / "schedule.parquet", SCHEMA, SCHEDULE)
