"""Parameter groups and the learning rate over a run."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from medssl.config.pretrain import PretrainOptim
from medssl.training import optim
from medssl.training.lamb import LAMB
from medssl.training.lars import LARS


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


@pytest.mark.parametrize("steps", [2, 3, 7, 130])
def test_one_cycle_is_that_of_torch(steps):
    ours, theirs = (torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.2) for _ in range(2))
    schedule = optim.one_cycle(ours, steps)
    reference = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.2, steps)
    for step in range(steps):
        for key in ("lr", "betas"):
            assert ours.param_groups[0][key] == pytest.approx(theirs.param_groups[0][key])
        ours.step()
        theirs.step()
        schedule.step()
        if step < steps - 1:
            reference.step()


def two_layer_groups(lr=1.0):
    layers = {
        name: optim.LayerGroup(modules=[nn.Linear(1, 1, bias=False)], lr=lr, weight_decay=0.0)
        for name in ("head", "stem")
    }
    return optim.adamw(layers)


def followed(optimizer, schedule, steps):
    """Rate and first beta of each parameter group at every step."""
    found = []
    for _ in range(steps):
        found.append([(group["lr"], group["betas"][0]) for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return [list(of) for of in zip(*found, strict=True)]


@pytest.mark.parametrize(
    "make", [optim.one_cycle, lambda *a, **k: optim.warmup_cosine(*a, 0.2, **k)]
)
def test_a_group_released_late_goes_through_all_of_its_course(make):
    """From its release to the end it is what a run of that length would be."""
    optimizer = two_layer_groups()
    head, stem = followed(optimizer, make(optimizer, 50, begins={"stem": 20}), 50)
    whole, short = two_layer_groups(), two_layer_groups()
    assert head == followed(whole, make(whole, 50), 50)[0]
    assert stem[20:] == followed(short, make(short, 30), 30)[0]
    assert [rate for rate, _ in stem[:20]] == [0] * 20
    assert max(rate for rate, _ in stem) == pytest.approx(1.0)


def test_factors_stay_until_they_are_changed():
    optimizer = two_layer_groups(lr=2.0)
    schedule = optim.constant(optimizer)
    seen = []
    for factors in ({"stem": 0.25}, None, {"head": 0.5}):
        if factors is not None:
            schedule.scale(factors)
        seen.append(schedule.get_last_lr())
        assert seen[-1] == [group["lr"] for group in optimizer.param_groups]
        optimizer.step()
        schedule.step()
    assert seen == [[2.0, 0.5], [2.0, 0.5], [1.0, 2.0]]


def test_a_schedule_goes_on_where_it_was_saved():
    first, second = two_layer_groups(), two_layer_groups()
    ours = optim.one_cycle(first, 20, begins={"stem": 5})
    ours.scale({"head": 0.5})
    followed(first, ours, 8)
    other = optim.one_cycle(second, 20, begins={"stem": 5})
    other.load_state_dict(ours.state_dict())
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"]
    assert followed(second, other, 12) == followed(first, ours, 12)


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


class Learner(nn.Module):
    """One parameter of every kind a method may have."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.GroupNorm(1, 3)
        self.mask_token = nn.Parameter(torch.randn(1, 1, 4))
        self.mask_tokens = nn.ParameterList([torch.randn(1, 4, 1, 1)])
        self.position_embeddings = nn.Parameter(torch.randn(1, 5, 4))
        self.token_mixer = nn.Linear(4, 4, bias=False)
        self.composition = nn.Linear(4, 4, bias=False)
        self.momentum = nn.Linear(4, 4).requires_grad_(False)


