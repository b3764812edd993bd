"""Pack decoded series into pixel shards: one shape and dtype each, a series never cut."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medssl.artifacts import pixels
from medssl.ingestion.storing import Decoded

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Place:
    """Where decoded series lie."""

    shard: int
    row: int  # of their first image


@dataclass(frozen=True, slots=True, repr=False)
class Known(Decoded):
    """Series that an earlier ingest has decoded; their pixels are a memory map."""

    folder: Path
    place: Place


def pack(
    folder: Path, decoded: Iterable[tuple[Owner, Decoded]], replaces: Callable[[int], None]
) -> Iterator[list[tuple[Owner, Decoded, Place]]]:
    """Write series to shards as they come, and yield those of each shard when it is on disk.

    Holds one shard in memory. Series of equal shape and dtype should come one after another. What
    lies in its place already, as after an interruption, is not written again.

    Args:
        folder: Where the pixels go.
        decoded: Whose it is and series with at least one image.
        replaces: Called with the number of a shard before it is written.
    """
    shard = 0
    held: list[tuple[Owner, Decoded]] = []
    size = 0
    for owner, series in decoded:
        is_full = size + series.pixels.nbytes > pixels.SHARD_BYTES
        if held and (is_full or not _is_alike(held[-1][1], series)):
            yield _write(folder, shard, held, replaces)
            shard, held, size = shard + 1, [], 0
        held.append((owner, series))
        size += series.pixels.nbytes
    if held:
        yield _write(folder, shard, held, replaces)


def _is_alike(one: Decoded, other: Decoded) -> bool:
    is_shaped_alike = one.pixels.shape[1:] == other.pixels.shape[1:]
    return one.pixels.dtype == other.pixels.dtype and is_shaped_alike


def _write(
    folder: Path,
    shard: int,
    held: Sequence[tuple[Owner, Decoded]],
    replaces: Callable[[int], None],
) -> list[tuple[Owner, Decoded, Place]]:
    placed = []
    row = 0
    for owner, series in held:
        placed.append((owner, series, Place(shard, row)))
        row += len(series.pixels)
    is_there = all(
        isinstance(series, Known) and series.folder == folder and series.place == place
        for _, series, place in placed
    )
    if not is_there:
        replaces(shard)
        images = (image for _, series in held for image in series.pixels)
        pixels.write(folder, shard, images, row)
    return placed
