"""What a pretraining says of its sampling before it runs."""

import pytest

from medssl.artifacts import archive
from medssl.config.pretrain import PretrainSettings
from medssl.training import showing


@pytest.fixture
def settings(tiny_archive):
    known = {"archive": tiny_archive, "method": "simclr", "encoder": "resnet18"}
    return PretrainSettings(**known, batch_size=6, image_size=32)


def told(settings, table=None, **changes):
    rows = archive.read_images(settings.archive) if table is None else table
    return showing.foretold(settings.model_copy(update=changes), rows)


def test_where_every_image_is_shown_alone_there_is_nothing_to_tell(settings):
    assert told(settings) == ()


def test_what_one_image_per_series_leaves_out(settings):
    """Of 12 series with two images each, batches of 6 show all; of one with more, not all."""
    for one_per in ("series", "patient"):
        assert told(settings, one_per=one_per) == (
            f"one_per {one_per}: 4 steps an epoch show 24 of 24 images; large groups take turns",
        )
    rows = archive.read_images(settings.archive)
    fewer = rows.filter([k % 2 == 0 or k < 12 for k in range(24)])  # 6 series of 2, 6 of 1
    assert told(settings, fewer, one_per="series") == (
        "one_per series: 3 steps an epoch show 18 of 18 images; large groups take turns",
    )
    assert told(settings, fewer, one_per="series", batch_size=12)[0].startswith(
        "one_per series: 1 step an epoch shows 12 of 18 images"
    )


def test_groups_that_must_be_looked_for_are_told_of_later(settings):
    assert told(settings, one_per="cluster") == ()


def test_how_many_have_a_positive_of_another_image(settings):
    """Half of the patients lose their second image, and with it their partner."""
    assert told(settings, positives="patient") == (
        "positives patient: 100% of the images have another one",
    )
    rows = archive.read_images(settings.archive)
    fewer = rows.filter([k % 2 == 0 or k < 12 for k in range(24)])
    assert told(settings, fewer, positives="patient") == (
        "positives patient: 67% of the images have another one",
    )


def test_in_3d_they_are_of_series(settings):
    assert settings.unit == "image"
    assert told(settings, positives="patient", spatial_dims=3) == (
        "positives patient: 100% of the series have another one",
    )
