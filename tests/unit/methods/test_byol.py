"""BYOL against the formula of the paper in numpy, its limit cases and the target's course."""

import numpy as np
import pytest
import torch

from medssl.config import loading
from medssl.foundation.errors import UsageError
from medssl.methods import byol

SMALL = {"projector_hidden": 8, "projector_dim": 6}


class Flat(torch.nn.Module):
    """An encoder of one linear layer."""

    dim = 5

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 5)

    def forward(self, images):
        return self.layer(images.flatten(1))


def build(**options):
    torch.manual_seed(0)
    return byol.Method(Flat(), byol.Config(**SMALL, **options))


def some_views(n=6):
    return [torch.randn(n, 1, 2, 2) for _ in range(2)]


def parameters_of(*modules):
    return [p.detach().clone() for module in modules for p in module.parameters()]


def networks(method):
    online = parameters_of(method.encoder, method.projector)
    return online, parameters_of(method.target_encoder, method.target_projector)


def push(method):
    """Move the online network somewhere else."""
    with torch.no_grad():
        for p in (*method.encoder.parameters(), *method.projector.parameters()):
            p.add_(torch.randn_like(p))


def test_equals_the_paper_s_formula():
    method = build(projector_norm="layer")
    rows = method.embed(some_views())
    values = {name: row.detach().double().numpy() for name, row in rows.items()}
    expected = 0.0
    for own, other in ("ab", "ba"):
        q, z = values[f"prediction_{own}"], values[f"target_{other}"]
        unit = [row / np.linalg.norm(row, axis=1, keepdims=True) for row in (q, z)]
        expected += ((unit[0] - unit[1]) ** 2).sum(axis=1).mean()  # eq. 2, both directions
    losses = method.loss(rows, torch.arange(6))
    assert losses["total"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["agreement"].item() == pytest.approx(1 - expected / 4, rel=1e-5)


def test_equals_lightly():
    """Frozen: NegativeCosineSimilarity of lightly 1.6.0 in double precision, on sines."""
    shown = [np.sin(0.7 * np.arange(30.0) ** 1.5 + phase).reshape(6, 5) for phase in (0.0, 0.9)]
    found = byol.distance(*map(torch.from_numpy, shown)).item()
    assert found == pytest.approx(2 + 2 * -0.6243319132390578, rel=1e-12)


@pytest.mark.parametrize(("factor", "expected"), [(1, 0), (7, 0), (-1, 4), (-0.1, 4)])
def test_equal_directions_cost_nothing_and_opposite_ones_four(factor, expected):
    z = torch.randn(6, 5)
    assert byol.distance(z, factor * z).item() == pytest.approx(expected, abs=1e-6)


def test_a_prediction_is_compared_with_the_other_view():
    method = build()
    a, b = torch.randn(2, 6, 6)
    rows = {"prediction_a": a, "target_b": a, "prediction_b": b, "target_a": b}
    rows |= {"projection_a": a, "projection_b": b}
    assert method.loss(rows, torch.arange(6))["total"].item() == pytest.approx(0, abs=1e-6)


def test_no_gradient_reaches_the_target():
    method = build()
    method.loss(method.embed(some_views()), torch.arange(6))["total"].backward()
    for module in (method.target_encoder, method.target_projector):
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    assert all(p.grad is not None for p in method.predictor.parameters())
    target = torch.randn(3, 4, requires_grad=True)
    byol.distance(torch.randn(3, 4, requires_grad=True), target).backward()
    assert target.grad is None


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.5])
def test_the_target_follows_at_the_paper_s_momentum(progress):
    method = build(momentum=0.9)
    push(method)
    online, before = networks(method)
    method.before_step(progress)
    momentum = 1 - 0.1 * (np.cos(np.pi * progress) + 1) / 2
    for new, old, leader in zip(networks(method)[1], before, online, strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * leader)


def test_at_the_end_the_target_stands_still():
    method = build(momentum=0.5)
    push(method)
    _, before = networks(method)
    method.before_step(1.0)
    assert all(map(torch.equal, networks(method)[1], before))


def test_without_momentum_the_target_is_the_online_network():
    method = build(momentum=0.0)
    push(method)
    method.before_step(0.0)
    assert all(map(torch.equal, *networks(method)))


def test_the_online_network_is_not_moved_by_the_target():
    method = build()
    push(method)
    before, _ = networks(method)
    method.before_step(0.3)
    assert all(map(torch.equal, networks(method)[0], before))


def test_a_collapse_is_seen_although_the_loss_is_low():
    method = build()
    same = torch.ones(6, 6)
    rows = {
        f"{kind}_{view}": same for kind in ("prediction", "target", "projection") for view in "ab"
    }
    losses = method.loss(rows, torch.arange(6))
    assert losses["total"].item() == pytest.approx(0, abs=1e-6)
    assert losses["projection_std"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("wrong", [{"momentum": 1.1}, {"projector_dim": 1}, {"tau": 0.1}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        loading.decode(byol.Config, wrong, where="method_options")
