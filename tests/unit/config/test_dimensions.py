"""Images, volumes or pooled slices: what follows from the settings and the pretrained encoder."""

import pytest

from medssl.config import finetune
from medssl.config.finetune import Facts, FinetuneSettings
from medssl.foundation.errors import UsageError


def settings(**given):
    return FinetuneSettings(archive="somewhere", init_from="none", **given)


@pytest.mark.parametrize(
    ("asked", "known", "dims"),
    [("auto", None, 2), ("auto", 2, 2), ("auto", 3, 3), (3, None, 3), (3, 2, 3), (2, 2, 2)],
)
def test_dimensions_are_as_asked_for_or_as_pretrained(asked, known, dims):
    source = {"spatial_dims": known} if known else {}
    assert finetune.resolve_dims(settings(spatial_dims=asked), source)[0] == dims


@pytest.mark.parametrize(
    ("given", "known", "message"),
    [
        ({"spatial_dims": 2}, 3, "trained in 3D and the cohort is to be read in 2D"),
        ({"pooling": "mean"}, 3, "no slices to pool"),
        ({"pooling": "mean", "spatial_dims": 3}, 2, "no slices to pool"),
        ({"depth": 16}, 2, "images have no depth"),
    ],
)
def test_what_contradicts_itself_is_refused(given, known, message):
    with pytest.raises(UsageError, match=message):
        finetune.resolve_dims(settings(**given), {"spatial_dims": known})


def resolved(source, **given):
    facts = Facts(n_train=100, fewest=30, side=200, depth_share=0.5, source=source)
    return finetune.resolve(settings(**given), facts)


def test_weights_of_images_take_the_depth_of_the_volumes():
    flat = {"encoder": "resnet18", "encoder_options": {}, "image_size": 64, "depth": None,
            "spatial_dims": 2, "intensity": {}}  # fmt: skip
    found, reasons = resolved(flat, spatial_dims=3)
    assert found.shape == (32, 64, 64)
    assert "depth 32 (auto: 0.5 as deep as wide)" in reasons
    found, reasons = resolved({**flat, "spatial_dims": 3, "depth": 48})
    assert found.shape == (48, 64, 64)
    assert "depth 48 (auto: as pretrained)" in reasons


@pytest.mark.parametrize(("given", "size"), [({}, 25), ({"pooling": "mean"}, 8)])
def test_a_step_takes_fewer_series_than_images(given, size):
    found, _ = resolved({}, **given)
    assert found.batch_size == size
