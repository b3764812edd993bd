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
    """Where a series lies in the archive."""

    shard: int
    row: int  # of its first image


def pack(
    archive: Path, decoded: Iterable[tuple[Owner, Decoded]]
) -> Iterator[tuple[Owner, Decoded, Place]]:
    """Write series to shards as they come, and yield each with its place.

    Holds one shard in memory. Series of equal shape and dtype should come one after another.

    Args:
        archive: Archive folder.
        decoded: Whose it is and a series with at least one image.
    """
    shard = 0
    held: list[tuple[Owner, Decoded]] = []
    for owner, series in decoded:
        if held and not _fits([one for _, one in held], series):
            yield from _write(archive, shard, held)
            shard, held = shard + 1, []
        held.append((owner, series))
    if held:
        yield from _write(archive, shard, held)


def _fits(held: Sequence[Decoded], series: Decoded) -> bool:
    last = held[-1].pixels
    is_alike = last.dtype == series.pixels.dtype and last.shape[1:] == series.pixels.shape[1:]
    size = sum(one.pixels.nbytes for one in held) + series.pixels.nbytes
    return is_alike and size <= pixels.SHARD_BYTES


def _write(
    archive: Path, shard: int, held: Sequence[tuple[Owner, Decoded]]
) -> Iterator[tuple[Owner, Decoded, Place]]:
    images = (image for _, series in held for image in series.pixels)
    pixels.write(archive, shard, images, sum(len(series.pixels) for _, series in held))
    row = 0
    for owner, series in held:
        yield owner, series, Place(shard, row)
        row += len(series.pixels)
