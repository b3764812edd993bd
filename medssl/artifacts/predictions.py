"""`predictions.parquet`: one row per image, target and repeat.

A binary target has one row per image; a target of K > 2 classes has K, one per class, with
`target` written ``name=class``, `label` 1 for images of that class and `score` its probability.
"""

from pathlib import Path

import pyarrow as pa

from medssl.artifacts import tables

SCHEMA = "medssl.predictions/1"
PREDICTIONS = pa.schema(
    [
        ("image_id", pa.string()),
        ("patient_key", pa.string()),
        ("site", pa.string()),
        ("target", pa.string()),
        ("label", pa.int8()),  # 1 = positive
        ("score", pa.float64()),  # probability of the positive class, 0 to 1
        ("repeat", pa.int32()),
        ("fold", pa.int32()),
        ("seed", pa.int64()),
        ("part", pa.string()),  # test, or inner (inside the training part)
    ]
)


def write(path: Path, table: pa.Table) -> None:
    """Write the predictions."""
    tables.write(path, SCHEMA, table.select(PREDICTIONS.names))


def read(path: Path) -> pa.Table:
    """Return the predictions.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(path, SCHEMA, PREDICTIONS)
