"""The pixel store: `pixels/00000.npy`, arrays of shape (N, C, H, W), read by memory map."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from medssl.artifacts import schema
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError

SHARD_BYTES = 256 * 2**20  # a shard closes once it holds this much; a series is never cut


def shard_path(archive: Path, shard: int) -> Path:
    """Return the path of one shard."""
    return archive / "pixels" / f"{shard:05d}.npy"


def write(archive: Path, shard: int, images: Iterable[NDArray[np.generic]]) -> None:
    """Write images of one shape and dtype as one shard, as they come.

    Args:
        archive: Archive folder.
        shard: Number of the shard.
        images: Arrays of shape (C, H, W), in row order.
    """
    path = shard_path(archive, shard)
    path.parent.mkdir(exist_ok=True)
    count = 0
    like: tuple[tuple[int, ...], np.dtype[np.generic]] | None = None
    with files.replacing(path) as temp, temp.open("wb") as stream:
        for image in images:
            if like is None:
                like = image.shape, image.dtype
                _write_header(stream, count, *like)  # as long as with the right count
            assert (image.shape, image.dtype) == like, "the images of a shard must be alike"
            stream.write(np.ascontiguousarray(image).data)
            count += 1
        assert like is not None, "a shard holds images"
        stream.seek(0)
        _write_header(stream, count, *like)


def _write_header(
    stream: BinaryIO, count: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (count, *shape),
    }
    np.lib.format.write_array_header_1_0(stream, header)


def read(archive: Path, shard: int) -> NDArray[np.generic]:
    """Return one shard, shape (N, C, H, W), as a read-only memory map.

    Raises:
        ArtifactError: The shard is missing or damaged.
    """
    path = shard_path(archive, shard)
    try:
        store: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ArtifactError("no such pixel shard", where=str(path), fix=schema.RESTORE) from error
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError(
            "the pixel shard is damaged", where=str(path), fix=schema.RESTORE
        ) from error
    return store


def drop_from(archive: Path, shard: int) -> None:
    """Remove the shards from number ``shard`` on, which an earlier attempt has left."""
    for path in (archive / "pixels").glob("*.npy"):
        if int(path.stem) >= shard:
            path.unlink()
