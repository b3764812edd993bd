"""What `medssl reduce` writes: `kept`, `dropped` and `leaks.parquet`, and `reduce.json`."""

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
LEAKS_SCHEMA = "medssl.leaks/1"
LEAKS_FILE = "leaks.parquet"
KEPT = pa.schema(
    [
        ("image_id", pa.string()),
        ("represents", pa.int32()),  # images, itself included
        ("reason", pa.string()),  # leader, protected or floor
    ]
)
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
LEAKS = pa.schema(
    [
        ("image_id", pa.string()),  # of the pool, left out
        ("against", pa.string()),  # hash of the archive it would leak into
        ("other_image_id", pa.string()),  # an image there
        ("reason", pa.string()),  # patient: of the same one; image: probably the same
        ("similarity", pa.float64()),  # null for a patient
        ("metric", pa.string()),
        ("tau", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class SelectionInfo:
    """What `reduce.json` says about a selection."""

    archive_hash: str  # a selection belongs to one archive
    by: tuple[str, ...]  # strategies, under any of which one image may stand for another
    select: str  # leader, k_center or balanced_kmeans
    within: str  # series, patient, site or archive
    thresholds: tuple[float | None, ...]  # of each strategy; searched where a share or a budget
    # was given; None: not used, or another one for each scope, as `dropped.parquet` says
    n_images: int  # of the archive: kept, dropped and left out
    n_kept: int
    n_left_out: int = 0  # because of an archive to be evaluated on, see `leaks.parquet`
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)  # what `embedding` saw with
    controls: tuple[str, ...] = ()  # folders of random selections of the same size
    approximate: Mapping[str, Any] = field(default_factory=dict)  # what an approximate search
    # found; empty: every image was compared with all kept before it
    smoke: bool = False  # of a few patients only, to try the path


def write_leaks(folder: Path, leaks: pa.Table) -> None:
    """Write `leaks.parquet`."""
    tables.write(folder / LEAKS_FILE, LEAKS_SCHEMA, leaks)


def write(folder: Path, info: SelectionInfo, kept: pa.Table, dropped: pa.Table) -> None:
    """Write the two other tables and then `reduce.json`."""
    tables.write(folder / "kept.parquet", KEPT_SCHEMA, kept)
    tables.write(folder / "dropped.parquet", DROPPED_SCHEMA, dropped)
    records.write(folder / "reduce.json", SCHEMA, asdict(info))


def read_info(folder: Path) -> SelectionInfo:
    """Return `reduce.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read_as(SelectionInfo, folder / "reduce.json", SCHEMA)


def facts(folder: Path | None) -> dict[str, Any]:
    """Return how a run says which images it saw; empty: None, all of them.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    if folder is None:
        return {}
    info = read_info(folder)
    return {"by": list(info.by), "images": info.n_kept, "of": info.n_images}


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


def read_pool(folder: Path) -> pa.ChunkedArray:
    """Return the ids of the images that were chosen from: kept and dropped ones.

    Raises:
        ArtifactError: A file is missing or of another schema.
    """
    chunks = [part["image_id"] for part in (read_kept(folder), read_dropped(folder))]
    return pa.chunked_array([chunk for part in chunks for chunk in part.chunks], pa.string())


def read_leaks(folder: Path) -> pa.Table:
    """Return `leaks.parquet`, in archive order.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return tables.read(folder / LEAKS_FILE, LEAKS_SCHEMA, LEAKS)
