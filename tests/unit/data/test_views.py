"""Views: what goes in comes out where it should, nothing from outside the image, replayable."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.config.loading import read_preset
from medssl.config.training import Intensity, Views
from medssl.data import views

STILL = Views(
    scale=(1.0, 1.0),
    ratio=(1.0, 1.0),
    rotation_deg=0.0,
    contrast=0.0,
    gamma=0.0,
    noise=0.0,
    blur=0.0,
)


def batch_of(image, rows=None, columns=None):
    n, _, height, width = image.shape
    extent = torch.tensor([[float(rows or height), float(columns or width)]] * n)
    return {"image": image, "extent": extent}


def ramp(n=1, side=32):
    return torch.arange(side * side, dtype=torch.float32).view(1, 1, side, side).repeat(n, 1, 1, 1)


def test_a_view_without_randomness_is_the_image():
    image = ramp(side=32)
    view = views.random_view(STILL, 32)
    view.set_random_state(0)
    assert torch.allclose(view(batch_of(image))["image"], image, atol=0.02)
    assert torch.allclose(views.WholeImage(32)(batch_of(image))["image"], image, atol=0.02)


def test_halving_the_size_averages_pairs_of_pixels():
    image = ramp(side=32)
    small = views.WholeImage(16)(batch_of(image))["image"]
    assert torch.allclose(small, torch.nn.functional.avg_pool2d(image, 2), atol=1e-3)


def test_masking_sets_the_share_of_pixels_to_zero_in_some_images():
    mask = views.RandMask(0.3, 0.25)
    mask.set_random_state(1)
    image = torch.ones(400, 2, 16, 16)
    shown = mask(batch_of(image))["image"]
    holes = (shown == 0).float().mean(dim=(1, 2, 3))
    masked = holes > 0
    assert 0.2 < masked.float().mean() < 0.4
    assert holes[masked].mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(shown[:, 0], shown[:, 1])  # all channels of a pixel together
    assert set(shown.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("sigma", "radius"), [(1.2, 3), (2.0, 4)])
def test_the_blur_kernel_reaches_two_sigma(sigma, radius):
    """With the widest blur of arXiv:2507.12269 that is its kernel of nine pixels."""
    blur = views.RandBlur(1.0, (sigma, sigma))
    blur.set_random_state(0)
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1.0
    row = blur(batch_of(point))["image"][0, 0].sum(dim=0)
    assert row.nonzero().ravel().tolist() == list(range(10 - radius, 10 + radius + 1))
    assert row.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (row[11] / row[10]).item() == pytest.approx(np.exp(-0.5 / sigma**2), rel=1e-4)


def test_a_blur_wider_than_the_view_is_cut_to_it():
    blur = views.RandBlur(1.0, (20.0, 20.0))
    blur.set_random_state(0)
    image = ramp(side=16)
    shown = blur(batch_of(image))["image"]
    assert shown.shape == image.shape
    assert shown.std() < 0.5 * image.std()


@pytest.mark.parametrize("seed", range(5))
def test_crops_of_the_preset_are_as_large_and_as_square_as_those_published(seed, monkeypatch):
    """A crop that does not fit is given up there: 0.95 of the area is left at least."""
    shown = []
    monkeypatch.setattr(views, "_resample", lambda *given: shown.append(given[2]))
    recipe = {**read_preset("finetune", "bpd2025")["views"], "rotation_deg": 0}
    crop = views.RandCrop(Views(**recipe), 32)
    crop.set_random_state(seed)
    crop(batch_of(ramp(n=200, side=40)))
    rows, columns = shown[0].abs().unbind(dim=1)
    area, ratio = rows * columns / 40**2, columns / rows
    assert 0.949 < area.min() < area.max() < 1.001
    assert 0.949 < ratio.min() < ratio.max() < 1.054


def test_a_flip_mirrors_left_and_right():
    image = ramp(side=32)
    view = views.random_view(STILL.model_copy(update={"flip": 1.0}), 32)
    view.set_random_state(0)
    assert torch.allclose(view(batch_of(image))["image"], image.flip(3), atol=0.02)


def test_a_quarter_turn_is_a_quarter_turn():
    image = ramp(side=32)
    centre = torch.tensor([[16.0, 16.0]])
    angle = torch.tensor([np.pi / 2], dtype=torch.float32)
    turned = views._resample(batch_of(image), centre, 2 * centre, angle, 32)
    expected = image.rot90(1, (2, 3))
    assert torch.allclose(turned, expected, atol=1e-2) or torch.allclose(
        turned, image.rot90(-1, (2, 3)), atol=1e-2
    )


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31 - 1),
    rows=st.integers(3, 40),
    columns=st.integers(3, 40),
    rotation=st.floats(0, 180),
    size=st.sampled_from([8, 24, 64]),
)
def test_crops_never_show_the_padding(seed, rows, columns, rotation, size):
    image = torch.full((4, 1, 40, 40), -1000.0)
    image[:, :, :rows, :columns] = 1.0
    crop = views.RandCrop(Views(scale=(0.2, 1.0), rotation_deg=rotation), size)
    crop.set_random_state(seed)
    assert crop(batch_of(image, rows, columns))["image"].min() > 0.999
    assert views.WholeImage(size)(batch_of(image, rows, columns))["image"].min() > 0.999


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31 - 1), rotation=st.floats(0, 180))
def test_crops_stay_inside_the_valid_area(seed, rotation):
    """Seen on a ramp that goes on beyond it: without a border to repeat, no value is repeated."""
    image = torch.arange(80.0).repeat(80, 1)[None, None].repeat(4, 1, 1, 1)
    crop = views.RandCrop(Views(scale=(0.2, 0.9), rotation_deg=rotation), 16)
    crop.set_random_state(seed)
    extent = torch.tensor([[60.0, 50.0]] * 4)
    inside = crop({"image": image, "extent": extent})["image"]
    assert inside.min() >= 0.49
    assert inside.max() <= 49.01
    crop.set_random_state(seed)
    seen = crop({"image": image[:, :, :60, :50].contiguous(), "extent": extent})["image"]
    assert torch.allclose(seen, inside, atol=0.02)


def test_the_same_state_gives_the_same_view_and_another_one_does_not():
    image = torch.rand(6, 1, 40, 40)
    view = views.random_view(Views(), 24)

    def once(seed):
        view.set_random_state(seed)
        return view(batch_of(image))["image"]

    assert torch.equal(once(5), once(5))
    assert not torch.equal(once(5), once(6))


def test_images_of_a_batch_get_views_of_their_own():
    image = ramp(n=4, side=40)
    view = views.random_view(Views(noise=0.0), 24)
    view.set_random_state(1)
    seen = view(batch_of(image))["image"]
    assert not torch.allclose(seen[0], seen[1])


def full_batch(image, *, hu, rows=None, columns=None, slope=1.0, intercept=0.0):
    n = len(image)
    return {
        **batch_of(image, rows, columns),
        "slope": torch.full((n,), slope),
        "intercept": torch.full((n,), intercept),
        "hu": torch.tensor([hu] * n),
    }


def test_ct_is_windowed_to_minus_one_to_one():
    stored = torch.tensor([-2000.0, -1000.0, 0.0, 1000.0, 3000.0]).view(1, 1, 1, 5)
    found = views.ToIntensity(Intensity())(full_batch(stored, hu=True))["image"]
    assert found.flatten().tolist() == [-1, -1, 0, 1, 1]


def test_slope_and_intercept_are_applied_before_the_window():
    stored = torch.tensor([0.0, 1024.0]).view(1, 1, 1, 2)
    batch = full_batch(stored, hu=True, slope=2.0, intercept=-1024.0)
    found = views.ToIntensity(Intensity(window_hu=(-1024, 1024)))(batch)["image"]
    assert found.flatten().tolist() == [-1, 1]


def test_everything_else_is_standardised_over_its_valid_area():
    image = torch.zeros(2, 1, 20, 20)
    inside = torch.rand(2, 1, 12, 17) * 50 + 100
    image[:, :, :12, :17] = inside
    found = views.ToIntensity(Intensity())(full_batch(image, hu=False, rows=12, columns=17))
    area = found["image"][:, :, :12, :17]
    assert torch.allclose(area.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(area.std(dim=(1, 2, 3), correction=0), torch.ones(2), atol=1e-4)


def test_a_flat_image_does_not_become_nan():
    found = views.ToIntensity(Intensity())(full_batch(torch.full((1, 1, 8, 8), 7.0), hu=False))
    assert torch.isfinite(found["image"]).all()


def test_blur_keeps_the_mean_and_lowers_the_contrast():
    image = torch.rand(4, 1, 32, 32)
    blur = views.RandBlur(1.0, (1.0, 1.0))
    blur.set_random_state(0)
    seen = blur({"image": image})["image"]
    assert torch.allclose(seen.mean(), image.mean(), atol=0.01)
    assert seen.std() < 0.5 * image.std()


def test_no_blur_is_no_change():
    image = torch.rand(4, 1, 32, 32)
    blur = views.RandBlur(0.0, (1.0, 1.0))
    blur.set_random_state(0)
    assert torch.allclose(blur({"image": image})["image"], image, atol=1e-6)


def test_gamma_keeps_the_range_of_each_image():
    image = torch.rand(3, 1, 16, 16) * 4 - 2
    gamma = views.RandGamma(0.5)
    gamma.set_random_state(0)
    seen = gamma({"image": image})["image"]
    for before, after in zip(image, seen, strict=True):
        assert after.min().item() == pytest.approx(before.min().item(), abs=1e-4)
        assert after.max().item() == pytest.approx(before.max().item(), abs=1e-4)
    assert not torch.allclose(seen, image, atol=1e-2)
