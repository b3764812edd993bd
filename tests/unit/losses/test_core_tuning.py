"""Core-tuning: which pairs it sees, and how much each counts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medssl.config.task import Task
from medssl.losses import core_tuning, cross_entropy
from medssl.losses.core_tuning import Config, contrast, hardest
from medssl.methods import simclr

BINARY = Task(kind="binary", targets=("a",), classes=("0", "1"), positive="1")
PLAIN = Config(gamma=0, hardest=0, tau=0.5)


def same(label):
    return label[:, None] == label


def by_hand(rows, label, config):
    """The same in loops: anchors, their positives, and everything else below the line."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = []
    for i in range(len(rows)):
        others = [k for k in range(len(rows)) if k != i]
        below = sum(np.exp(rows[i] @ rows[k] / config.tau) for k in others)
        positives = [k for k in others if label[k] == label[i]]
        if not positives:
            continue
        least = min(positives, key=lambda k: rows[i] @ rows[k])
        total = count = 0.0
        for k in positives:
            p = np.exp(rows[i] @ rows[k] / config.tau) / below
            times = 1 + config.hardest * (k == least)
            total -= times * (1 - p) ** config.gamma * np.log(p)
            count += times
        found.append(total / count)
    return np.mean(found)


@pytest.mark.parametrize("config", [PLAIN, Config(), Config(gamma=2, hardest=3, tau=0.2)])
def test_it_is_what_the_loops_say(config):
    rng = np.random.default_rng(8)
    rows, label = rng.normal(size=(10, 4)), np.array([0, 1, 1, 2, 0, 3, 1, 2, 0, 0])
    found = contrast(torch.from_numpy(rows), same(torch.from_numpy(label)), config)
    assert float(found) == pytest.approx(by_hand(rows, label, config))


def test_two_views_of_images_that_are_all_different_give_nt_xent():
    """The loss of `methods/simclr.py`, from its own code."""
    rng = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 8, 16, generator=rng, dtype=torch.float64)
    label = torch.arange(8).repeat(2)
    found = contrast(torch.cat([first, second]), same(label), PLAIN)
    rows = torch.cat([first, second]).numpy()
    assert float(found) == pytest.approx(by_hand(rows, label.numpy(), PLAIN))
    of_simclr = simclr.nt_xent(first, second, 0.5, torch.arange(8))
    torch.testing.assert_close(found, of_simclr["total"])


def test_equal_features_tell_nobody_apart():
    found = contrast(torch.ones(16, 4).double(), same(torch.arange(8).repeat(2)), PLAIN)
    assert float(found) == pytest.approx(np.log(15))


def test_with_focus_it_is_at_most_what_it_is_without():
    rows = torch.randn(12, 6, dtype=torch.float64)
    label = same(torch.arange(12) % 3)
    plain, focused = (contrast(rows, label, Config(gamma=g, hardest=0)) for g in (0, 1))
    assert 0 < focused < plain


@given(st.integers(0, 2**31))
def test_the_hardest_positive_is_of_the_class_and_never_oneself(seed):
    """With features that are never negative, where a mask of zeros picks what it excludes."""
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(np.maximum(rng.normal(size=(12, 5)), 0))
    label = torch.from_numpy(rng.integers(0, 4, 12))
    partner = same(label) & ~torch.eye(12, dtype=torch.bool)
    chosen = hardest(rows @ rows.T, partner)
    assert (chosen <= partner).all()
    assert torch.equal(chosen.sum(dim=1) == 1, partner.any(dim=1))
    masked_by_zero = ((rows @ rows.T) * partner).argmin(dim=1)
    assert not partner.gather(1, masked_by_zero[:, None]).all()  # the authors' way goes wrong


def test_an_image_without_a_partner_has_no_part():
    rows = torch.randn(5, 3, dtype=torch.float64)
    with_single = contrast(rows, same(torch.tensor([0, 0, 1, 1, 2])), PLAIN)
    expected = by_hand(rows.numpy(), [0, 0, 1, 1, 2], PLAIN)
    assert float(with_single) == pytest.approx(expected)
    assert contrast(rows, same(torch.arange(5)), PLAIN) == 0


def test_without_the_contrast_it_is_cross_entropy():
    logits, label = torch.randn(6, 1), torch.tensor([[0.0], [1], [1], [0], [1], [0]])
    rows, weight = torch.randn(6, 4), torch.tensor([0.5, 2.0])
    found, plain = (
        plugin.loss(logits, label, rows, task=BINARY, weight=weight, config=config)
        for plugin, config in (
            (core_tuning, Config(eta=0)),
            (cross_entropy, cross_entropy.Config()),
        )
    )
    assert torch.equal(found, plain)
    more = core_tuning.loss(logits, label, rows, task=BINARY, weight=weight, config=Config(eta=0.3))
    contrasted = contrast(rows, same(label[:, 0]), Config())
    torch.testing.assert_close(more, plain + 0.3 * contrasted)
