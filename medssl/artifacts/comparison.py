"""`comparison.json`: the numbers behind `comparison.html`, as `report.json` is for one run.

`tables/estimates.parquet` (as in a report, with the names of the runs) and
`tables/differences.parquet` hold its two tables for other programs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from medssl.artifacts import records, report, tables

SCHEMA = "medssl.comparison/3"
REMAKE = "compare the runs again in another folder: medssl compare RUN RUN"
DIFFERENCES_SCHEMA = "medssl.differences/1"
DIFFERENCES = pa.schema(
    [
        ("run", pa.string()),
        ("against", pa.string()),
        ("metric", pa.string()),
        ("column", pa.string()),  # the target, one of its classes, or the macro average
        ("value", pa.float64()),  # run minus against
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("undefined", pa.int64()),  # resamples without a value
        ("higher_is_better", pa.bool_()),
    ]
)


def write(folder: Path, comparison: Mapping[str, Any]) -> None:
    """Write `comparison.json`."""
    records.write(folder / "comparison.json", SCHEMA, comparison)


def write_tables(folder: Path, comparison: Mapping[str, Any]) -> None:
    """Write the two tables a comparison holds as Parquet."""
    (folder / "tables").mkdir(exist_ok=True)
    estimates = tables.build(list(comparison["estimates"]), report.ESTIMATES)
    tables.write(folder / "tables" / "estimates.parquet", report.ESTIMATES_SCHEMA, estimates)
    found = tables.build(list(comparison["differences"]), DIFFERENCES)
    tables.write(folder / "tables" / "differences.parquet", DIFFERENCES_SCHEMA, found)


def read(folder: Path) -> dict[str, Any]:
    """Return `comparison.json`.

    Raises:
        ArtifactError: The file is missing, of another schema, or of version 1 or 2, which knew one
            target with its classes only.
    """
    return records.read(folder / "comparison.json", SCHEMA, remake=REMAKE)


def read_differences(folder: Path) -> pa.Table:
    """Return `tables/differences.parquet`, in the order of the comparison.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "tables" / "differences.parquet", DIFFERENCES_SCHEMA, DIFFERENCES)
