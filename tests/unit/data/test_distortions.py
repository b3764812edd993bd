"""Changes of intensity: how much, where, and in which images; 2D and 3D."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from medssl.data import distortions


def seen(transform, image, seed=0):
    transform.set_random_state(seed)
    return transform({"image": image})["image"]


@pytest.mark.parametrize("spatial", [(16, 16), (4, 8, 8)])
def test_masking_sets_the_share_of_pixels_to_zero_in_some_images(spatial):
    shown = seen(distortions.RandMask(0.3, 0.25), torch.ones(400, 2, *spatial), 1)
    holes = (shown == 0).float().flatten(1).mean(dim=1)
    masked = holes > 0
    assert 0.2 < masked.float().mean() < 0.4
    assert holes[masked].mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(shown[:, 0], shown[:, 1])  # all channels of a pixel together
    assert set(shown.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("spatial", [(17, 23), (8, 11, 13)])
def test_blur_is_that_of_scipy(spatial):
    image = torch.rand(2, 3, *spatial, dtype=torch.float32)
    shown = seen(distortions.RandBlur(1.0, (1.5, 1.5)), image)
    for one, found in zip(image.flatten(0, 1), shown.flatten(0, 1), strict=True):
        expected = ndimage.gaussian_filter(one.numpy(), 1.5, mode="mirror", truncate=2.0)
        assert np.allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("sigma", "radius"), [(1.2, 3), (2.0, 4)])
def test_the_blur_kernel_reaches_two_sigma(sigma, radius):
    """With the widest blur of arXiv:2507.12269 that is its kernel of nine pixels."""
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1.0
    row = seen(distortions.RandBlur(1.0, (sigma, sigma)), point)[0, 0].sum(dim=0)
    assert row.nonzero().ravel().tolist() == list(range(10 - radius, 10 + radius + 1))
    assert row.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (row[11] / row[10]).item() == pytest.approx(np.exp(-0.5 / sigma**2), rel=1e-4)


def test_a_blur_wider_than_the_view_is_cut_to_it():
    image = torch.arange(256.0).view(1, 1, 16, 16)
    shown = seen(distortions.RandBlur(1.0, (20.0, 20.0)), image)
    assert shown.shape == image.shape
    assert shown.std() < 0.5 * image.std()


def test_some_images_are_blurred_and_the_others_are_the_same_to_the_bit():
    image = torch.rand(100, 1, 12, 12)
    shown = seen(distortions.RandBlur(0.3, (1.0, 1.0)), image)
    same = (shown == image).flatten(1).all(dim=1)
    assert 0.6 < same.float().mean() < 0.8
    contrast = shown.flatten(1).std(dim=1) / image.flatten(1).std(dim=1)
    assert contrast[~same].max() < 0.6


@pytest.mark.parametrize("spatial", [(16, 16), (4, 8, 8)])
def test_gamma_keeps_the_range_of_each_image(spatial):
    image = torch.rand(3, 1, *spatial) * 4 - 2
    shown = seen(distortions.RandGamma(0.5), image)
    for before, after in zip(image, shown, strict=True):
        assert after.min().item() == pytest.approx(before.min().item(), abs=1e-4)
        assert after.max().item() == pytest.approx(before.max().item(), abs=1e-4)
        order = before.flatten().argsort()
        assert (after.flatten()[order].diff() >= 0).all()
    assert not torch.allclose(shown, image, atol=1e-2)


def test_noise_is_white_and_its_strength_is_drawn():
    shown = seen(distortions.RandNoise(0.2), torch.full((300, 1, 32, 32), 5.0))
    strength = shown.flatten(1).std(dim=1)
    assert shown.mean().item() == pytest.approx(5.0, abs=1e-3)
    assert strength.max() < 0.21
    assert strength.mean().item() == pytest.approx(0.1, abs=0.01)
    noise = (shown[strength > 0.05] - 5.0).flatten(1)
    beside = (noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()
    assert abs(beside.item()) < 0.01


def test_what_is_drawn_for_each_pixel_comes_from_the_state_alone():
    image = torch.rand(4, 1, 8, 8)
    for transform in (distortions.RandNoise(0.5), distortions.RandMask(1.0, 0.5)):
        first = seen(transform, image, 3)
        torch.manual_seed(99)
        assert torch.equal(seen(transform, image, 3), first)
        assert not torch.equal(seen(transform, image, 4), first)


def test_nothing_is_written_to_the_batch():
    image = torch.rand(4, 1, 8, 8)
    before = image.clone()
    for transform in (
        distortions.RandGamma(0.5),
        distortions.RandBlur(1.0, (1.0, 1.0)),
        distortions.RandNoise(0.5),
        distortions.RandMask(1.0, 0.5),
    ):
        seen(transform, image)
        assert torch.equal(image, before)
