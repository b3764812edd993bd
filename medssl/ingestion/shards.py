"""Pack decoded series into pixel shards: one shape and dtype each, a series never cut."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from medssl.artifacts import pixels
from medssl.ingestion.storing import Decoded, Outcome

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


@dataclass(frozen=True, slots=True, repr=False)
class Packed(Generic[Owner]):
    """Series that are on disk."""

    owner: Owner
    outcome: Outcome
    place: Place
    count: int  # of their images


def pack(
    folder: Path, decoded: Iterable[tuple[Owner, Decoded]], replaces: Callable[[int], None]
) -> Iterator[list[Packed[Owner]]]:
    """Write series to shards as they come, and yield those of each shard when it is on disk.

    Series of equal shape and dtype should come one after another. What lies in its place already,
    as after an interruption, is not written again.

    Args:
        folder: Where the pixels go.
        decoded: Whose it is and series with at least one image.
        replaces: Called with the number of a shard when all is written, before it is replaced.
    """
    for shard, series in groupby(_placed(decoded), key=lambda one: one[2].shard):
        yield _write(folder, shard, series, replaces)


def _placed(decoded: Iterable[tuple[Owner, Decoded]]) -> Iterator[tuple[Owner, Decoded, Place]]:
    """Yield series with the place each is to have."""
    place, size = Place(0, 0), 0
    before: tuple[object, ...] | None = None
    for owner, series in decoded:
        like = (series.pixels.dtype, series.pixels.shape[1:])
        is_full = size + series.pixels.nbytes > pixels.SHARD_BYTES
        if before is not None and (is_full or like != before):
            place, size = Place(place.shard + 1, 0), 0
        yield owner, series, place
        before, size = like, size + series.pixels.nbytes
        place = Place(place.shard, place.row + len(series.pixels))


def _write(
    folder: Path,
    shard: int,
    series: Iterable[tuple[Owner, Decoded, Place]],
    replaces: Callable[[int], None],
) -> list[Packed[Owner]]:
    packed: list[Packed[Owner]] = []
    noted = _noted(series, packed)
    blocks = []
    for one, place in noted:
        blocks.append(one.pixels)
        if not (isinstance(one, Known) and one.folder == folder and one.place == place):
            break
    else:
        return packed
    rest = (one.pixels for one, _ in noted)
    pixels.write(folder, shard, _images(chain(blocks, rest), lambda: replaces(shard)))
    return packed


def _noted(
    series: Iterable[tuple[Owner, Decoded, Place]], packed: list[Packed[Owner]]
) -> Iterator[tuple[Decoded, Place]]:
    for owner, one, place in series:
        packed.append(Packed(owner, one.outcome, place, len(one.pixels)))
        yield one, place


def _images(
    blocks: Iterable[NDArray[np.generic]], at_end: Callable[[], None]
) -> Iterator[NDArray[np.generic]]:
    for block in blocks:
        yield from block
    at_end()
