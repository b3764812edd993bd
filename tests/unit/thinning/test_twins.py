"""Images that another archive has too."""

import numpy as np
import pyarrow as pa
import pytest

from medssl.artifacts import archive
from medssl.foundation.reporting import Silent
from medssl.thinning import twins


@pytest.fixture
def images(tiny_archive):
    return archive.read_images(tiny_archive)


def _renamed(images, digests):
    place = images.schema.get_field_index("pixel_sha256")
    return images.set_column(place, "pixel_sha256", pa.array(digests, pa.string()))


def test_an_archive_has_all_of_its_own_images(tiny_archive, images):
    named = _renamed(images, [f"{n:064x}" for n in range(len(images))])
    same, alike = twins.elsewhere((tiny_archive, named), (tiny_archive, named), Silent())
    assert same.all()
    assert alike.sum() > len(images) / 2  # noise has hardly anything for a hash


def test_what_looks_the_same_is_told_from_the_same_pixels(tiny_archive, images):
    other = _renamed(images, [f"{n + 1000:064x}" for n in range(len(images))])
    own = _renamed(images, [f"{n:064x}" for n in range(len(images))])
    same, alike = twins.elsewhere((tiny_archive, own), (tiny_archive, other), Silent())
    assert not same.any()
    assert alike.any()


def test_images_of_other_patients_are_none(tiny_archive, images):
    half = np.arange(16) < 8
    rows = _renamed(images.slice(0, 16), [f"{n:064x}" for n in range(16)])
    here, there = (rows.filter(pa.array(part)) for part in (half, ~half))
    same, alike = twins.elsewhere((tiny_archive, here), (tiny_archive, there), Silent())
    assert not same.any()
    assert not alike.any()
