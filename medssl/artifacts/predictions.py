"""`predictions.parquet`: one row per image, target and repeat.

A binary target has one row per image, and so has an amount, whose `label` and `score` are in its
own unit. A target of K > 2 classes, ordered or not, has K rows, one per class, with `target`
written ``name=class``, `label` 1 for images of that class and `score` its probability. Several
targets have a row each where an image is labelled. Where a model judges series, a row is a series,
named by its first image. Version 1 had whole numbers as labels.
"""

from pathlib import Path

import pyarrow as pa

from medssl.artifacts import tables

SCHEMA = "medssl.predictions/2"
PREDICTIONS = pa.schema(
    [
        ("image_id", pa.string()),
        ("patient_key", pa.string()),
        ("site", pa.string()),
        ("target", pa.string()),
        ("label", pa.float64()),  # 1 = positive, 0 = not; or an amount
        ("score", pa.float64()),  # probability of the positive class, 0 to 1; or an amount
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
