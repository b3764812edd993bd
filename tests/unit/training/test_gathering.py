"""Gathering in one process, and a step in pieces; for two see tests/pipeline/test_processes.py."""

import pytest
import torch

from medssl import methods
from medssl.foundation import plugins
from medssl.models.encoders import resnet18
from medssl.training import gathering
from medssl.training.step import Step


def test_alone_the_rows_are_themselves():
    rows = torch.ones(2, 3, requires_grad=True)
    assert gathering.gather(rows) is rows


@pytest.fixture
def step():
    torch.manual_seed(0)
    plugin = plugins.load(methods, "vicreg")
    encoder = resnet18.build(1, 2, resnet18.Config(norm="group"))
    config = plugin.Config(projector_dim=16, projector_norm="layer")
    return Step(plugin.Method(encoder, config)).double()


def test_a_step_is_the_two_halves_of_its_method(step):
    views = [torch.randn(4, 1, 32, 32).double() for _ in range(2)]
    patients = torch.arange(4)
    expected = step.method.loss(step.method.embed(views), patients)
    found = step(views, patients)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert step.encoder is step.method.encoder


def test_pieces_with_the_gradients_of_the_rows_add_up_to_the_gradient_of_the_loss(step):
    views = [torch.randn(4, 1, 32, 32).double() for _ in range(2)]
    patients = torch.arange(4)
    step(views, patients)["total"].backward()
    whole = [p.grad.clone() for p in step.parameters()]
    step.zero_grad()
    rows = {name: value.detach().requires_grad_() for name, value in step.embed(views).items()}
    step.compare(rows, patients)["total"].backward()
    for piece in (slice(0, 1), slice(1, 4)):
        gradients = {name: value.grad[piece] for name, value in rows.items()}
        found = step([view[piece] for view in views], patients[piece], gradients)
        assert found.keys() == {"total"}
        found["total"].backward()
    for p, expected in zip(step.parameters(), whole, strict=True):
        torch.testing.assert_close(p.grad, expected)
