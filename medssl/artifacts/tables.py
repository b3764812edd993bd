"""Parquet tables: columns are checked, the schema name stands in the file's metadata."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.artifacts import schema
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError

_KEY = b"medssl_schema"


def get_ready() -> None:
    """Have pyarrow load pandas, which it does anyway when it builds its first table."""
    pa.array([])


def read(path: Path, expected: str, columns: pa.Schema) -> pa.Table:
    """Return the table at ``path`` with exactly the columns of ``columns``, in that order.

    Raises:
        ArtifactError: The file is missing, is not Parquet, has another schema, or lacks a column
            or has it in another type.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise ArtifactError("no such file", where=str(path), fix=schema.RESTORE) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(
            "not a readable Parquet file", where=str(path), fix=schema.RESTORE
        ) from error
    found = (table.schema.metadata or {}).get(_KEY, b"").decode()
    schema.require(found, expected, where=path)
    missing = [name for name in columns.names if name not in table.schema.names]
    if missing:
        raise ArtifactError(
            f"lacks the columns {', '.join(missing)}", where=str(path), fix=schema.RESTORE
        )
    try:
        return table.select(columns.names).cast(columns)
    except pa.ArrowException as error:
        raise ArtifactError(
            f"a column has another type: {error}", where=str(path), fix=schema.RESTORE
        ) from error


def write(path: Path, expected: str, table: pa.Table) -> None:
    """Write ``table`` atomically; the same rows give the same bytes."""
    named = table.replace_schema_metadata({_KEY: expected.encode()})
    with files.replacing(path) as temp:
        pq.write_table(named, temp, compression="zstd")


def build(rows: list[dict[str, object]], columns: pa.Schema) -> pa.Table:
    """Return a table with ``columns`` from rows; a missing key becomes null."""
    return pa.Table.from_pylist(rows, schema=columns)
