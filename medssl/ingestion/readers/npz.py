"""NumPy archives as MedMNIST lays them out (Yang et al., 2023): arrays named by split.

`train_images`, `val_images`, `test_images` of shape (N, H, W) or (N, H, W, 3), uint8 or uint16;
beside each `…_labels` of shape (N, k), whole numbers. Every image stands alone. Other arrays may
mean anything, so a file without these names is rejected. Nothing is unpickled, and what an array
claims to hold is checked before any memory is taken for it.
"""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from medssl.ingestion import claims, colour, streams, zips
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import MAX_PIXELS, PLAIN, Facts, Frame, Header, Member, Reading

SPLITS = ("train", "val", "test")
_ZIP = b"PK\x03\x04"
_SUFFIX = b".npy"
_DTYPES = frozenset({"uint8", "uint16"})
_MAX_IMAGES = 2**20  # each becomes rows of several tables
_MAX_LABELS = 2**24
_BLOCK = 2**20  # bytes read at a time


@dataclass(frozen=True, slots=True)
class _Array:
    """One array of the archive, before its values are read."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool


def recognises(head: bytes) -> bool:
    """See `_contract.py`; a ZIP archive whose first file is an array, as all must be."""
    end = 30 + int.from_bytes(head[26:28], "little")
    return head.startswith(_ZIP) and head[30:end].endswith(_SUFFIX)


def read_header(path: Path, how: Reading = PLAIN) -> Header:
    """See `_contract.py`."""
    with streams.opened(path) as stream, zipfile.ZipFile(cast("IO[bytes]", stream)) as archive:
        if streams.is_member(path) and not zips.holds_arrays(archive.namelist()):
            raise RejectedFile(Code.NESTED_ARCHIVE)
        images = _images(archive)
        if not images:
            raise RejectedFile(Code.ARRAY_LAYOUT)
        _check(list(images.values()), how)
        n_bytes = sum(prod(array.shape) * array.dtype.itemsize for array in images.values())
        claims.check(n_bytes, stream.seek(0, io.SEEK_END))
        members = [
            member
            for split, array in images.items()
            for member in _members(archive, split, array.shape[0])
        ]
    first = next(iter(images.values()))
    is_kept = how.colour == "keep" and first.shape[3:] == (colour.CHANNELS,)
    return Header(
        reader="npz",
        rows=first.shape[1],
        columns=first.shape[2],
        frames=(Frame(),) * len(members),
        channels=colour.CHANNELS if is_kept else 1,
        bits=first.dtype.itemsize * 8,
        facts=Facts(transfer_syntax="npz"),
        members=tuple(members),
    )


def read_pixels(path: Path, header: Header, how: Reading = PLAIN) -> NDArray[Any]:
    """See `_contract.py`."""
    del header
    with streams.opened(path) as stream, zipfile.ZipFile(cast("IO[bytes]", stream)) as archive:
        arrays = [_values(archive, array) for array in _images(archive).values()]
        return np.concatenate([_settled(array, how) for array in arrays])


def _images(archive: zipfile.ZipFile) -> dict[str, _Array]:
    found = {split: _array(archive, f"{split}_images") for split in SPLITS}
    return {split: array for split, array in found.items() if array is not None}


def _check(arrays: list[_Array], how: Reading) -> None:
    """Reject what is no stack of images of one size, or more of it than fits."""
    if any(len(array.shape) not in {3, 4} for array in arrays):
        raise RejectedFile(Code.ARRAY_LAYOUT)
    if any(
        array.shape[3:] not in {(), (1,), (colour.CHANNELS,)} for array in arrays
    ):  # volumes, too
        raise RejectedFile(Code.ARRAY_LAYOUT)
    if len({(array.shape[1:], array.dtype) for array in arrays}) > 1:
        raise RejectedFile(Code.ARRAY_LAYOUT)
    if arrays[0].dtype.name not in _DTYPES:
        raise RejectedFile(Code.UNSUPPORTED_PIXELS)
    if how.colour == "keep" and arrays[0].shape[3:] == (colour.CHANNELS,):
        colour.check_kept(arrays[0].dtype)
    if any(0 in array.shape for array in arrays):
        raise RejectedFile(Code.BAD_HEADER)
    n_images = sum(array.shape[0] for array in arrays)
    if n_images > _MAX_IMAGES or sum(prod(array.shape) for array in arrays) > MAX_PIXELS:
        raise RejectedFile(Code.TOO_LARGE)


def _members(archive: zipfile.ZipFile, split: str, count: int) -> Iterator[Member]:
    """Yield what each image of a split is called, and its cells: split and labels."""
    known: dict[tuple[int, ...], dict[str, str]] = {}  # equal cells are one object
    for number, values in enumerate(_labels(archive, split, count)):
        key = tuple(values)
        if key not in known:
            names = ("label",) if len(key) == 1 else [f"label_{n}" for n in range(len(key))]
            known[key] = {"split": split} | dict(zip(names, map(str, key), strict=True))
        yield Member(name=f"{split}_images[{number}]", cells=known[key])


def _labels(archive: zipfile.ZipFile, split: str, count: int) -> list[list[int]]:
    array = _array(archive, f"{split}_labels")
    if array is None:
        return [[]] * count
    is_table = array.dtype.kind in "iub" and array.shape[:1] == (count,) and len(array.shape) < 3
    if not is_table:
        raise RejectedFile(Code.ARRAY_LAYOUT)
    if prod(array.shape) > _MAX_LABELS:
        raise RejectedFile(Code.TOO_LARGE)
    table: list[list[int]] = _values(archive, array).reshape(count, -1).astype(int).tolist()
    return table


def _array(archive: zipfile.ZipFile, name: str) -> _Array | None:
    member = f"{name}{_SUFFIX.decode()}"
    if member not in archive.namelist():
        return None
    with _opened(archive, member) as (stream, shape, is_fortran, dtype):
        if dtype.hasobject or dtype.names:
            raise RejectedFile(Code.UNSUPPORTED_PIXELS)
        n_bytes = archive.getinfo(member).file_size - stream.tell()
    if n_bytes != prod(shape) * dtype.itemsize:
        raise RejectedFile(Code.TRUNCATED)
    return _Array(member, shape, dtype, is_fortran)


def _values(archive: zipfile.ZipFile, array: _Array) -> NDArray[Any]:
    flat = np.empty(prod(array.shape), dtype=array.dtype)
    room = flat.view(np.uint8)
    done = 0
    with _opened(archive, array.name) as (stream, *_):
        while done < len(room):
            block = stream.read(min(_BLOCK, len(room) - done))
            if not block:
                raise RejectedFile(Code.TRUNCATED)
            room[done : done + len(block)] = np.frombuffer(block, dtype=np.uint8)
            done += len(block)
        stream.read(1)  # reaching the end is what checks the checksum
    return flat.reshape(array.shape, order="F" if array.is_fortran else "C")


@contextmanager
def _opened(
    archive: zipfile.ZipFile, member: str
) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]]:
    """Yield an array's stream behind its header, and what the header says."""
    with archive.open(member) as stream:
        # Later versions are for structures, and let a header be of any length.
        if np.lib.format.read_magic(stream) != (1, 0):
            raise RejectedFile(Code.ARRAY_LAYOUT)
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        yield stream, shape, is_fortran, dtype


def _settled(images: NDArray[Any], how: Reading) -> NDArray[Any]:
    """Return images (N, H, W), or (N, H, W, 3) where colour is kept."""
    if images.ndim == 3:
        return images
    if images.shape[-1] == 1:
        return images[..., 0]
    return colour.settled(images, how.colour)
