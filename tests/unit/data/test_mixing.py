"""CutMix: the labels must follow from the pixels that were really pasted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.config.training import CutMix
from medssl.data.mixing import cutmix

ALWAYS = CutMix(probability=1.0)


def numbered(n, shape):
    """Images that say which one they are: image k is k everywhere."""
    own = torch.arange(n, dtype=torch.float32)
    return own.view(n, *(1,) * (len(shape) + 1)).expand(n, 1, *shape).contiguous()


@pytest.mark.parametrize("shape", [(32, 32), (17, 40), (12, 16, 20)])
@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 6))
def test_the_kept_share_is_that_of_the_pixels(shape, seed, n):
    images = numbered(n, shape)
    mixed = cutmix(images, ALWAYS, np.random.default_rng(seed))
    for k in range(n):
        shown = mixed.images[k]
        assert set(shown.unique().tolist()) <= {k, mixed.partner[k].item()}
        if mixed.partner[k] != k:
            assert (shown == k).float().mean().item() == pytest.approx(mixed.kept, abs=1e-6)
    assert sorted(mixed.partner.tolist()) == list(range(n))


def test_the_original_batch_is_left_alone():
    images = numbered(4, (16, 16))
    cutmix(images, ALWAYS, np.random.default_rng(0))
    assert torch.equal(images, numbered(4, (16, 16)))


@pytest.mark.parametrize("shape", [(64, 64), (24, 24, 24)])
def test_a_box_that_is_not_cut_off_has_the_drawn_share_in_any_dimension(shape):
    halves = CutMix(probability=1.0, alpha=1e6)  # lambda is 1/2 each time
    rng = np.random.default_rng(1)
    images = numbered(2, shape)
    pasted = [1 - cutmix(images, halves, rng).kept for _ in range(300)]
    assert max(pasted) == pytest.approx(0.5, abs=0.06)  # sides are whole pixels
    assert min(pasted) < 0.3  # a box at a border is cut off, and the share says so


def test_the_paper_mixes_every_second_batch():
    rng = np.random.default_rng(2)
    images = numbered(2, (8, 8))
    mixed = [cutmix(images, CutMix(probability=0.5), rng) is not None for _ in range(1000)]
    assert 0.45 < np.mean(mixed) < 0.55


def test_switched_off_it_never_mixes():
    rng = np.random.default_rng(3)
    assert all(cutmix(numbered(2, (8, 8)), CutMix(), rng) is None for _ in range(50))


def test_it_replays_from_a_seed():
    images = numbered(5, (20, 20))
    first, second = (cutmix(images, ALWAYS, np.random.default_rng(9)) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert first.kept == second.kept


def test_it_runs_on_the_meta_device():
    images = torch.empty(4, 1, 16, 16, device="meta")
    mixed = cutmix(images, ALWAYS, np.random.default_rng(0))
    assert mixed.images.device.type == mixed.partner.device.type == "meta"
