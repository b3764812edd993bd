"""`report.json` of a reduction and the tables beside it: what was kept of whom.

The page `report.html` shows nothing that is not in the record, but for thumbnails. The tables name
patients and series by their keys; the record does not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from medssl.artifacts import records, tables

SCHEMA = "medssl.reduce_report/1"
STRATA_SCHEMA = "medssl.strata/1"
PER_PATIENT_SCHEMA = "medssl.per_patient/1"
PER_SERIES_SCHEMA = "medssl.per_series/1"
_COUNTS = [
    ("images", pa.int32()),  # of the pool
    ("images_kept", pa.int32()),
    ("images_left_out", pa.int32()),  # because of an archive to be evaluated on
]
STRATA = pa.schema(
    [
        ("column", pa.string()),  # label, site, modality, body_part, scanner, sex or age_band
        ("target", pa.string()),  # of a label
        ("value", pa.string()),  # null: not stated or unlabelled; or several rare ones
        ("n_values", pa.int32()),
        *_COUNTS,
        ("patients", pa.int32()),
        ("patients_kept", pa.int32()),
        ("is_low", pa.bool_()),  # it keeps a smaller share than all images together
    ]
)
PER_PATIENT = pa.schema([("patient_key", pa.string()), *_COUNTS])
PER_SERIES = pa.schema([("patient_key", pa.string()), ("series_key", pa.string()), *_COUNTS])


def write(
    folder: Path,
    report: Mapping[str, Any],
    strata: pa.Table,
    per_patient: pa.Table,
    per_series: pa.Table,
) -> None:
    """Write the three tables and then `report.json`."""
    place = folder / "tables"
    place.mkdir(exist_ok=True)
    tables.write(place / "strata.parquet", STRATA_SCHEMA, strata)
    tables.write(place / "per_patient.parquet", PER_PATIENT_SCHEMA, per_patient)
    tables.write(place / "per_series.parquet", PER_SERIES_SCHEMA, per_series)
    records.write(folder / "report.json", SCHEMA, report)


def read(folder: Path) -> dict[str, Any]:
    """Return `report.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read(folder / "report.json", SCHEMA)


def read_strata(folder: Path) -> pa.Table:
    """Return `tables/strata.parquet`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "tables" / "strata.parquet", STRATA_SCHEMA, STRATA)


def read_per_patient(folder: Path) -> pa.Table:
    """Return `tables/per_patient.parquet`, in archive order.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    path = folder / "tables" / "per_patient.parquet"
    return tables.read(path, PER_PATIENT_SCHEMA, PER_PATIENT)


def read_per_series(folder: Path) -> pa.Table:
    """Return `tables/per_series.parquet`, in archive order.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "tables" / "per_series.parquet", PER_SERIES_SCHEMA, PER_SERIES)
