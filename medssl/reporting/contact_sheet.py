"""Small pictures of an archive's series, for a report that was asked to show pixels.

Pixels can tell who a patient is: a page with these is to be handled like the images themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from medssl.artifacts import pixels
from medssl.reporting import pictures
from medssl.reporting.pictures import STRETCH

MOST = 120  # series on a sheet
SIDE = 160  # longest side of a picture, px
THINNEST = 24  # shortest, px
WINDOW_HU = (-700.0, 500.0)  # shows lung, soft tissue and bone at once
FACES = frozenset({"BRAIN", "EAR", "EYE", "FACE", "HEAD", "HEADNECK", "JAW", "MANDIBLE", "MAXILLA",
                   "NOSE", "ORBIT", "SINUS", "SKULL"})  # fmt: skip
_VOLUMES = frozenset({"CT", "MR", "PT"})  # from which a face can be rendered
_COLUMNS = [
    "series_key", "modality", "site", "body_part", "spacing", "rows", "columns", "shard", "row",
    "unit", "slope", "intercept", "slice_index",
]  # fmt: skip
_KEY_LETTERS = 8
FACE = "a face can be reconstructed"
UNKNOWN = "not stated"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """The middle image of one series, and what stands below it."""

    source: str  # a PNG as data URI
    modality: str
    site: str
    size: str  # rows x columns as stored
    spacing: str
    slices: int
    series: str  # how its key begins
    warning: str  # where a face can be rendered from the series; empty for all others


def draw(archive: Path, images: pa.Table) -> list[Thumbnail]:
    """Return pictures of some series, drawn evenly over modalities and sites.

    Args:
        archive: Archive folder.
        images: Rows of its `images.parquet`.

    Raises:
        ArtifactError: A pixel shard is missing or damaged.
    """
    return [_thumbnail(archive, row) for row in choose(images)]


def choose(images: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of the middle images of at most `MOST` series, with their number of slices.

    Modalities and sites take turns until the sheet is full; within one, keys decide, which say
    nothing of a series. The order of the table does not matter.

    Args:
        images: Rows of `images.parquet`.
    """
    counted = images.group_by("series_key").aggregate(
        [("image_id", "count"), ("modality", "min"), ("site", "min")]
    )
    slices: dict[str, int] = {}
    groups: dict[tuple[str, str], list[str]] = {}
    for row in counted.to_pylist():
        slices[row["series_key"]] = row["image_id_count"]
        group = (row["modality_min"] or UNKNOWN, row["site_min"] or UNKNOWN)
        groups.setdefault(group, []).append(row["series_key"])
    turns = sorted(
        (turn, group, key)
        for group, keys in groups.items()
        for turn, key in enumerate(sorted(keys))
    )
    keys = [key for _, _, key in sorted(turns[:MOST], key=lambda one: one[1:])]
    is_shown = pc.is_in(images["series_key"], value_set=pa.array(keys, pa.string()))
    shown = images.select(_COLUMNS).filter(is_shown)
    middle = {
        row["series_key"]: row
        for row in shown.to_pylist()
        if row["slice_index"] == slices[row["series_key"]] // 2
    }
    return [middle[key] | {"slices": slices[key]} for key in keys]


def _thumbnail(archive: Path, row: Row) -> Thumbnail:
    spacing = row["spacing"] or [None, None, None]
    return Thumbnail(
        source=pictures.data_uri(_resized(eight_bit(archive, row), spacing)),
        modality=row["modality"] or UNKNOWN,
        site=row["site"] or UNKNOWN,
        size=f"{row['rows']} × {row['columns']} px",
        spacing=" × ".join(f"{mm:.3g}" for mm in spacing if mm is not None),
        slices=row["slices"],
        series=row["series_key"][:_KEY_LETTERS],
        warning=_warning(row),
    )


def _warning(row: Row) -> str:
    if row["modality"] not in _VOLUMES or row["slices"] == 1:
        return ""
    if row["body_part"] in FACES:
        return FACE
    return f"if a head: {FACE}" if row["body_part"] in {None, "other"} else ""


def eight_bit(archive: Path, row: Row) -> NDArray[np.uint8]:
    """Return the valid area of an image as 8 bits, shape (rows, columns) or (rows, columns, 3).

    CT is windowed, 8-bit sources stay as they are, all else is stretched between percentiles.

    Args:
        archive: Archive folder.
        row: Of `images.parquet`.
    """
    shard = pixels.read(archive, row["shard"])
    image = np.asarray(shard[row["row"], :, : row["rows"], : row["columns"]])
    image = np.moveaxis(image, 0, 2) if len(image) == 3 else image[0]
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    values = image.astype(np.float32)
    low, high = np.percentile(values, STRETCH)
    if row["unit"] == "HU":
        values = values * row["slope"] + row["intercept"]
        low, high = WINDOW_HU
    return pictures.grey(values, low, high)


def _resized(image: NDArray[np.uint8], spacing: Sequence[float | None]) -> Image.Image:
    """Return a picture with the proportions of the patient, its longer side at most `SIDE`.

    A small image gets larger by whole pixels, and a strip is no thinner than `THINNEST`.
    """
    rows, columns = image.shape[:2]
    tall, wide = (rows * (spacing[0] or 1.0), columns * (spacing[1] or 1.0))
    times = max(1, SIDE // max(rows, columns))
    longer = min(SIDE, times * max(rows, columns))
    size = [max(THINNEST, round(longer * side / max(tall, wide))) for side in (wide, tall)]
    is_larger = times > 1 or size[0] > columns or size[1] > rows
    how = Image.Resampling.NEAREST if is_larger else Image.Resampling.BICUBIC
    return Image.fromarray(image).resize((size[0], size[1]), how)
