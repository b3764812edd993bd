"""`quarantine.parquet`: every input file that was not written, and why.

It names no path: the same `file_id` stands beside the path in `private/paths.parquet`.
"""

from pathlib import Path

import pyarrow as pa

from medssl.artifacts import tables

SCHEMA = "medssl.quarantine/1"
QUARANTINE = pa.schema(
    [
        ("file_id", pa.string()),
        ("stage", pa.string()),  # sniff, header, group, geometry, decode
        ("code", pa.string()),  # stable, documented in docs/reference/quarantine-codes.md
        ("patient_key", pa.string()),  # null where the header could not be read
    ]
)


def write(archive: Path, table: pa.Table) -> None:
    """Write the table of rejected files."""
    tables.write(archive / "quarantine.parquet", SCHEMA, table)


def read(archive: Path) -> pa.Table:
    """Return the table of rejected files.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(archive / "quarantine.parquet", SCHEMA, QUARANTINE)