def settings(**values):
    return PretrainOptim(**{"lr": 0.1, "weight_decay": 0.2, **values})


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("lars", LARS), ("lamb", LAMB)],
)
def test_only_weights_are_decayed_and_what_has_no_gradient_is_left_out(name, kind):
    learner = Learner()
    optimizer = optim.pretraining(learner, settings(name=name, momentum=0.8, betas=(0.7, 0.8)))
    assert type(optimizer) is kind
    names = {id(p): n for n, p in learner.named_parameters()}
    weights, rest = optimizer.param_groups
    assert {names[id(p)] for p in weights["params"]} == {
        "conv.weight", "token_mixer.weight", "composition.weight",
    }  # fmt: skip
    assert {names[id(p)] for p in rest["params"]} == {
        "conv.bias", "norm.weight", "norm.bias", "mask_token", "mask_tokens.0",
        "position_embeddings",
    }  # fmt: skip
    assert (weights["weight_decay"], weights["adapted"]) == (0.2, True)
    assert (rest["weight_decay"], rest["adapted"]) == (0.0, False)
    for group in (weights, rest):
        assert group["lr"] == 0.1
        assert group.get("momentum", 0.8) == 0.8
        assert group.get("betas", (0.7, 0.8)) == (0.7, 0.8)


SHAPES = ((3, 4), (4,), (2, 3, 3))


def descend(make, steps=5, scale=1.0, zero=None):
    """Move some weights along fixed gradients; what they were and what became of them."""
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    if zero is not None:
        weights[zero].data.zero_()
    optimizer = make([weights[0], weights[2]], [weights[1]])
    start = [w.detach().double().numpy() for w in weights]
    gradients = []
    for _ in range(steps):
        for weight in weights:
            weight.grad = scale * torch.randn(weight.shape, generator=generator)
        gradients.append([w.grad.double().numpy() for w in weights])
        optimizer.step()
    return start, gradients, [w.detach().numpy() for w in weights]


def two_groups(kind, lr, *, adapted=True, **options):
    def make(weights, biases):
        groups = [
            {"params": weights, "weight_decay": 0.1, "adapted": adapted},
            {"params": biases, "weight_decay": 0.0, "adapted": False},
        ]
        return kind(groups, lr, **options)

    return make


def test_lars_is_the_published_rule():
    start, gradients, found = descend(two_groups(LARS, 0.5, momentum=0.9, trust=0.02))
    for k, w in enumerate(start):
        decay, velocity = (0.0 if k == 1 else 0.1), 0.0
        for at_step in gradients:
            g = at_step[k]
            norm = np.sqrt((w**2).sum())
            rate = 1.0 if k == 1 else 0.02 * norm / (np.sqrt((g**2).sum()) + decay * norm)
            velocity = 0.9 * velocity + rate * (g + decay * w)
            w = w - 0.5 * velocity
        np.testing.assert_allclose(found[k], w, rtol=1e-5, atol=1e-6)


def test_lamb_is_the_published_rule():
    start, gradients, found = descend(two_groups(LAMB, 0.05, betas=(0.8, 0.95)))
    for k, w in enumerate(start):
        mean, square = 0.0, 0.0
        for t, at_step in enumerate(gradients, start=1):
            g = at_step[k]
            mean = 0.8 * mean + 0.2 * g
            square = 0.95 * square + 0.05 * g**2
            ratio = (mean / (1 - 0.8**t)) / (np.sqrt(square / (1 - 0.95**t)) + 1e-6)
            update = ratio + (0.0 if k == 1 else 0.1) * w
            trust = 1.0 if k == 1 else np.sqrt((w**2).sum()) / np.sqrt((update**2).sum())
            w = w - 0.05 * trust * update
        np.testing.assert_allclose(found[k], w, rtol=1e-5, atol=1e-6)


