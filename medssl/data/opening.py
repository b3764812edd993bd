"""One way to the images of an archive, to its volumes and to the slices of its series."""

from pathlib import Path

import pyarrow as pa

from medssl.data.bags import BagStore
from medssl.data.store import ImageStore
from medssl.data.volumes import VolumeStore

Store = ImageStore | VolumeStore | BagStore


def open_store(archive: Path, table: pa.Table, spatial_dims: int, *, slices: int = 0) -> Store:
    """Return random access to the rows of a table.

    Args:
        archive: Archive folder.
        table: Rows of `images.parquet`, or for volumes and slices of `volumes.table`.
        spatial_dims: 2 or 3.
        slices: Of a series, where a row is a series read as images; 0: a row is one input.
    """
    if slices:
        return BagStore(archive, table, slices)
    return VolumeStore(archive, table) if spatial_dims == 3 else ImageStore(archive, table)
