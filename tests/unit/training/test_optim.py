"""Parameter groups and the learning rate over a run."""

import math

import pytest
import torch
from torch import nn

from medssl.config.training import Optim
from medssl.training import optim


def test_norms_and_biases_are_not_decayed():
    modules = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)]
    optimizer = optim.adamw({"stem": (modules, 0.01)}, Optim(weight_decay=0.3))
    groups = {g["name"]: (g["weight_decay"], len(g["params"])) for g in optimizer.param_groups}
    assert groups == {"stem: weights": (0.3, 1), "stem: bias and norm": (0.0, 3)}


def test_groups_have_their_own_rates_by_name():
    layers = {"head": ([nn.Linear(2, 2)], 1e-2), "stem": ([nn.Linear(2, 2)], 1e-4)}
    optimizer = optim.adamw(layers, Optim())
    rates = {g["name"].split(":")[0]: g["lr"] for g in optimizer.param_groups}
    assert rates == {"head": 1e-2, "stem": 1e-4}


def test_parameters_without_a_gradient_do_not_move_even_with_decay():
    layer = nn.Linear(3, 3)
    before = layer.weight.detach().clone()
    optimizer = optim.adamw({"stem": ([layer], 0.1)}, Optim(weight_decay=1.0))
    optimizer.step()
    assert torch.equal(before, layer.weight)


def rates(steps, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = optim.warmup_cosine(optimizer, steps, warmup)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return [*found, schedule.get_last_lr()[0]]


def test_the_rate_rises_linearly_and_falls_along_a_cosine_to_zero():
    found = rates(100, 0.1)
    assert found[:10] == pytest.approx([2.0 * (k + 1) / 11 for k in range(10)])
    assert max(found) == found[10] == pytest.approx(2.0)
    assert found[55] == pytest.approx(2.0 * 0.5 * (1 + math.cos(math.pi * 45 / 90)))
    assert found[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 0.9), (2, 0.5), (3, 0.0)])
def test_short_runs_have_finite_positive_rates(steps, warmup):
    assert all(0 < rate <= 2.0 for rate in rates(steps, warmup)[:-1])
