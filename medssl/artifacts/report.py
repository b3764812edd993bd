"""`report.json`: the numbers behind `report.html`. The JSON is the truth, the page draws it.

`tables/estimates.parquet` and `tables/folds.parquet` hold its two tables for other programs; the
same tables and the operating points stand beside them as CSV and LaTeX.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from medssl.artifacts import records, report_tables, tables

SCHEMA = "medssl.report/1"
ESTIMATES_SCHEMA = "medssl.estimates/1"
FOLDS_SCHEMA = "medssl.folds/1"
ESTIMATES = pa.schema(
    [
        ("run", pa.string()),  # name of the run in a comparison; null in a report on one
        ("metric", pa.string()),
        ("column", pa.string()),  # the target, one of its classes, or the macro average
        ("threshold", pa.float64()),  # null where the metric needs none
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("interval", pa.string()),  # bca, percentile or wilson
        ("undefined", pa.int64()),  # resamples without a value
        ("no_skill", pa.float64()),  # null where it depends
        ("ideal", pa.float64()),  # null where more (or less) is always better
        ("n_patients", pa.int64()),  # null where patients are unknown
        ("n_units", pa.int64()),
        ("n_events", pa.int64()),  # null for an average over classes
    ]
)
FOLDS = pa.schema(
    [
        ("column", pa.string()),
        ("repeat", pa.int64()),
        ("fold", pa.int64()),
        ("n_units", pa.int64()),
        ("n_events", pa.int64()),
        ("auroc", pa.float64()),  # not-a-number where the fold lacks a class
    ]
)


def write(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `report.json`."""
    records.write(folder / "report.json", SCHEMA, report)


def write_tables(folder: Path, report: Mapping[str, Any]) -> None:
    """Write the two tables a report holds as Parquet, and all its tables as CSV and LaTeX."""
    (folder / "tables").mkdir(exist_ok=True)
    estimates = tables.build(list(report["estimates"]), ESTIMATES)
    tables.write(folder / "tables" / "estimates.parquet", ESTIMATES_SCHEMA, estimates)
    folds = tables.build(list(report["folds"]["rows"]), FOLDS)
    tables.write(folder / "tables" / "folds.parquet", FOLDS_SCHEMA, folds)
    report_tables.write(folder, report)


def read(folder: Path) -> dict[str, Any]:
    """Return `report.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read(folder / "report.json", SCHEMA)


def read_estimates(folder: Path) -> pa.Table:
    """Return `tables/estimates.parquet`, in the order of the report.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "tables" / "estimates.parquet", ESTIMATES_SCHEMA, ESTIMATES)


def read_folds(folder: Path) -> pa.Table:
    """Return `tables/folds.parquet`, by column, repeat and fold.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "tables" / "folds.parquet", FOLDS_SCHEMA, FOLDS)
