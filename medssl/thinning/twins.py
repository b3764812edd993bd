"""The same image under two patients of a cohort: its pixels, or what a hash sees of it."""

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
