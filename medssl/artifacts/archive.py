"""The archive `medssl ingest` writes: `archive.json`, `images.parquet`, `labels.parquet`.

The columns of `images.parquet` are an allow-list: nothing else from a header may reach an output.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

from medssl.artifacts import records, tables
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError

SCHEMA = "medssl.archive/1"
IMAGES_SCHEMA = "medssl.images/1"
LABELS_SCHEMA = "medssl.labels/1"

IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("patient_key", pa.string()),  # splits never cut through a patient
        ("study_key", pa.string()),
        ("series_key", pa.string()),
        ("site", pa.string()),
        ("modality", pa.string()),
        ("body_part", pa.string()),
        ("view", pa.string()),
        ("laterality", pa.string()),
        ("slice_index", pa.int32()),  # anatomical order, ascending along the nearest RAS+ axis
        ("position_mm", pa.float64()),  # along the slice normal; null for radiographs
        ("spacing", pa.list_(pa.float64(), 3)),  # row, column, slice; mm
        ("affine", pa.list_(pa.float64(), 12)),  # stored (column, row, slice) index -> RAS+ mm
        ("rows", pa.int32()),  # valid area of the stored square, from its first row and column
        ("columns", pa.int32()),
        ("shard", pa.int32()),
        ("row", pa.int32()),  # position in the shard; a series is a contiguous run
        ("unit", pa.string()),  # HU, BQML or arbitrary
        ("slope", pa.float64()),  # stored * slope + intercept = value in `unit`
        ("intercept", pa.float64()),
        ("manufacturer", pa.string()),
        ("model", pa.string()),
        ("kvp", pa.float64()),
        ("te_ms", pa.float64()),
        ("tr_ms", pa.float64()),
        ("b_value", pa.float64()),  # s/mm2
        ("age_band", pa.string()),
        ("sex", pa.string()),
        ("days_since_first", pa.int32()),
        ("lossy", pa.bool_()),
        ("transfer_syntax", pa.string()),
        ("pixel_sha256", pa.string()),
        ("flags", pa.list_(pa.string())),
    ]
)
LABELS = pa.schema(
    [
        ("image_id", pa.string()),
        ("target", pa.string()),
        ("value", pa.string()),  # null = unlabelled, never negative
    ]
)
NO_PATIENT = "no_patient"  # flag: the file named no patient, so it counts as one of its own


@dataclass(frozen=True, kw_only=True)
class ArchiveInfo:
    """What `archive.json` says about an archive."""

    medssl: str
    size: int | None  # longest side images were shrunk to, px; None: native shapes
    spatial_dims: int
    key_id: str  # names the institution's key, never reveals it
    files_found: int  # = files_written + all quarantine rows
    files_written: int
    quarantined: Mapping[str, int] = field(default_factory=dict)  # code -> files
    channels: int = 1  # 3 where colour is kept: then gray images have three equal ones
    images: int = 0
    series: int = 0
    studies: int = 0
    patients: int = 0
    sites: tuple[str, ...] = ()
    targets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # target -> value -> n
    label_rows: Mapping[str, int] = field(default_factory=dict)  # of the tables that were joined:
    # table_rows, rows_without_file, files_without_row; empty where there was no table
    hash: str = ""  # sha256 over images.parquet and labels.parquet


def write_images(archive: Path, table: pa.Table) -> None:
    """Write `images.parquet`."""
    tables.write(archive / "images.parquet", IMAGES_SCHEMA, table.select(IMAGES.names))


def write_labels(archive: Path, table: pa.Table) -> None:
    """Write `labels.parquet`."""
    tables.write(archive / "labels.parquet", LABELS_SCHEMA, table.select(LABELS.names))


def write_info(archive: Path, info: ArchiveInfo) -> None:
    """Write `archive.json`, last of all: an archive without it is unfinished."""
    records.write(archive / "archive.json", SCHEMA, asdict(info))


def read_info(archive: Path) -> ArchiveInfo:
    """Return `archive.json`.

    Raises:
        ArtifactError: The archive is missing, unfinished, or newer than this version reads.
    """
    if not (archive / "archive.json").is_file():
        unfinished = (archive / "private").is_dir()
        raise ArtifactError(
            "the archive is unfinished" if unfinished else "no archive",
            where=str(archive),
            fix=f"finish it with `medssl ingest -o {archive} --resume`; parts need --merge"
            if unfinished
            else "run `medssl ingest` first",
        )
    return records.read_as(ArchiveInfo, archive / "archive.json", SCHEMA)


def read_images(archive: Path) -> pa.Table:
    """Return `images.parquet`, one row per image, in the order of series and slices.

    Raises:
        ArtifactError: The archive is missing, unfinished, or newer than this version reads.
    """
    read_info(archive)
    return tables.read(archive / "images.parquet", IMAGES_SCHEMA, IMAGES)


def read_labels(archive: Path) -> pa.Table:
    """Return `labels.parquet`, one row per image and target.

    Raises:
        ArtifactError: The archive is missing, unfinished, or newer than this version reads.
    """
    read_info(archive)
    return tables.read(archive / "labels.parquet", LABELS_SCHEMA, LABELS)


def content_hash(archive: Path) -> str:
    """Return the SHA-256 over the digests of both tables (pixels are in them as digests)."""
    digests = [files.sha256(archive / name) for name in ("images.parquet", "labels.parquet")]
    return files.sha256_text("".join(digests))
