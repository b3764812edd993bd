"""Pack decoded series into pixel shards: one shape and dtype each, a series never cut."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medssl.artifacts import pixels
from medssl.ingestion.decoding import Decoded

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
    folder: Path, decoded: Iterable[tuple[Owner, Decoded]]
) -> Iterator[list[tuple[Owner, Decoded, Place]]]:
    """Write series to shards as they come, and yield those of each shard when it is on disk.

    Holds one shard in memory. Series of equal shape and dtype should come one after another. What
    lies in its place already, as after an interruption, is not written again.

    Args:
        folder: Where the pixels go.
        decoded: Whose it is and series with at least one image.
    """
    shard = 0
    held: list[tuple[Owner, Decoded]] = []
    for owner, series in decoded:
        if held and not _fits([one for _, one in held], series):
            yield _write(folder, shard, held)
            shard, held = shard + 1, []
        held.append((owner, series))
    if held:
        yield _write(folder, shard, held)


def _fits(held: Sequence[Decoded], series: Decoded) -> bool:
    last = held[-1].pixels
    is_alike = last.dtype == series.pixels.dtype and last.shape[1:] == series.pixels.shape[1:]
    size = sum(one.pixels.nbytes for one in held) + series.pixels.nbytes
    return is_alike and size <= pixels.SHARD_BYTES


def _write(
    folder: Path, shard: int, held: Sequence[tuple[Owner, Decoded]]
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
        images = (image for _, series in held for image in series.pixels)
        pixels.write(folder, shard, images, row)
    return placed
