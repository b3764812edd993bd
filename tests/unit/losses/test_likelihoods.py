"""Cross-entropy, focal, cumulative and squared: against sums written out in numpy."""

import numpy as np
import pytest
import torch

from medssl.config.task import Task
from medssl.losses import cross_entropy, cumulative, focal, squared

BINARY = Task(kind="binary", targets=("a",), classes=("0", "1"), positive="1")
CLASSES = Task(kind="multi_class", targets=("a",), classes=("x", "y", "z"))
LABELS = Task(kind="multi_label", targets=("a", "b"))
ORDERED = Task(kind="ordinal", targets=("a",), classes=("1", "2", "3"))
AMOUNT = Task(kind="regression", targets=("a",))
RNG = np.random.default_rng(11)


def value(plugin, logits, target, task, weight=None, **options):
    found = plugin.loss(
        torch.from_numpy(logits),
        torch.from_numpy(np.asarray(target, dtype=np.float64)),
        torch.zeros(len(logits), 1),
        task=task,
        weight=None if weight is None else torch.tensor(weight, dtype=torch.float64),
        config=plugin.Config(**options),
    )
    return float(found)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def test_two_classes():
    logits, label = RNG.normal(size=(9, 1)), RNG.integers(0, 2, (9, 1))
    p = np.where(label, sigmoid(logits), 1 - sigmoid(logits))
    assert value(cross_entropy, logits, label, BINARY) == pytest.approx(-np.log(p).mean())
    weight = np.where(label, 3.0, 0.5)
    expected = -(weight * np.log(p)).mean()
    assert value(cross_entropy, logits, label, BINARY, [0.5, 3.0]) == pytest.approx(expected)


def test_smoothing_gives_a_share_of_the_label_to_all_classes():
    logits, label = RNG.normal(size=(9, 1)), RNG.integers(0, 2, (9, 1))
    soft = label * 0.8 + 0.1
    p = sigmoid(logits)
    expected = -(soft * np.log(p) + (1 - soft) * np.log(1 - p)).mean()
    assert value(cross_entropy, logits, label, BINARY, smoothing=0.2) == pytest.approx(expected)
    logits, label = RNG.normal(size=(9, 3)), RNG.integers(0, 3, 9)
    soft = np.eye(3)[label] * 0.7 + 0.1
    expected = -(soft * np.log(softmax(logits))).sum(axis=1).mean()
    found = value(cross_entropy, logits, label[:, None], CLASSES, smoothing=0.3)
    assert found == pytest.approx(expected)


def test_three_classes_and_their_weights():
    logits, label = RNG.normal(size=(9, 3)), RNG.integers(0, 3, 9)
    p = softmax(logits)[np.arange(9), label]
    assert value(cross_entropy, logits, label[:, None], CLASSES) == pytest.approx(-np.log(p).mean())
    weight = np.array([0.2, 1.0, 2.5])
    found = value(cross_entropy, logits, label[:, None], CLASSES, weight)
    assert found == pytest.approx(-(weight[label] * np.log(p)).mean())


@pytest.mark.parametrize("plugin", [cross_entropy, focal])
def test_a_missing_label_counts_neither_above_nor_below_the_line(plugin):
    logits, label = RNG.normal(size=(6, 2)), RNG.integers(0, 2, (6, 2)).astype(float)
    label[[0, 3, 5], [1, 0, 1]] = np.nan
    known = np.isfinite(label)
    p = np.where(label == 1, sigmoid(logits), 1 - sigmoid(logits))[known]
    gamma = 2.0 if plugin is focal else 0.0
    expected = -((1 - p) ** gamma * np.log(p)).mean()
    assert value(plugin, logits, label, LABELS) == pytest.approx(expected)
    of_class = np.array([[0.5, 2.0], [1.5, 0.25]])
    weight = np.where(label == 1, of_class[:, 1], of_class[:, 0])[known]
    found = value(plugin, logits, label, LABELS, of_class)
    assert found == pytest.approx(-(weight * (1 - p) ** gamma * np.log(p)).mean())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_cross_entropy_times_a_power_of_what_is_wrong(gamma):
    logits, label = 3 * RNG.normal(size=(9, 3)), RNG.integers(0, 3, 9)
    p = softmax(logits)[np.arange(9), label]
    found = value(focal, logits, label[:, None], CLASSES, gamma=gamma)
    assert found == pytest.approx(-((1 - p) ** gamma * np.log(p)).mean())
    logits, label = 3 * RNG.normal(size=(9, 1)), RNG.integers(0, 2, (9, 1))
    p = np.where(label, sigmoid(logits), 1 - sigmoid(logits))
    found = value(focal, logits, label, BINARY, gamma=gamma)
    assert found == pytest.approx(-((1 - p) ** gamma * np.log(p)).mean())


def test_focal_without_focus_is_cross_entropy_with_its_gradient():
    logits = torch.randn(9, 1, dtype=torch.float64, requires_grad=True)
    label, none = torch.randint(0, 2, (9, 1)).double(), torch.zeros(9, 1)
    slopes = []
    for plugin, config in ((focal, focal.Config(gamma=0)), (cross_entropy, cross_entropy.Config())):
        found = plugin.loss(logits, label, none, task=BINARY, weight=None, config=config)
        slopes.append(torch.autograd.grad(found, logits)[0])
    torch.testing.assert_close(*slopes)


def test_the_cumulative_loss_asks_of_every_threshold_whether_it_is_passed():
    logits, label = RNG.normal(size=(8, 2)), RNG.integers(0, 3, 8)
    above = label[:, None] > np.arange(2)
    p = np.where(above, sigmoid(logits), 1 - sigmoid(logits))
    each = -np.log(p).sum(axis=1)
    assert value(cumulative, logits, label[:, None], ORDERED) == pytest.approx(each.mean())
    weight = np.array([2.0, 0.5, 1.0])
    found = value(cumulative, logits, label[:, None], ORDERED, weight)
    assert found == pytest.approx((weight[label] * each).mean())


def test_a_class_farther_off_costs_more_in_order_than_without():
    low = np.array([[-4.0, -4.0]])  # sure of the lowest class
    costs = [value(cumulative, low, [[k]], ORDERED) for k in range(3)]
    assert costs[2] - costs[1] == pytest.approx(4, abs=0.05)
    assert costs[1] - costs[0] == pytest.approx(4, abs=0.05)


def test_squared_error_leaves_out_what_is_not_known():
    found = value(squared, np.array([[1.0], [2.0], [5.0]]), [[0.0], [np.nan], [2.0]], AMOUNT)
    assert found == pytest.approx((1 + 9) / 2)
