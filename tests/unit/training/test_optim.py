"""Parameter groups and the learning rate over a run."""

import math

import pytest
import torch
from torch import nn

from medssl.training import optim


def test_norms_and_biases_are_not_decayed():
    modules = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)]
    stem = {"stem": optim.LayerGroup(modules=modules, lr=0.01, weight_decay=0.3)}
    decays = {}
    for decay_all in (False, True):
        groups = optim.adamw(stem, decay_all=decay_all).param_groups
        decays[decay_all] = {g["name"]: (g["weight_decay"], len(g["params"])) for g in groups}
    assert decays[False] == {"stem: weights": (0.3, 1), "stem: bias and norm": (0.0, 3)}
    assert decays[True] == {"stem: weights": (0.3, 1), "stem: bias and norm": (0.3, 3)}


def test_groups_have_their_own_rates_by_name():
    layers = {
        name: optim.LayerGroup(modules=[nn.Linear(2, 2)], lr=lr, weight_decay=0.0)
        for name, lr in (("head", 1e-2), ("stem", 1e-4))
    }
    optimizer = optim.adamw(layers)
    rates = {g["name"].split(":")[0]: g["lr"] for g in optimizer.param_groups}
    assert rates == {"head": 1e-2, "stem": 1e-4}


def test_parameters_without_a_gradient_do_not_move_even_with_decay():
    layer = nn.Linear(3, 3)
    before = layer.weight.detach().clone()
    optimizer = optim.adamw({"stem": optim.LayerGroup(modules=[layer], lr=0.1, weight_decay=1.0)})
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


def cycle(steps, peak=1e-3):
    """The one cycle of arXiv:2507.12269, from its formula and not from torch's scheduler."""
    top = 0.3 * steps - 1
    rates, betas = [], []
    for step in range(steps):
        rising = step <= top
        share = step / top if rising else (step - top) / (steps - 1 - top)
        ends = (peak / 25, peak) if rising else (peak, peak / 25 / 1e4)
        momenta = (0.95, 0.85) if rising else (0.85, 0.95)
        down = (1 + math.cos(math.pi * share)) / 2
        rates.append(ends[1] + (ends[0] - ends[1]) * down)
        betas.append(momenta[1] + (momenta[0] - momenta[1]) * down)
    return rates, betas


def test_one_cycle_moves_rate_and_beta_as_published():
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = optim.one_cycle(optimizer, 200)
    found, betas = [], []
    for _ in range(200):
        found.append(schedule.get_last_lr()[0])
        betas.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        schedule.step()
    expected_rates, expected_betas = cycle(200)
    assert found == pytest.approx(expected_rates)
    assert betas == pytest.approx(expected_betas)
    assert optimizer.param_groups[0]["betas"][1] == 0.999


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10])
def test_one_cycle_survives_runs_of_a_few_steps(steps):
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = optim.one_cycle(optimizer, steps)
    for _ in range(steps):
        assert 0 < schedule.get_last_lr()[0] <= 1e-3
        optimizer.step()
        schedule.step()


def test_a_constant_rate_stays():
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = optim.constant(optimizer)
    for _ in range(5):
        optimizer.step()
        schedule.step()
        assert schedule.get_last_lr() == [1e-3]
