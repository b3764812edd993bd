"""SSIM against the formula computed window by window, and against MONAI."""

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from medssl.data.shown import Shown
from medssl.reduction import ssim

CONFIG = ssim.Config()


def images(n, side=64, seed=0):
    rng = np.random.default_rng(seed)
    stack = [ndimage.gaussian_filter(rng.normal(size=(side, side)), 1 + k % 4) for k in range(n)]
    return [((s - s.min()) / np.ptp(s) * 255).astype(np.uint8) for s in stack]


def described(pictures, config=CONFIG):
    return ssim.describe([Shown(p) for p in pictures], config)


def direct(x, y):
    """The definition, by two-dimensional convolution in float64."""
    place = np.arange(-5, 6)
    window = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(values):
        return signal.convolve2d(values, window, mode="valid")

    x, y = x.astype(float), y.astype(float)
    vx, vy = mean(x * x) - mean(x) ** 2, mean(y * y) - mean(y) ** 2
    both = mean(x * y) - mean(x) * mean(y)
    above = (2 * mean(x) * mean(y) + 6.5025) * (2 * both + 58.5225)
    below = (mean(x) ** 2 + mean(y) ** 2 + 6.5025) * (vx + vy + 58.5225)
    return max(0.0, (above / below).mean())


def pairs():
    base = images(4)
    nearby = [np.roll(i, 1, axis=0) for i in base[:2]]
    return [*base, *nearby, 255 - base[0], np.full((64, 64), 7, np.uint8)]


def test_it_is_the_definition():
    some = pairs()
    expected = np.array([[direct(x, y) for y in some] for x in some])
    found = described(some)
    assert expected.min() == 0
    assert (expected > 0.3).sum() > len(some) + 3
    assert np.abs(ssim.similarity(found, found, CONFIG) - expected).max() < 1e-5
    i, j = np.indices(expected.shape).reshape(2, -1)
    assert np.abs(ssim.exact(found[i], found[j], CONFIG) - expected[i, j]).max() < 1e-9


def test_it_is_what_monai_computes():
    from monai.metrics import SSIMMetric

    some = pairs()[:6]
    metric = SSIMMetric(spatial_dims=2, data_range=255.0, kernel_sigma=1.5, win_size=11)
    x = torch.tensor(np.stack(some), dtype=torch.float64)[:, None]
    found = described(some)
    for shift in (1, 4):
        theirs = metric(x, x.roll(shift, 0)).numpy()[:, 0].clip(0)
        ours = ssim.exact(found, np.roll(found, shift, axis=0), CONFIG)
        assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize("side", [11, 12, 32, 65])
def test_other_sides_have_their_own_windows(side):
    some = images(4, side)
    config = ssim.Config(side=side)
    found = described(some, config)
    expected = [[direct(x, y) for y in some] for x in some]
    assert np.abs(ssim.similarity(found, found, config) - expected).max() < 1e-5


def test_tables_are_the_same_in_tiles(monkeypatch):
    found = described(images(9))
    whole = ssim.similarity(found, found[:7], CONFIG)
    monkeypatch.setattr(ssim, "_TILE", 4)
    assert np.abs(ssim.similarity(found, found[:7], CONFIG) - whole).max() < 1e-6
    assert ssim.similarity(found[:0], found, CONFIG).shape == (0, 9)


def test_many_rows_at_a_time_are_the_same():
    found = described(images(5))
    bands = ssim._bands(64, "cpu")
    part = ssim._filtered(found, 64, bands, "cpu")
    together = ssim._means(part, part, bands).clamp(0, 1).numpy()  # as on a GPU
    assert np.abs(together - ssim.similarity(found, found, CONFIG)).max() < 1e-6


def test_images_are_averaged_down():
    large = np.kron(images(1)[0], np.ones((3, 4), np.uint8))
    assert np.array_equal(described([large]), described(images(1)))


@pytest.mark.gpu
def test_a_gpu_computes_the_same():
    found = described(images(40))
    on_cpu = ssim.similarity(found, found, CONFIG)
    assert np.abs(ssim.similarity(found, found, CONFIG, "cuda") - on_cpu).max() < 1e-5
