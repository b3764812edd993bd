"""The Mann-Whitney loss: what ties it to the AUROC."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from medssl.config.task import Task
from medssl.losses import mw

BINARY = Task(kind="binary", targets=("a",), classes=("0", "1"), positive="1")
LABELS = Task(kind="multi_label", targets=("a", "b"))


def classes(k):
    return Task(kind="multi_class", targets=("a",), classes=tuple("abcdefgh"[:k]))


def value(logits, target, task=BINARY, tau=1.0):
    return mw.loss(logits, target, logits, task=task, weight=None, config=mw.Config(tau=tau))


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@given(st.integers(0, 2**31), st.sampled_from([0.01, 0.3, 1.0]))
def test_the_area_over_the_curve_is_at_most_the_loss_over_ln_2(seed, tau):
    rng = np.random.default_rng(seed)
    label = rng.permutation([0, 1, *rng.integers(0, 2, 10).tolist()])
    score = rng.normal(size=12).round(1)  # with ties
    found = value(column(*score), column(*label), tau=tau)
    assert 1 - roc_auc_score(label, score) <= float(found) / np.log(2) + 1e-12


def test_it_is_the_mean_over_pairs():
    rng = np.random.default_rng(5)
    score, label = rng.normal(size=11), np.array([1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0])
    pairs = [np.log1p(np.exp(-(p - n) / 0.7)) for p in score[label == 1] for n in score[label == 0]]
    found = value(column(*score), column(*label), tau=0.7)
    assert float(found) == pytest.approx(np.mean(pairs))


def test_equal_scores_cost_ln_2_and_far_ones_nothing():
    label = column(0, 1, 1, 0)
    assert float(value(column(3, 3, 3, 3), label)) == pytest.approx(np.log(2))
    assert float(value(column(-40, 40, 40, -40), label)) == pytest.approx(0, abs=1e-30)


def test_a_shift_of_all_scores_changes_nothing():
    logits, label = torch.randn(8, 1, dtype=torch.float64), column(0, 1, 1, 0, 0, 1, 0, 0)
    torch.testing.assert_close(value(logits + 17, label), value(logits, label))


def test_one_pair_is_cross_entropy_of_the_difference():
    found = value(column(0.3, -1.1), column(1, 0))
    expected = functional.binary_cross_entropy_with_logits(column(1.4), column(1))
    torch.testing.assert_close(found, expected)


def test_what_pulls_positives_up_pushes_negatives_down():
    logits = torch.randn(9, 1, dtype=torch.float64, requires_grad=True)
    label = column(0, 1, 1, 0, 0, 1, 0, 0, 0)
    (slope,) = torch.autograd.grad(value(logits, label), logits)
    assert (slope[label == 1] < 0).all()
    assert float(slope[label == 1].sum()) == pytest.approx(-float(slope[label == 0].sum()))


def test_one_class_alone_costs_nothing_and_moves_nothing():
    logits = torch.randn(4, 1, dtype=torch.float64, requires_grad=True)
    found = value(logits, torch.ones(4, 1))
    found.backward()
    assert found == 0
    assert not logits.grad.any()


def test_two_of_several_classes_are_two_classes():
    """The score of a class is its log-odds, so of two it is the difference of their logits."""
    logits, label = torch.randn(8, 2, dtype=torch.float64), column(0, 1, 1, 0, 0, 1, 0, 0)
    apart = (logits[:, 1] - logits[:, 0])[:, None]
    torch.testing.assert_close(value(logits, label, classes(2)), value(apart, label))


def test_of_several_classes_it_bounds_the_mean_area_one_against_the_rest():
    rng = np.random.default_rng(3)
    logits, label = rng.normal(size=(20, 4)), rng.permutation(np.arange(20) % 3)  # none of class 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    areas = [1 - roc_auc_score(label == k, p[:, k]) for k in range(3)]
    found = float(value(torch.from_numpy(logits), column(*label), classes(4)))
    odds = np.log(p / (1 - p))
    parts = [
        np.mean([np.log1p(np.exp(b - a)) for a in odds[label == k, k] for b in odds[label != k, k]])
        for k in range(3)
    ]
    assert found == pytest.approx(np.mean(parts))
    assert np.mean(areas) <= found / np.log(2)


def test_of_several_targets_only_what_is_labelled_is_compared():
    logits = torch.randn(5, 2, dtype=torch.float64)
    label = torch.tensor([[1, 1], [0, 1], [torch.nan, 1], [0, torch.nan], [1, 1]])
    known = [0, 1, 3, 4]  # the second target has one class, and no part in the mean
    expected = value(logits[known, :1], label[known, :1])
    torch.testing.assert_close(value(logits, label, LABELS), expected)
