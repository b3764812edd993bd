"""What a dry run says is taken from small steps, and holds for whole ones."""

import pytest
import torch
from torch import nn

from medssl.config.pretrain import PretrainSettings
from medssl.data.batches import Shown
from medssl.stages import pretrain
from medssl.training import estimate, preparing, runtime, trial
from medssl.training.step import Step
from medssl.training.update import StepUpdate


class Tiny(nn.Module):
    """A layer and the square of what it returns: what a step keeps can be told by hand."""

    n_views, n_local_views = 1, 0

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(5, 3)

    def embed(self, views):
        return {"rows": self.encoder(views[0]).square()}

    def loss(self, embedded, patients):
        del patients
        return {"total": embedded["rows"].sum()}

    def before_step(self, progress):
        """Do nothing."""


def test_what_an_image_adds_is_what_its_gradients_need():
    step = Step(Tiny())
    shown = Shown(views=[torch.ones(2, 5)], patients=torch.arange(2), target=None)
    before = step.encoder.weight.clone()
    # the layer keeps its input of 5 numbers, the square its input of 3; weights do not count
    assert estimate.bytes_per_image(step, shown) == 4 * (5 + 3)
    assert torch.equal(step.encoder.weight, before)
    assert step.encoder.weight.grad is None


@pytest.mark.parametrize(
    ("whole", "each", "expected"),
    [(64, 1.0, 64), (64, estimate._KEPT // 8, 8), (64, 2 * estimate._KEPT, 2), (2, 1e12, 2)],
)
def test_a_trial_takes_as_many_images_as_fit_and_two_at_least(whole, each, expected):
    assert estimate.fitting(whole, each) == expected


@pytest.fixture
def ready(tiny_archive):
    given = PretrainSettings(archive=tiny_archive, method="simclr", image_size=16, batch_size=12,
                             epochs=4, validation=0.4, pieces=1)  # fmt: skip
    planned = pretrain.plan(given, device="cpu")
    started = runtime.start("cpu", "32")
    made = preparing.prepare(started, planned.settings, planned.steps_per_epoch)
    return started, planned.settings, made


def test_no_step_of_the_trial_has_more_images_than_fit(ready, monkeypatch):
    started, settings, made = ready
    sizes = []
    update = StepUpdate.__call__

    def counted(self, shown):
        sizes.append(len(shown.patients))
        return update(self, shown)

    monkeypatch.setattr(StepUpdate, "__call__", counted)
    monkeypatch.setattr(estimate, "_KEPT", 1)
    cost = estimate.cost(started, settings, made.method, made.images)
    assert sizes == [2] * (trial.WARM_UP + trial.TIMED)
    assert "3 steps of 2 images, scaled to 12" in cost.basis
    assert min(cost.seconds, cost.disk_bytes, cost.memory_bytes) > 0


def test_time_and_memory_are_those_of_the_whole_step(ready, monkeypatch):
    started, settings, made = ready
    monkeypatch.setattr(estimate, "_KEPT", 1)
    monkeypatch.setattr(trial, "seconds_per_step", lambda *_: 5.0)
    monkeypatch.setattr(estimate, "_seconds", lambda _: 1.0)
    monkeypatch.setattr(estimate, "bytes_per_image", lambda *_: 1000.0)
    monkeypatch.setattr(estimate, "peak_memory", lambda: 10**6)
    monkeypatch.setattr(type(made.images.monitors), "seconds", lambda *_: 7.0)
    in_pieces = settings.model_copy(update={"pieces": 3})
    whole, cut = (
        estimate.cost(started, how, made.method, made.images) for how in (settings, in_pieces)
    )
    step = 1 + (5 - 1) * 12 / 2
    measured = 7.0 * (1 + 4)  # before the first epoch and after each of four
    assert whole.seconds == pytest.approx(4 * made.images.steps_per_epoch * step + measured)
    assert cut.seconds == pytest.approx(4 * made.images.steps_per_epoch * step * 4 / 3 + measured)
    assert whole.memory_bytes == 10**6 + 1.5 * 1000 * (12 - 2)
    assert cut.memory_bytes == 10**6 + 1.5 * 1000 * (12 / 3 - 2)


@pytest.mark.parametrize("method", ["swav", "spark"])
def test_what_any_method_keeps_is_found_without_computing(method, tiny_archive):
    given = PretrainSettings(archive=tiny_archive, method=method, image_size=64, batch_size=4)
    planned = pretrain.plan(given, device="cpu")
    made = preparing.prepare(runtime.start("cpu", "32"), planned.settings, planned.steps_per_epoch)
    shown = next(iter(made.images.batches.steps(range(1))))
    state = {name: value.clone() for name, value in made.method.state_dict().items()}
    each = estimate.bytes_per_image(Step(made.method), shown)
    assert each > sum(view[0].nbytes for view in shown.views)
    assert all(torch.equal(state[name], v) for name, v in made.method.state_dict().items())
