"""Pictures for the report of a reduction: pairs nearest its threshold, and whole series.

Pixels can tell who a patient is: a page with these is to be handled like the images themselves.
Images are shown as the strategy saw them, windowed and masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from medssl.data.shown import ShownImages
from medssl.reporting import pictures
from medssl.thinning import covering
from medssl.thinning.accounting import Accounted
from medssl.thinning.covering import Nearby
from medssl.thinning.metrics import Rows
from medssl.thinning.outcomes import Thinned
from medssl.thinning.pools import Pool

SIDE = 128  # longest side of an image of a pair, px
TILE, FRAME, GAP = 40, 2, 2  # of a slice in a strip: its side, its frame, its distance; px
ACROSS = 24  # slices side by side
MOST_SLICES = 480  # of a series that are shown
DIM = 0.35  # brightness of a dropped slice
_PAGE, _FRAME = 64, 255  # grey values between slices and around kept ones
_KEY_LETTERS = 8
UNKNOWN = "not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two images about as alike as the threshold says."""

    source: str  # a PNG as data URI
    other_source: str
    image: str  # how its id begins
    other_image: str
    similarity: float
    is_dropped: bool  # the first, for which the other stands; else both are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The slices of one series in order, kept ones framed."""

    source: str  # a PNG as data URI
    series: str  # how its key begins
    modality: str
    site: str
    slices: int
    kept: int
    first: int  # number of the first and of the last slice that is shown, from 1
    last: int
    kept_slices: str  # their numbers


def draw(
    images: ShownImages, table: pa.Table, accounted: Accounted, pool: Pool, thinned: Thinned
) -> tuple[list[Pair], list[Strip]]:
    """Return the pairs nearest the threshold and the longest series.

    Args:
        images: The images of the archive.
        table: Their rows of images.parquet.
        accounted: Of the reduction.
        pool: What was chosen from.
        thinned: What was chosen.

    Raises:
        ArtifactError: A pixel shard is missing or damaged.
    """
    pairs: list[Pair] = []
    if accounted.coverage is not None:
        near = covering.nearest_threshold(accounted.coverage, pool, thinned, accounted.stage)
        pairs = [_pair(images, table, one) for side in near for one in side]
    series = covering.longest_series(table, accounted.inside)
    return pairs, [_strip(images, table, rows, accounted.kept[rows]) for rows in series]


def sheet(slices: Sequence[NDArray[np.uint8]], kept: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return slices row by row, dropped ones dimmed and kept ones in a frame.

    Args:
        slices: Grey images (H, W) of any size.
        kept: Whether each is kept, shape (N,).
    """
    step = TILE + 2 * FRAME + GAP
    across = min(ACROSS, len(slices))
    shape = (-(-len(slices) // ACROSS) * step - GAP, across * step - GAP)
    drawn = np.full(shape, _PAGE, dtype=np.uint8)
    for n, (image, is_kept) in enumerate(zip(slices, kept, strict=True)):
        y, x = (step * k for k in divmod(n, ACROSS))
        drawn[y : y + step - GAP, x : x + step - GAP] = _FRAME if is_kept else _PAGE
        inside = np.zeros((TILE, TILE), dtype=np.uint8)
        small = np.asarray(_resized(image, TILE))
        top, left = ((TILE - side) // 2 for side in small.shape)
        bright = small if is_kept else np.rint(small * DIM).astype(np.uint8)
        inside[top : top + small.shape[0], left : left + small.shape[1]] = bright
        drawn[y + FRAME : y + FRAME + TILE, x + FRAME : x + FRAME + TILE] = inside
    return drawn


def _pair(images: ShownImages, table: pa.Table, near: Nearby) -> Pair:
    source, other = (
        pictures.data_uri(_resized(images[row].image, SIDE)) for row in (near.row, near.other)
    )
    name, other_name = (table["image_id"][row].as_py() for row in (near.row, near.other))
    return Pair(
        source=source,
        other_source=other,
        image=name[:_KEY_LETTERS],
        other_image=other_name[:_KEY_LETTERS],
        similarity=near.similarity,
        is_dropped=near.is_dropped,
    )


def _strip(images: ShownImages, table: pa.Table, rows: Rows, kept: NDArray[np.bool_]) -> Strip:
    """Return the strip of a series; of a very long one its middle."""
    first = max(0, (len(rows) - MOST_SLICES) // 2)
    shown, is_kept = rows[first : first + MOST_SLICES], kept[first : first + MOST_SLICES]
    row = table.slice(int(rows[0]), 1).to_pylist()[0]
    return Strip(
        source=pictures.data_uri(
            Image.fromarray(sheet([one.image for one in images.of(shown)], is_kept))
        ),
        series=row["series_key"][:_KEY_LETTERS],
        modality=row["modality"] or UNKNOWN,
        site=row["site"] or UNKNOWN,
        slices=len(rows),
        kept=int(kept.sum()),
        first=first + 1,
        last=first + len(shown),
        kept_slices=_runs(np.flatnonzero(kept) + 1),
    )


def _runs(numbers: NDArray[Any]) -> str:
    """Return whole numbers in words, runs as ranges: 1, 4-6, 9."""
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    texts = (f"{p[0]}" if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts if len(p))
    return ", ".join(texts)


def _resized(image: NDArray[np.uint8], side: int) -> Image.Image:
    """Return a picture whose longer side is ``side``; a smaller image shows its pixels."""
    rows, columns = image.shape
    scale = side / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return Image.fromarray(image).resize(size, how)
