"""The same image under two patients of a cohort: its pixels, or what a hash sees of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl import reduction
from medssl.artifacts import archive
from medssl.artifacts.aliases import ALIAS, Alias
from medssl.config.reduce import Shown
from medssl.data.shown import ShownImages
from medssl.evaluation.controls.duplicates import Twins
from medssl.foundation import plugins
from medssl.foundation.reporting import Reporter
from medssl.thinning import strangers
from medssl.thinning.metrics import Metric
from medssl.thinning.nearest import Nearest

BITS = 256  # radiographs of two children may share all of 64


def find(
    folder: Path, images: pa.Table, owners: list[str], reporter: Reporter, *, near: bool = True
) -> tuple[Twins, ...]:
    """Return the pairs of patients who share an image, those with the same pixels first.

    Args:
        folder: Archive folder.
        images: Rows of `images.parquet` to compare.
        owners: Who each of them belongs to; several ids of one patient are one owner.
        reporter: Shown the progress.
        near: Whether to look for images that look the same besides those that are.

    Raises:
        ArtifactError: A pixel shard is missing or damaged.
    """
    whose = np.unique(np.array(owners, dtype=str), return_inverse=True)[1].astype(np.int64)
    named = images.set_column(
        images.schema.get_field_index("patient_key"), "patient_key", pa.array(owners, pa.string())
    )
    rows = np.arange(images.num_rows)
    found = strangers.find(_exact(images), rows, whose, named)
    if near:
        known = {_pair(row) for row in found if row.kind == ALIAS}
        alike = strangers.find(_near(folder, images, reporter), rows, whose, named)
        found += [row for row in alike if _pair(row) not in known]
    return tuple(_twins(row) for row in found)


def elsewhere(
    here: tuple[Path, pa.Table], there: tuple[Path, pa.Table], reporter: Reporter
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which images of an archive another archive has too.

    Args:
        here: Archive folder, and rows of its `images.parquet`, N of them.
        there: The other.
        reporter: Shown the progress.

    Returns:
        Those with the same pixels, and those that look the same, (N,) each. Blank images look like
        none, and are none where several patients of an archive share their pixels.

    Raises:
        ArtifactError: A pixel shard is missing or damaged.
    """
    n = here[1].num_rows
    both = [_near(*one, reporter) for one in (here, there)]
    metric = replace(both[0], descriptors=np.concatenate([one.descriptors for one in both]))
    blank = metric.strategy.is_blank(metric.descriptors)
    nearest = Nearest(metric, floor=metric.tau)
    rows = np.arange(len(blank))
    nearest.offer(rows[:n][~blank[:n]], rows[n:][~blank[n:]])
    own, others = (table["pixel_sha256"].to_numpy() for _, table in (here, there))
    empty = blank[:n] & np.isin(own, [*_shared(here[1]), *_shared(there[1])])
    return np.asarray(np.isin(own, others) & ~empty), np.asarray(nearest.row[:n] >= 0)


def _shared(images: pa.Table) -> list[str]:
    """Return the digests of pixels that several patients have."""
    pairs = (
        images.select(["pixel_sha256", "patient_key"])
        .group_by(["pixel_sha256", "patient_key"])
        .aggregate([])
    )
    names, counts = np.unique(pairs["pixel_sha256"].to_numpy(), return_counts=True)
    return [str(name) for name in names[counts > 1]]


def _exact(images: pa.Table) -> Metric:
    strategy = plugins.load(reduction, "exact")
    config = strategy.Config()
    return _metric("exact", config, strategy.describe(images["pixel_sha256"].to_pylist(), config))


def _near(folder: Path, images: pa.Table, reporter: Reporter) -> Metric:
    strategy, how = plugins.load(reduction, "dhash"), Shown()
    config = strategy.Config(bits=BITS)
    shown = ShownImages(folder, images, how.window_hu, mask=how.mask)
    numbers = reporter.track(range(len(shown)), task="compare images", unit="images")
    return _metric("dhash", config, strategy.describe(shown.of(numbers), config))


def _metric(name: str, config: Any, descriptors: NDArray[Any]) -> Metric:  # noqa: ANN401 - its own
    strategy = plugins.load(reduction, name)
    return Metric(
        name=name, strategy=strategy, config=config, descriptors=descriptors, tau=strategy.SAME
    )


def _pair(row: Alias) -> frozenset[str]:
    return frozenset({row.patient_key, row.other_patient_key})


def _twins(row: Alias) -> Twins:
    return Twins(
        image_id=row.image_id,
        other_image_id=row.other_image_id,
        patient_key=row.patient_key,
        other_patient_key=row.other_patient_key,
        n_pairs=row.n_pairs,
        similarity=row.similarity,
        metric=row.metric,
        kind=row.kind,
    )


def images_of(folder: Path, table: pa.Table, *, whole_series: bool) -> tuple[pa.Table, list[str]]:
    """Return every image of a cohort, and who each belongs to.

    Args:
        folder: Archive folder.
        table: Rows of the cohort, which are images, or series.
        whole_series: Which of the two.
    """
    if not whole_series:
        return table, table["patient_key"].to_pylist()
    owner = dict(zip(table["series_key"].to_pylist(), table["patient_key"].to_pylist(),
                     strict=True))  # fmt: skip
    every = archive.read_images(folder)
    held = every.filter(pa.array([key in owner for key in every["series_key"].to_pylist()]))
    return held, [owner[key] for key in held["series_key"].to_pylist()]
