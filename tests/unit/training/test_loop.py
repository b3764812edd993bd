"""The loop: what it logs, when it stops, and that randomness is a function of the step."""

import math

import pytest
import torch
from torch import nn

from medssl.foundation.errors import TrainingError
from medssl.foundation.reporting import Recording
from medssl.training import loop, runtime
from medssl.training.state import TrainState


class Noisy(nn.Module):
    """A module with dropout, so that its loss depends on the global generator."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        loss = self.dropout(self.linear(x)).square().mean()
        return {"total": loss, "twice": 2 * loss}


def state(started, seed=0):
    torch.manual_seed(0)
    module = Noisy()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    module, optimizer = started.setup(module, optimizer)
    return TrainState(module, optimizer, schedule, seed=seed)


@pytest.fixture(scope="module")
def started():
    return runtime.start("cpu", "32")


def train(started, made, steps, told, **more):
    logged = loop.train(started, made, steps, told, update=loop.one_call(started, made), **more)
    return logged if more else loop.log(made, told)


def batches(n):
    return [((torch.full((2, 8), float(i + 1)),), {}) for i in range(n)]


def test_it_logs_the_mean_of_every_part(started, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 4)
    told, made = Recording(), state(started)
    last = train(started, made, batches(10), told)
    assert [step for step, _ in told.values] == [4, 8, 10]
    assert made.step == 10
    assert set(last) == {"total", "twice"}
    for _, values in told.values:
        assert values["twice"] == pytest.approx(2 * values["total"])
        assert (values["epoch"], values["lr"]) == (1, 0.01)


def test_dropout_is_a_function_of_seed_and_step(started):
    first, again, other = state(started), state(started), state(started, seed=1)
    train(started, first, batches(6), Recording())
    train(started, again, batches(3), Recording())
    torch.manual_seed(123)  # whatever happened in between, such as a restart
    train(started, again, batches(6)[3:], Recording())
    train(started, other, batches(6), Recording())
    weight = first.module.linear.weight
    assert torch.equal(weight, again.module.linear.weight)
    assert not torch.equal(weight, other.module.linear.weight)


def test_a_loss_that_is_not_finite_stops_the_run(started):
    broken = [((torch.full((2, 8), math.inf),), {})]
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) by step 1"):
        train(started, state(started), broken, Recording())


def test_it_leaves_after_the_step_it_is_told_to_and_keeps_what_is_not_logged(started, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 4)
    whole, told = state(started), Recording()
    train(started, whole, batches(8), told)
    halves, told_halves = state(started), Recording()
    assert train(started, halves, batches(8), told_halves, stop=lambda s: s.step == 6)
    assert (halves.step, halves.n_unlogged) == (6, 2)
    again = state(started)
    again.load_dict(halves.to_dict())
    train(started, again, batches(8)[6:], told_halves)
    assert told_halves.values == told.values  # the mean of steps 5 to 8, whatever happened between
    assert torch.equal(whole.module.linear.weight, again.module.linear.weight)


def test_gradients_are_clipped(started):
    made = state(started)
    steps = []

    def measure(*_):
        steps.append(torch.cat([p.grad.flatten() for p in made.module.parameters()]).norm().item())

    made.optimizer.optimizer.register_step_pre_hook(measure)
    train(started, made, batches(3), Recording(), clip=1e-3)
    assert steps == pytest.approx([1e-3] * 3, rel=1e-3)
