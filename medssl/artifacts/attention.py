"""`folds/k/attention.parquet`: how much each slice counted in the score of its test series.

One row per slice that was looked at. Weights of a series add up to 1. They say where a model
looked, not that what it saw there is the reason.
"""

from pathlib import Path

import pyarrow as pa

from medssl.artifacts import tables

FILE = "attention.parquet"
SCHEMA = "medssl.attention/1"
ATTENTION = pa.schema([("image_id", pa.string()), ("weight", pa.float64())])


def write(folder: Path, table: pa.Table) -> None:
    """Write the weights to the folder of a fold."""
    tables.write(folder / FILE, SCHEMA, table.select(ATTENTION.names))


def read(folder: Path) -> pa.Table:
    """Return the weights of a fold.

    Raises:
        ArtifactError: The file is missing, as in a run without attention, or of another schema.
    """
    return tables.read(folder / FILE, SCHEMA, ATTENTION)
