"""`report.json`: the numbers behind `report.html`. The JSON is the truth, the page draws it.

`tables/` holds its estimates, folds and subgroups as Parquet for other programs; the same tables
and the operating points stand beside them as CSV and LaTeX.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from medssl.artifacts import cohort_tables, records, report_tables, tables

SCHEMA = "medssl.report/2"
REMAKE = "judge the run again in another folder: medssl evaluate RUN"
ESTIMATES_SCHEMA = "medssl.estimates/1"
FOLDS_SCHEMA = "medssl.folds/1"
SUBGROUPS_SCHEMA = "medssl.subgroups/1"
GAPS_SCHEMA = "medssl.subgroup_gaps/1"
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
SUBGROUPS = pa.schema(
    [
        ("attribute", pa.string()),  # by which patients are grouped; two are joined by *
        ("column", pa.string()),  # the target or one of its classes; null: the attribute is not
        # assessed
        ("group", pa.string()),
        ("n_patients", pa.int64()),  # null where patients are unknown
        ("n_units", pa.int64()),
        ("n_events", pa.int64()),
        ("patients_with", pa.int64()),  # a positive unit
        ("patients_without", pa.int64()),  # patients with a negative unit
        ("metric", pa.string()),  # null where the group is not assessed
        ("title", pa.string()),
        ("calls", pa.string()),  # of a sensitivity or specificity: threshold or chosen_thresholds
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("interval", pa.string()),  # percentile or wilson
        ("undefined", pa.int64()),  # resamples without a value
        ("not_assessed", pa.string()),  # why; null where it is
    ]
)
GAPS = pa.schema(
    [
        ("attribute", pa.string()),
        ("column", pa.string()),
        ("metric", pa.string()),
        ("title", pa.string()),
        ("worst", pa.string()),  # lowest group
        ("best", pa.string()),
        ("n_groups", pa.int64()),  # among which these two are the ends
        ("value", pa.float64()),  # best minus worst
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("interval", pa.string()),  # percentile or newcombe
    ]
)


def write(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `report.json`."""
    records.write(folder / "report.json", SCHEMA, report)


def write_tables(folder: Path, report: Mapping[str, Any]) -> None:
    """Write the tables a report holds as Parquet, and all its tables as CSV and LaTeX."""
    place = folder / "tables"
    place.mkdir(exist_ok=True)
    for name, schema, columns, rows in (
        ("estimates", ESTIMATES_SCHEMA, ESTIMATES, report["estimates"]),
        ("folds", FOLDS_SCHEMA, FOLDS, report["folds"]["rows"]),
        ("subgroups", SUBGROUPS_SCHEMA, SUBGROUPS, report_tables.subgroups(report)),
        ("subgroup_gaps", GAPS_SCHEMA, GAPS, report_tables.subgroup_gaps(report)),
    ):
        tables.write(place / f"{name}.parquet", schema, tables.build(list(rows), columns))
    report_tables.write(folder, report)
    cohort_tables.write(folder, report)


def read(folder: Path) -> dict[str, Any]:
    """Return `report.json`.

    Raises:
        ArtifactError: The file is missing, of another schema, or of version 1, which said less.
    """
    return records.read(folder / "report.json", SCHEMA, remake=REMAKE)


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


def read_subgroups(folder: Path) -> pa.Table:
    """Return `tables/subgroups.parquet`, by attribute, column and group.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "tables" / "subgroups.parquet", SUBGROUPS_SCHEMA, SUBGROUPS)


def read_gaps(folder: Path) -> pa.Table:
    """Return `tables/subgroup_gaps.parquet`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "tables" / "subgroup_gaps.parquet", GAPS_SCHEMA, GAPS)
