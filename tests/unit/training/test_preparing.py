"""What a pretraining says before it begins."""

import pytest

from medssl.config.pretrain import PretrainSettings
from medssl.foundation.errors import UsageError
from medssl.stages import pretrain
from medssl.training import preparing


def said(folder, **given):
    settings = PretrainSettings(archive=folder, **{"validation": 0.0, "batch_size": 8} | given)
    settings = pretrain.plan(settings, device="cpu").settings
    encoder, _, _ = preparing.make_encoder(settings)
    return preparing.masked(settings, encoder)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"method": "spark", "image_size": 64}, "2 of 4 cells of a view are hidden (2x2 cells of "
         "32x32 px): few to learn from. image_size 224 would give 7x7"),
        ({"method": "spark", "image_size": 224}, "29 of 49 cells of a view are hidden (7x7 cells"
         " of 32x32 px)"),
        ({"method": "mae", "image_size": 64}, "48 of 64 cells of a view are hidden (8x8 cells of "
         "8x8 px)"),
        ({"method": "mae", "image_size": 32, "encoder_options": {"patch_size": 16}}, "3 of 4 cells"
         " of a view are hidden (2x2 cells of 16x16 px): few to learn from. image_size 112"),
    ],
)  # fmt: skip
def test_cells_are_counted_and_few_are_said_to_be(tiny_archive, given, expected):
    (note,) = said(tiny_archive, **given)
    assert note.startswith(f"{given['method']}: {expected}")
    assert ("few to learn from" in note) == ("few" in expected)


def test_in_3d_the_depth_is_named_too(tiny_archive):
    given = {"method": "spark", "spatial_dims": 3, "image_size": 64, "depth": 32, "batch_size": 2}
    (note,) = said(tiny_archive, **given)
    assert note.startswith("spark: 2 of 4 cells of a view are hidden (1x2x2 cells of 32x32x32 px)")
    assert "image_size 128 and depth 128 would give 4x4x4" in note


def test_methods_that_mask_nothing_say_nothing(tiny_archive):
    assert said(tiny_archive, method="byol", image_size=32) == ()


def test_the_plan_says_it_and_refuses_what_does_not_divide(tiny_archive):
    given = {"archive": tiny_archive, "method": "spark", "validation": 0.0}
    planned = pretrain.plan(PretrainSettings(**given, image_size=64), device="cpu")
    assert any("2 of 4 cells of a view are hidden" in note for note in planned.notes)
    with pytest.raises(UsageError, match="no multiple of the encoder's stride"):
        pretrain.plan(PretrainSettings(**given, image_size=80), device="cpu")


def test_masking_notes_draw_nothing(tiny_archive):
    import torch

    torch.manual_seed(3)
    settings = PretrainSettings(archive=tiny_archive, method="spark", image_size=64, depth=None)
    settings = settings.model_copy(update={"encoder": "resnet18"})
    encoder, _, _ = preparing.make_encoder(settings)
    state = torch.get_rng_state()
    preparing.masked(settings, encoder)
    assert torch.equal(torch.get_rng_state(), state)