def test_without_the_scale_they_are_sgd_and_adamw():
    def sgd(weights, biases):
        groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases}]
        return torch.optim.SGD(groups, 0.05, momentum=0.9)

    def adamw(weights, biases):
        # AdamW takes its decay first and from other weights; without decay the two are equal
        return torch.optim.AdamW([*weights, *biases], 0.05, eps=1e-6, weight_decay=0.0)

    def lamb(weights, biases):
        return LAMB([{"params": [*weights, *biases], "adapted": False}], 0.05)

    pairs = ((two_groups(LARS, 0.05, adapted=False), sgd), (lamb, adamw))
    for ours, theirs in pairs:
        for a, b in zip(descend(ours)[2], descend(theirs)[2], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_step_of_lamb_does_not_depend_on_the_scale_of_the_loss():
    make = two_groups(LAMB, 0.05)
    for a, b in zip(descend(make)[2], descend(make, scale=1000.0)[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_first_step_is_as_long_as_the_weights_allow():
    start, _, found = descend(two_groups(LAMB, 0.05), steps=1)
    for k in (0, 2):
        moved = np.linalg.norm(found[k] - start[k]) / np.linalg.norm(start[k])
        assert moved == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize("kind", [LARS, LAMB])
def test_weights_and_gradients_of_zero_stay_finite_and_can_leave_zero(kind):
    _, _, found = descend(two_groups(kind, 0.05), zero=0)
    assert all(np.isfinite(w).all() for w in found)
    assert np.abs(found[0]).max() > 0
    start, _, still = descend(two_groups(kind, 0.05), steps=1, scale=0.0)
    assert all(np.isfinite(w).all() for w in still)
    np.testing.assert_array_equal(still[1], start[1].astype(np.float32))


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars", "lamb"])
def test_it_continues_from_its_state_to_the_bit(name):
    torch.manual_seed(0)
    whole = Learner()
    parts = copy.deepcopy(whole)
    rates = settings(name=name, weight_decay_end=0.4, warmup=0.2)

    def steps(learner, first, last, saved=None):
        optimizer = optim.pretraining(learner, rates)
        schedule = optim.moving(optimizer, 10, rates)
        if saved:
            optimizer.load_state_dict(saved[0])
            schedule.load_state_dict(saved[1])
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            for p in learner.parameters():
                p.grad = torch.randn(p.shape, generator=generator) if p.requires_grad else None
            optimizer.step()
            schedule.step()
        return copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))

    steps(whole, 0, 10)
    steps(parts, 4, 10, steps(parts, 0, 4))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars", "lamb"])
def test_a_step_runs_on_the_meta_device(name):
    learner = Learner().to("meta")
    rates = settings(name=name, weight_decay_end=0.4)
    optimizer = optim.pretraining(learner, rates)
    schedule = optim.moving(optimizer, 10, rates)
    for _ in range(2):
        for p in learner.parameters():
            p.grad = torch.empty_like(p) if p.requires_grad else None
        optimizer.step()
        schedule.step()
    assert all(p.device.type == "meta" for p in learner.parameters())


@pytest.mark.parametrize("steps", [1, 2, 7, 400])
def test_rate_and_decay_are_what_they_were_announced_to_be(steps):
    rates = settings(warmup=0.1, final=0.01, weight_decay=0.04, weight_decay_end=0.2)
    optimizer = optim.pretraining(Learner(), rates)
    schedule = optim.moving(optimizer, steps, rates)
    found = {"lr": [], "weight_decay": []}
    for _ in range(steps):
        weights, rest = optimizer.param_groups
        assert (rest["lr"], rest["weight_decay"]) == (weights["lr"], 0.0)
        assert schedule.get_last_lr() == [weights["lr"], rest["lr"]]
        for name, values in found.items():
            values.append(weights[name])
        optimizer.step()
        schedule.step()
    announced = optim.curve(rates, steps)
    assert announced["lr"].tolist() == found["lr"]
    assert announced["weight_decay"].tolist() == found["weight_decay"]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.01)  # the run is over


def test_the_curve_in_closed_form():
    rates = settings(warmup=0.1, final=0.01, weight_decay=0.04, weight_decay_end=0.2)
    found = optim.curve(rates, 400)
    assert found["lr"][0] == pytest.approx(0.1 / 41)
    assert found["lr"][40] == found["lr"].max() == pytest.approx(0.1)
    np.testing.assert_allclose(np.diff(found["lr"][:41]), 0.1 / 41)
    last = 0.001 + 0.099 * (1 + math.cos(math.pi * 359 / 360)) / 2
    assert found["lr"][-1] == pytest.approx(last)
    assert found["lr"][-1] > 0.001
    assert found["weight_decay"][[0, -1]] == pytest.approx([0.04, 0.2])
    np.testing.assert_allclose((found["weight_decay"] + found["weight_decay"][::-1]) / 2, 0.12)
    still = optim.curve(settings(), 5)
    assert still["weight_decay"].tolist() == [0.2] * 5
