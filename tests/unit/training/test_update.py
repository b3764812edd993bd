"""A step in pieces is the whole step, and memory that runs out makes the pieces smaller."""

import copy

import pytest
import torch
from torch import nn

from medssl.data.batches import Shown
from medssl.foundation.errors import ResourceError
from medssl.foundation.reporting import Recording
from medssl.methods import mocov2, simclr
from medssl.training import optim, runtime
from medssl.training.state import TrainState
from medssl.training.step import Step
from medssl.training.update import StepUpdate

CPU_FULL = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"


class Small(nn.Module):
    """An encoder without batch statistics."""

    dim = 6

    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh())
        self.most = 1000  # images it has memory for

    def forward(self, images):
        if len(images) > self.most:
            raise RuntimeError(CPU_FULL)
        return self.layer(images)

    def groups(self):
        return {"layer": [self.layer]}

    def constructor(self):
        return ""


def shown(n=8):
    generator = torch.Generator().manual_seed(5)
    views = [torch.randn(n, 1, 4, 4, generator=generator) for _ in range(2)]
    return Shown(views=views, patients=torch.arange(n) // 2, target=None)


def update_of(pieces=1, told=None, most=1000):
    torch.manual_seed(0)
    encoder = Small()
    encoder.most = most
    config = simclr.Config(projector_hidden=8, projector_dim=4, projector_norm="layer")
    step = Step(simclr.Method(encoder, config))
    started = runtime.start("cpu", "32")
    module, optimizer = started.setup(step, torch.optim.SGD(step.parameters(), lr=0.1))
    state = TrainState(module, optimizer, optim.constant(optimizer), seed=0, pieces=pieces)
    return StepUpdate(started, state, step, 10, told or Recording()), state


def gradients(state):
    named = state.module.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.requires_grad}


@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_pieces_give_the_loss_and_the_gradients_of_the_whole_step(pieces):
    whole, state = update_of()
    losses = whole(shown())
    parts, state_of_parts = update_of(pieces)
    losses_of_parts = parts(shown())
    assert losses.keys() == losses_of_parts.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(losses_of_parts[name], loss, rtol=1e-6, atol=1e-7)
    expected, found = gradients(state), gradients(state_of_parts)
    assert all(value.abs().sum() > 0 for value in expected.values())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_losses_of_pieces_apart_would_be_another_thing():
    whole, state = update_of()
    whole(shown())
    expected = gradients(state)
    apart, state = update_of()
    images = shown()
    for half in (slice(0, 4), slice(4, 8)):
        part = Shown(views=[v[half] for v in images.views], patients=images.patients[half], target=None)  # fmt: skip  # noqa: E501
        apart(part)
    found = {name: value / 2 for name, value in gradients(state).items()}
    with pytest.raises(AssertionError):
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-4)


def test_running_statistics_move_once():
    class Norm(Small):
        def __init__(self):
            super().__init__()
            self.layer = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 6))

    torch.manual_seed(0)
    step = Step(simclr.Method(Norm(), simclr.Config(projector_hidden=8, projector_dim=4)))
    before = copy.deepcopy(step)
    started = runtime.start("cpu", "32")
    module, optimizer = started.setup(step, torch.optim.SGD(step.parameters(), lr=0.1))
    state = TrainState(module, optimizer, optim.constant(optimizer), seed=0, pieces=2)
    StepUpdate(started, state, step, 10, Recording())(shown())
    images = shown()
    for half in (slice(0, 4), slice(4, 8)):
        before.embed([view[half] for view in images.views])
    own, other = step.state_dict(), before.state_dict()
    moved = [name for name in own if "running" in name or "tracked" in name]
    assert moved
    for name in moved:
        torch.testing.assert_close(own[name], other[name])


def test_memory_that_runs_out_is_met_with_smaller_pieces_of_the_same_step():
    whole, state = update_of()
    whole(shown())
    told = Recording()
    short, state_of_short = update_of(told=told, most=2)
    short(shown())
    assert state_of_short.pieces == 4
    assert told.warnings == [
        "out of memory: steps of 8 images go on in 2 pieces",
        "out of memory: steps of 8 images go on in 4 pieces",
    ]
    torch.testing.assert_close(gradients(state_of_short), gradients(state), rtol=1e-5, atol=1e-7)


def queue_update(pieces, monkeypatch=None):
    """MoCo after two steps; with ``monkeypatch`` the second runs out of memory at its end."""
    torch.manual_seed(0)
    config = mocov2.Config(
        projector_hidden=8, projector_dim=4, queue=16, split_bn=1, projector_norm="layer"
    )
    step = Step(mocov2.Method(Small(), config))
    started = runtime.start("cpu", "32")
    module, optimizer = started.setup(step, torch.optim.SGD(step.parameters(), lr=0.1))
    state = TrainState(module, optimizer, optim.constant(optimizer), seed=0, pieces=pieces)
    module.train()
    update = StepUpdate(started, state, step, 10, Recording())
    update(shown())
    optimizer.zero_grad()
    state.step = 1
    if monkeypatch is not None:
        real, calls = type(started).backward, []

        def once_too_much(self, loss):
            calls.append(loss)
            if len(calls) == 1:
                raise RuntimeError(CPU_FULL)
            real(self, loss)

        monkeypatch.setattr(type(started), "backward", once_too_much)
    other = shown()
    patients = other.patients + 100
    return update(Shown(views=other.views[::-1], patients=patients, target=None)), step, state


def test_a_step_that_runs_out_at_its_end_is_not_remembered_twice(monkeypatch):
    losses, step, state = queue_update(1, monkeypatch)
    monkeypatch.undo()
    expected, whole, state_of_whole = queue_update(2)
    assert state.pieces == 2
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradients(state), gradients(state_of_whole))
    torch.testing.assert_close(dict(step.named_buffers()), dict(whole.named_buffers()))


def test_memory_for_less_than_two_images_is_an_error():
    short, _ = update_of(most=1)
    with pytest.raises(ResourceError, match="out of memory"):
        short(shown())


def test_other_failures_pass_through():
    broken, _ = update_of()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        broken(Shown(views=[torch.zeros(4, 1, 3, 3)] * 2, patients=torch.arange(4), target=None))
