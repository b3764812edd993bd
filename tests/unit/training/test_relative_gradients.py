"""Relative gradients: measured right, and nothing of the measurement is left behind."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from medssl.config.task import Task
from medssl.foundation.errors import TrainingError
from medssl.foundation.reporting import Silent
from medssl.freezing import surgical
from medssl.losses import cross_entropy
from medssl.models.site_model import SiteModel
from medssl.training import loop, phases, relative_gradients, runtime
from medssl.training.phases import Phase
from medssl.training.state import TrainState

TASK = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
GROUPS = ("head", "last", "stem")


class Linear(nn.Module):
    """Features (B, 3) of images (B, 1, 2, 2) by two linear layers, a batch norm and dropout."""

    dim = 3

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.BatchNorm1d(5))
        self.last = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 3, bias=False))

    def forward(self, images):
        return self.last(self.stem(images))

    def groups(self):
        return {"stem": [self.stem], "last": [self.last]}


def site_model():
    torch.manual_seed(0)
    loss = partial(cross_entropy.loss, task=TASK, weight=None, config=cross_entropy.Config())
    return SiteModel(Linear(), TASK, 0.5, loss=loss, norms_follow=True)


def call(seed=0):
    drawn = torch.Generator().manual_seed(seed)
    images = torch.randn(6, 1, 2, 2, generator=drawn)
    target = torch.tensor([[0.0], [1], [1], [0], [1], [0]])
    return (images, target), {"partner": target.flip(0), "kept": 0.7}


def by_hand(model, images, target, partner, kept):
    """Norms by the chain rule, in doubles: sigmoid loss, two matrices, a norm by its statistics."""
    d = {key: value.detach().double() for key, value in model.state_dict().items()}
    x = images.double().flatten(1)
    a = x @ d["encoder.stem.1.weight"].T + d["encoder.stem.1.bias"]
    deviation = (d["encoder.stem.2.running_var"] + 1e-5).sqrt()
    unit = (a - d["encoder.stem.2.running_mean"]) / deviation
    h = unit * d["encoder.stem.2.weight"] + d["encoder.stem.2.bias"]
    f = h @ d["encoder.last.1.weight"].T
    z = f @ d["head.1.weight"].T + d["head.1.bias"]
    wanted = kept * target.double() + (1 - kept) * partner.double()
    dz = (z.sigmoid() - wanted) / len(x)
    df = dz @ d["head.1.weight"]
    dh = df @ d["encoder.last.1.weight"]
    da = dh * d["encoder.stem.2.weight"] / deviation
    gradients = {
        "head": [dz.T @ f, dz.sum(0)],
        "last": [df.T @ h],
        "stem": [da.T @ x, da.sum(0), (dh * unit).sum(0), dh.sum(0)],
    }
    weights = {
        name: [p.detach().double() for m in modules for p in m.parameters()]
        for name, modules in model.groups().items()
    }
    return {name: total(gradients[name]) / total(weights[name]) for name in GROUPS}


def total(tensors):
    return math.sqrt(sum(float(t.detach().square().sum()) for t in tensors))


def test_they_are_the_norms_of_the_chain_rule_mixed_and_in_evaluation_mode():
    model = site_model()
    nn.init.normal_(model.encoder.stem[2].weight)
    model.encoder.stem[2].running_mean.normal_()
    model.release_only(GROUPS)
    model.train()
    (images, target), named = call()
    found = relative_gradients.measure(runtime.start("cpu", "32"), model, ((images, target), named))
    assert list(found) == list(GROUPS)
    expected = by_hand(model, images, target, named["partner"], named["kept"])
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, rel=1e-5)


def test_only_what_trains_is_measured():
    model = site_model()
    model.release_only(["head", "stem.norms"])
    found = relative_gradients.measure(runtime.start("cpu", "32"), model, call())
    assert list(found) == ["head", "stem"]
    norm = model.encoder.stem[2]
    model.eval()
    (images, target), named = call()
    model(images, target, **named)["total"].backward()
    expected = total([norm.weight.grad, norm.bias.grad]) / total([norm.weight, norm.bias])
    assert float(found["stem"]) == pytest.approx(expected, rel=1e-5)


class Told(Silent):
    def __init__(self):
        self.rows = []

    def metrics(self, step, values):
        self.rows.append((step, dict(values)))


def epoch(factors, n_steps=3):
    """One epoch of AdamW from the same start; the model, its optimiser and what was reported."""
    model, where, told = site_model(), runtime.start("cpu", "32"), Told()
    phase = Phase(
        name="any", released=(GROUPS,), max_lr=dict.fromkeys(GROUPS, 1e-2),
        weight_decay=dict.fromkeys(GROUPS, 0.1), lr_schedule="one_cycle",
    )  # fmt: skip
    module, stepped = where.setup(model, phases.optimizer(phase, model.groups()))
    moved = phases.scheduler(phase, stepped, n_steps)
    state = TrainState(module, stepped, moved, 0)
    model.release_only(GROUPS)
    steps = iter([call(k) for k in range(n_steps)])
    if factors is not None:
        steps = relative_gradients.scaled(where, model, state, factors, steps, told)
    loop.train(where, state, steps, told, update=loop.one_call(where, state))
    assert state.step == n_steps
    return model, state, told


def test_measuring_leaves_weights_statistics_and_momenta_as_they_are():
    plain, before, _ = epoch(None)
    measured, after, told = epoch(lambda relative: dict.fromkeys(relative, 1.0))
    pairs = zip(plain.state_dict().items(), measured.state_dict().values(), strict=True)
    for (key, a), b in pairs:
        assert torch.equal(a, b), key
    of_plain, of_measured = before.optimizer.state_dict(), after.optimizer.state_dict()
    assert of_plain["param_groups"] == of_measured["param_groups"]
    for key, state in of_plain["state"].items():
        assert all(map(torch.equal, state.values(), of_measured["state"][key].values()))
    assert told.rows[0] == (0, {"epoch": 1, **{f"factor.{name}": 1.0 for name in GROUPS}})


def test_a_factor_scales_the_rate_of_its_group_and_no_other():
    _, plain, _ = epoch(None)
    half = {"head": 1.0, "last": 0.5, "stem": 0.0}
    model, halved, told = epoch(lambda _: half)
    of_plain, of_halved = (
        {g["layer_group"]: g["lr"] for g in state.optimizer.param_groups}
        for state in (plain, halved)
    )
    assert of_halved == pytest.approx({k: half[k] * v for k, v in of_plain.items()})
    start = site_model().encoder.stem[1].weight
    assert torch.equal(model.encoder.stem[1].weight, start)  # at a rate of 0, decay included
    assert told.rows[0][1]["factor.last"] == 0.5


def test_the_schedule_gives_the_largest_gradient_the_whole_rate():
    found = surgical.factors({"head": 0.5, "last": 2.0, "stem": 0.1}, surgical.Config())
    assert found == {"head": 0.25, "last": 1.0, "stem": 0.05}
    nothing = surgical.factors({"head": 0.0, "last": 0.0}, surgical.Config())
    assert nothing == {"head": 1.0, "last": 1.0}


def test_gradients_that_are_not_finite_are_refused():
    model, where = site_model(), runtime.start("cpu", "32")
    model.release_only(GROUPS)
    (images, target), named = call()
    steps = iter([((images * math.inf, target), named)])
    state = TrainState(model, torch.optim.SGD(model.parameters()), None, 0)
    with pytest.raises(TrainingError, match="gradients are not finite at step 0"):
        relative_gradients.scaled(where, model, state, lambda found: found, steps, Silent())
