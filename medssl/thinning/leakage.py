"""Images of the pool that show what a model will be evaluated on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from medssl.artifacts import archive, selection
from medssl.artifacts.archive import ArchiveInfo
from medssl.config.reduce import ReduceSettings
from medssl.foundation.errors import UsageError
from medssl.thinning.metrics import Metric
from medssl.thinning.nearest import Nearest

PATIENT, IMAGE = "patient", "image"


@dataclass(frozen=True)
class Against:
    """An archive to be evaluated on."""

    info: ArchiveInfo
    table: pa.Table  # rows of its images.parquet
    offset: int  # number of its first image among all that are described
    key_id: str  # of the pool: pseudonyms of another key cannot be compared

    @property
    def has_same_key(self) -> bool:
        """Whether its patients can be told among those of the pool."""
        return self.info.key_id == self.key_id

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say about the comparison."""
        if self.has_same_key:
            return ()
        return (
            "against: overlap of patients unknown, as the archives were made with different keys; "
            "only images are compared",
        )


def archives(settings: ReduceSettings, table: pa.Table) -> list[Against]:
    """Return the archives to be evaluated on.

    Raises:
        UsageError: One of them is the archive itself.
        ArtifactError: One of them is missing or unfinished.
    """
    own, offset, others = archive.read_info(settings.archive), table.num_rows, []
    for folder in settings.against:
        info = archive.read_info(folder)
        if info.hash == own.hash:
            raise UsageError(
                "the archive would be compared with itself",
                where=str(folder),
                fix="give another archive to --against",
            )
        others.append(Against(info, archive.read_images(folder), offset, own.key_id))
        offset += info.images
    return others


def find(
    table: pa.Table, others: Sequence[Against], metric: Metric | None
) -> Mapping[int, dict[str, object]]:
    """Return the images of a pool that must not be pretrained on, by row, with the reason.

    An image is left out where its patient is in another archive, or where an image there is so
    similar that it probably is the same one.

    Args:
        table: The pool, rows of images.parquet.
        others: Archives to be evaluated on.
        metric: Its threshold says what probably is the same image; None: patients alone are
            compared.
    """
    found: dict[int, dict[str, object]] = {}
    for other in others:
        for row, place in _patients(table, other):
            found.setdefault(row, {**_pair(table, row, other, place), "reason": PATIENT})
    if metric is None:
        return dict(sorted(found.items()))
    for other in others:
        nearest = _images(table, other, metric)
        for row in np.flatnonzero(nearest.row >= 0).tolist():
            place = int(nearest.row[row]) - other.offset
            how = {
                "reason": IMAGE,
                "similarity": float(nearest.similarity[row]),
                "metric": metric.name,
                "tau": metric.tau,
            }
            found.setdefault(row, {**_pair(table, row, other, place), **how})
    return dict(sorted(found.items()))


def to_table(found: Mapping[int, dict[str, object]]) -> pa.Table:
    """Return them as rows of `leaks.parquet`."""
    return pa.Table.from_pylist(list(found.values()), schema=selection.LEAKS)


def summary(found: Mapping[int, dict[str, object]]) -> str:
    """Return in a few words what was found."""
    reasons = [row["reason"] for row in found.values()]
    return (
        f"{reasons.count(PATIENT)} images show patients of the archives to be evaluated on, "
        f"{reasons.count(IMAGE)} others are probably images there"
    )


def _patients(table: pa.Table, other: Against) -> list[tuple[int, int]]:
    """Return the images of patients of another archive, each with an image there."""
    if not other.has_same_key:
        return []
    there: dict[str, int] = {}
    for place, key in enumerate(other.table["patient_key"].to_pylist()):
        there.setdefault(key, place)
    keys = table["patient_key"].to_pylist()
    return [(row, there[key]) for row, key in enumerate(keys) if key in there]


def _images(table: pa.Table, other: Against, metric: Metric) -> Nearest:
    nearest = Nearest(metric, floor=metric.tau)
    rows, there = np.arange(table.num_rows), other.offset + np.arange(other.table.num_rows)
    blank = metric.strategy.is_blank(metric.descriptors)
    nearest.offer(rows[~blank[rows]], there[~blank[there]])
    return nearest


def _pair(table: pa.Table, row: int, other: Against, place: int) -> dict[str, object]:
    return {
        "image_id": table["image_id"][row].as_py(),
        "against": other.info.hash,
        "other_image_id": other.table["image_id"][place].as_py(),
    }
