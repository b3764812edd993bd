"""MixUp and CutMix: the labels must follow from the pixels that are really there."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from medssl.config.task import Task
from medssl.config.training import CutMix, MixUp
from medssl.data.mixing import cutmix, mix, mixup
from medssl.losses import cross_entropy, cumulative, squared

ALWAYS = CutMix(probability=1.0)
BLENDED = MixUp(probability=1.0, alpha=1.0)


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


@pytest.mark.parametrize("way", [(mixup, BLENDED), (cutmix, ALWAYS)])
@pytest.mark.parametrize("shape", [(18, 25), (9, 12, 15)])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_mean_of_an_image_is_its_mixed_label(way, shape, seed):
    """Project-MONAI/MONAI#8137: an image that kept nearly all of itself got the other's label."""
    mixing, config = way
    images = numbered(5, shape)
    mixed = mixing(images, config, np.random.default_rng(seed))
    own = torch.arange(5.0)
    label = mixed.kept * own + (1 - mixed.kept) * own[mixed.partner]
    shown = mixed.images.flatten(1).double().mean(dim=1)
    torch.testing.assert_close(shown, label.double(), atol=1e-5, rtol=0)


def test_mixup_draws_the_share_it_is_told_to():
    rng = np.random.default_rng(4)
    images = numbered(3, (4, 4))
    kept = np.array([mixup(images, MixUp(probability=1, alpha=0.2), rng).kept for _ in range(2000)])
    assert kept.mean() == pytest.approx(0.5, abs=0.04)
    assert kept.var() == pytest.approx(1 / (4 * 1.4), abs=0.02)  # of Beta(a, a): 1 / (4 (2a + 1))
    assert torch.equal(images, numbered(3, (4, 4)))


def test_a_batch_is_mixed_in_one_way_only_and_by_cutmix_first():
    rng = np.random.default_rng(0)
    images = torch.rand(4, 1, 16, 16)
    pasted = mix(images, BLENDED, ALWAYS, rng)
    assert np.isin(pasted.images.numpy(), images.numpy()).all()  # whole pixels of one or the other
    blended = mix(images, BLENDED, CutMix(), rng)
    expected = images.lerp(images[blended.partner], 1 - blended.kept)
    torch.testing.assert_close(blended.images, expected)
    assert mix(images, MixUp(), CutMix(), rng) is None


def judged(plugin, kind, logits, target, classes=()):
    task = Task(kind=kind, targets=("a", "b")[: target.shape[1]], classes=classes)
    return plugin.loss(logits, target, logits, task=task, weight=None, config=plugin.Config())


def mixed_loss(plugin, kind, logits, labels, classes=()):
    """What `SiteModel.forward` does with the losses of both labels, 0.3 of an image its own."""
    own, other = (judged(plugin, kind, logits, target, classes) for target in labels)
    return 0.3 * own + 0.7 * other


def test_mixed_losses_are_losses_of_mixed_labels_where_a_label_can_be_mixed():
    """Two classes, several targets, several classes and thresholds: cross-entropy is linear."""
    logits = torch.randn(6, 2, dtype=torch.float64)
    own, other = torch.randint(0, 2, (2, 6, 2)).double()
    found = mixed_loss(cross_entropy, "multi_label", logits, (own, other))
    soft = functional.binary_cross_entropy_with_logits(logits, 0.3 * own + 0.7 * other)
    torch.testing.assert_close(found, soft)
    names = ("x", "y", "z")
    logits = torch.randn(6, 3, dtype=torch.float64)
    own, other = torch.randint(0, 3, (2, 6, 1)).double()
    found = mixed_loss(cross_entropy, "multi_class", logits, (own, other), names)
    one_hot = [functional.one_hot(label[:, 0].long(), 3).double() for label in (own, other)]
    soft = functional.cross_entropy(logits, 0.3 * one_hot[0] + 0.7 * one_hot[1])
    torch.testing.assert_close(found, soft)
    found = mixed_loss(cumulative, "ordinal", logits[:, :2], (own, other), names)
    above = [(label > torch.arange(2)).double() for label in (own, other)]
    soft = 2 * functional.binary_cross_entropy_with_logits(
        logits[:, :2], 0.3 * above[0] + 0.7 * above[1]
    )
    torch.testing.assert_close(found, soft)


def test_of_amounts_the_gradient_is_that_of_the_mixed_amount():
    logits = torch.randn(6, 1, dtype=torch.float64, requires_grad=True)
    own, other = torch.randn(2, 6, 1, dtype=torch.float64)
    found = mixed_loss(squared, "regression", logits, (own, other))
    plain = judged(squared, "regression", logits, 0.3 * own + 0.7 * other)
    slopes = [torch.autograd.grad(loss, logits)[0] for loss in (found, plain)]
    torch.testing.assert_close(*slopes)
    assert found > plain  # by what the two differ in, which no prediction can change
