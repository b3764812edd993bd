"""`private/paths.parquet`: where each file and image came from. It never leaves the machine."""

from pathlib import Path

import pyarrow as pa

from medssl.artifacts import tables

SCHEMA = "medssl.paths/1"
PATHS = pa.schema(
    [
        ("file_id", pa.string()),
        ("path", pa.string()),
        ("image_id", pa.string()),  # null for a rejected file; a container has one row per image
        ("frame", pa.int32()),  # frame or slice inside the file
    ]
)


def folder(archive: Path) -> Path:
    """Return `private/`, made with mode 0700 if it is not there."""
    private = archive / "private"
    private.mkdir(mode=0o700, exist_ok=True)
    return private


def write(archive: Path, table: pa.Table) -> None:
    """Write the table of source paths, mode 0600."""
    path = folder(archive) / "paths.parquet"
    tables.write(path, SCHEMA, table)
    path.chmod(0o600)


def read(archive: Path) -> pa.Table:
    """Return the table of source paths.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(archive / "private" / "paths.parquet", SCHEMA, PATHS)
