"""`embeddings.parquet` and `embed.json`: the features of an archive, and what made them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from medssl.artifacts import records, schema
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError

SCHEMA = "medssl.embed/1"
EMBEDDINGS_SCHEMA = "medssl.embeddings/1"
_KEYS = ("image_id", "patient_key", "series_key")
_NAME = "embeddings.parquet"


@dataclass(frozen=True, kw_only=True)
class EmbedInfo:
    """What the features are of, and what made them."""

    archive_hash: str
    encoder: str  # name of the architecture
    layer: str  # whose pooled output they are
    feature_size: int
    n_rows: int
    spatial_dims: int  # 3: a row is a series, named by its first image
    shape: tuple[int, ...]  # px, of the encoder's input
    weights_sha256: str
    trained: Mapping[str, Any] = field(default_factory=dict)  # the encoder: how, on what


def columns(feature_size: int) -> pa.Schema:
    """Return the columns of `embeddings.parquet`."""
    feature = pa.field("feature", pa.list_(pa.float32(), feature_size), nullable=False)
    return pa.schema([*(pa.field(key, pa.string(), nullable=False) for key in _KEYS), feature])


def write(
    folder: Path,
    info: EmbedInfo,
    parts: Iterable[tuple[pa.Table, NDArray[np.float32]]],
) -> None:
    """Write features part by part, so that they never lie in memory together, then the record.

    Args:
        folder: Where to.
        info: The record.
        parts: Rows of `images.parquet` and their features, (N, F).
    """
    wanted = columns(info.feature_size).with_metadata(
        {b"medssl_schema": EMBEDDINGS_SCHEMA.encode()}
    )
    with (
        files.replacing(folder / _NAME) as temp,
        pq.ParquetWriter(temp, wanted, compression="zstd") as writer,
    ):
        for rows, features in parts:
            flat = pa.array(features.astype(np.float32).ravel())
            listed = pa.FixedSizeListArray.from_arrays(flat, type=wanted.field("feature").type)
            keys = [rows[key].combine_chunks() for key in _KEYS]
            writer.write_table(pa.Table.from_arrays([*keys, listed], schema=wanted))
    records.write(folder / "embed.json", SCHEMA, asdict(info))


def read(folder: Path) -> tuple[pa.Table, NDArray[np.float32]]:
    """Return the keys of the rows and their features, (N, F).

    Raises:
        ArtifactError: A file is missing, is damaged, or has another schema.
    """
    info = read_info(folder)
    table = read_table(folder)
    features = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return table.select(_KEYS), features.reshape(table.num_rows, info.feature_size)


def read_table(folder: Path) -> pa.Table:
    """Return `embeddings.parquet`.

    Raises:
        ArtifactError: The file is missing, is damaged, or has another schema.
    """
    path = folder / _NAME
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise ArtifactError("no such file", where=str(path), fix=schema.RESTORE) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(
            "not a readable Parquet file", where=str(path), fix=schema.RESTORE
        ) from error
    found = (table.schema.metadata or {}).get(b"medssl_schema", b"").decode()
    schema.require(found, EMBEDDINGS_SCHEMA, where=path)
    return table


def read_info(folder: Path) -> EmbedInfo:
    """Return `embed.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read_as(EmbedInfo, folder / "embed.json", SCHEMA)
