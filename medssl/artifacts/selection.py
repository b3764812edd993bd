"""What `medssl reduce` writes: `kept.parquet`, `dropped.parquet`, `reduce.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from medssl.artifacts import records, tables
from medssl.foundation.errors import ArtifactError

SCHEMA = "medssl.selection/1"
KEPT_SCHEMA = "medssl.kept/1"
DROPPED_SCHEMA = "medssl.dropped/1"
KEPT = pa.schema([("image_id", pa.string()), ("represents", pa.int32())])  # itself included
DROPPED = pa.schema(
    [
        ("image_id", pa.string()),
        ("representative_id", pa.string()),  # a kept image at least tau similar
        ("similarity", pa.float64()),
        ("metric", pa.string()),
        ("tau", pa.float64()),
        ("stage", pa.int32()),  # position in a chain of strategies, from 0
    ]
)


@dataclass(frozen=True, kw_only=True)
class SelectionInfo:
    """What `reduce.json` says about a selection."""

    archive_hash: str  # a selection belongs to one archive
    by: str
    within: str  # series, patient, site or archive
    threshold: float | None  # searched by bisection where a share or a budget was given; None:
    # another one for each scope, as `dropped.parquet` says
    n_images: int
    n_kept: int
    options: Mapping[str, Any] = field(default_factory=dict)
    controls: tuple[str, ...] = ()  # folders of random selections of the same size
    smoke: bool = False  # of a few patients only, to try the path


def write(folder: Path, info: SelectionInfo, kept: pa.Table, dropped: pa.Table) -> None:
    """Write the two tables and then `reduce.json`."""
    tables.write(folder / "kept.parquet", KEPT_SCHEMA, kept)
    tables.write(folder / "dropped.parquet", DROPPED_SCHEMA, dropped)
    records.write(folder / "reduce.json", SCHEMA, asdict(info))


def read_info(folder: Path) -> SelectionInfo:
    """Return `reduce.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read_as(SelectionInfo, folder / "reduce.json", SCHEMA)


def require_archive(folder: Path, archive_hash: str) -> None:
    """Check that a selection was made of the archive with this hash.

    Raises:
        ArtifactError: It was not, or there is no selection.
    """
    if read_info(folder).archive_hash != archive_hash:
        raise ArtifactError(
            "the selection belongs to another archive",
            where=str(folder),
            fix="run `medssl reduce` on this archive",
        )


def read_kept(folder: Path) -> pa.Table:
    """Return `kept.parquet`, in archive order.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "kept.parquet", KEPT_SCHEMA, KEPT)


def read_dropped(folder: Path) -> pa.Table:
    """Return `dropped.parquet`, in archive order.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / "dropped.parquet", DROPPED_SCHEMA, DROPPED)
