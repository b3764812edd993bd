"""The patients pretraining trains on, those it only watches, and fixed draws of their images."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medssl.artifacts import archive, run_folder, selection
from medssl.config.pretrain import PretrainSettings
from medssl.data import volumes
from medssl.foundation import seeding

SMOKE_BATCH, SMOKE_STEPS = 8, 2


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The images of an archive by what they are for; no patient is in both."""

    train: pa.Table  # rows of images.parquet, in archive order
    validation: pa.Table

    @property
    def n_patients(self) -> int:
        """Patients that are trained on."""
        return len(set(self.train["patient_key"].to_pylist()))

    @property
    def n_validation_patients(self) -> int:
        """Patients that are watched only."""
        return len(set(self.validation["patient_key"].to_pylist()))


def read(settings: PretrainSettings) -> tuple[Parts, int]:
    """Return the images to train on and to watch, and how many there are to train on in all.

    The patients to watch are drawn from the whole archive, and all their images are watched: runs
    on different selections are measured on the same images, runs in 2D and 3D on the same
    patients, as far as these have volumes. In 3D the images are volumes, and a selection keeps
    those series of which it keeps a slice.

    Raises:
        ArtifactError: Archive or selection are missing or do not fit.
        DataError: Volumes are asked for and there are none.
    """
    images = archive.read_images(settings.archive)
    everyone = images["patient_key"].to_pylist()
    of, kept = "image_id", images
    if settings.selection is not None:
        run_folder.require_finished(settings.selection, "reduce")
        selection.require_archive(settings.selection, archive.read_info(settings.archive).hash)
        ids = selection.read_kept(settings.selection)["image_id"].combine_chunks()
        kept = images.filter(pc.is_in(images["image_id"], ids))
    if settings.spatial_dims == 3:
        of, images = "series_key", volumes.table(images)
    parts = split(images, float(settings.validation), settings.seed, everyone)
    train = parts.train.filter(pc.is_in(parts.train[of], kept[of].combine_chunks()))
    n_whole = parts.train.num_rows
    if settings.smoke:
        most = SMOKE_BATCH * SMOKE_STEPS
        n_whole, count = min(n_whole, most), min(train.num_rows, most)
        train = train.take(np.linspace(0, train.num_rows - 1, count).astype(int))
    return Parts(train=train, validation=parts.validation), n_whole


def split(
    images: pa.Table, share: float, seed: int, everyone: Iterable[str] | None = None
) -> Parts:
    """Return images of an archive in two parts.

    The draw depends on the patients of the archive and the seed alone.

    Args:
        images: Rows of images.parquet, or of the volumes among them.
        share: Of the patients to hold out, see `watched`.
        seed: Of the run.
        everyone: Patient keys of the archive; None: those of ``images``.
    """
    keys = images["patient_key"].to_pylist()
    out = watched(keys if everyone is None else everyone, share, seed)
    held = np.array([key in out for key in keys], dtype=bool)
    return Parts(train=images.filter(pa.array(~held)), validation=images.filter(pa.array(held)))


def watched(patients: Iterable[str], share: float, seed: int) -> set[str]:
    """Return the patients to hold out: those whose digests of seed and key are lowest.

    A digest depends on no other patient, so an archive that grows keeps most of them.

    Args:
        patients: Keys of all patients of an archive, in any order and as often as they occur.
        share: Of the patients, rounded to at least one; 0 for none.
        seed: Of the run.
    """
    known = set(patients)
    count = max(1, round(share * len(known))) if share else 0
    return set(sorted(known, key=lambda key: (seeding.derive(seed, "patient", key), key))[:count])


def draw(image_ids: Iterable[str], most: int, seed: int) -> list[str]:
    """Return at most ``most`` images, the same from any listing order.

    A draw from some of the images keeps what the draw from all of them held of them, so that
    images needed for several purposes are mostly the same ones.
    """
    return sorted(image_ids, key=lambda name: (seeding.derive(seed, "watched", name), name))[:most]
