"""`private/unmatched_labels.parquet`: what the label table and the files have not in common.

Its keys can be patient ids, so it never leaves the machine. There is none where all matched.
"""

from pathlib import Path

import pyarrow as pa

from medssl.artifacts import source_paths, tables

SCHEMA = "medssl.unmatched/1"
UNMATCHED = pa.schema(
    [
        ("table", pa.string()),  # path of the label table; null for a file
        ("line", pa.int32()),  # in the table, from 1; null for a file
        ("key", pa.string()),  # the cell of the key column, as written; null for a file
        ("path", pa.string()),  # of a file that no row names; null for a row
    ]
)
NAME = "unmatched_labels.parquet"


def write(archive: Path, table: pa.Table) -> None:
    """Write the table of rows without a file and files without a row, mode 0600."""
    path = source_paths.folder(archive) / NAME
    tables.write(path, SCHEMA, table)
    path.chmod(0o600)


def read(archive: Path) -> pa.Table:
    """Return the table of rows without a file and files without a row.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(archive / "private" / NAME, SCHEMA, UNMATCHED)
