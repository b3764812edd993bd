"""One way to the images of an archive and to its volumes."""

from pathlib import Path

import pyarrow as pa

from medssl.data.store import ImageStore
from medssl.data.volumes import VolumeStore

Store = ImageStore | VolumeStore


def open_store(archive: Path, table: pa.Table, spatial_dims: int) -> Store:
    """Return random access to the rows of a table.

    Args:
        archive: Archive folder.
        table: Rows of `images.parquet`, or in 3D of `volumes.table`.
        spatial_dims: 2 or 3.
    """
    return VolumeStore(archive, table) if spatial_dims == 3 else ImageStore(archive, table)
