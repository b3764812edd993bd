"""The patients pretraining watches and never trains on, and fixed draws of their images."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from medssl.foundation import seeding


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


def split(images: pa.Table, share: float, seed: int) -> Parts:
    """Return the images of an archive in two parts.

    The draw depends on the patients and the seed alone: two runs on other selections of one
    archive watch the same patients.

    Args:
        images: All rows of images.parquet.
        share: Of the patients to hold out, rounded to at least one; 0 for none.
        seed: Of the run.
    """
    keys = images["patient_key"].to_pylist()
    patients = sorted(set(keys))
    count = max(1, round(share * len(patients))) if share else 0
    chosen = seeding.rng(seed, "validation").permutation(len(patients))[:count]
    out = {patients[k] for k in chosen}
    watched = np.array([key in out for key in keys], dtype=bool)
    return Parts(
        train=images.filter(pa.array(~watched)), validation=images.filter(pa.array(watched))
    )


def draw(image_ids: Iterable[str], most: int, seed: int) -> list[str]:
    """Return at most ``most`` images, the same from any listing order.

    A draw from some of the images keeps what the draw from all of them held of them, so that
    images needed for several purposes are mostly the same ones.
    """
    return sorted(image_ids, key=lambda name: (seeding.derive(seed, "watched", name), name))[:most]
