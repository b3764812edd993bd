"""What a fold really trains on, epoch by epoch, across the phases of a run."""

import numpy as np
import pytest
import torch

from medssl.config.finetune import FinetuneSettings
from medssl.config.training import CutMix
from medssl.data.batches import Shown
from medssl.foundation.reporting import Silent
from medssl.models.encoders import resnet18
from medssl.models.site_model import SiteModel
from medssl.training import cross_validate, runtime
from medssl.training.cross_validate import Recipe
from medssl.training.phases import Phase

GROUPS = ("head", "layer4", "layer3", "layer2", "layer1", "stem")
RELEASED = (("head",), ("head", "layer4"), ("head", "layer4"), ("head",))


class Batches:
    """Two steps of four images, and a note of the epochs that were asked for."""

    steps_per_epoch, batch_size, seed = 2, 4, 7

    def __init__(self):
        self.asked = []

    def epoch(self, epoch):
        self.asked.append(epoch)
        for step in range(self.steps_per_epoch):
            generator = torch.Generator().manual_seed(10 * epoch + step)
            yield Shown(
                views=[torch.randn(4, 1, 32, 32, generator=generator)],
                patients=torch.arange(4),
                target=torch.tensor([0, 1, 0, 1]),
            )


class Snapshots(Silent):
    """The values of each layer group at the end of each epoch."""

    def __init__(self, model):
        self.model = model
        self.steps, self.lr, self.taken = [], [], [values(model)]

    def metrics(self, step, values_of):
        self.steps.append(step)
        self.lr.append(values_of["lr"])
        self.taken.append(values(self.model))


def values(model):
    return {
        name: [t.detach().clone() for part in parts for t in (*part.parameters(), *part.buffers())]
        for name, parts in model.groups().items()
    }


def phase(name, released, lr, mixed):
    return Phase(
        name=name,
        released=released,
        max_lr=dict.fromkeys(GROUPS, lr),
        weight_decay=dict.fromkeys(GROUPS, 0.1),
        lr_schedule="constant",
        cutmix=CutMix(probability=mixed),
    )


@pytest.fixture
def planned():
    return (
        phase("probe", (("head",), ("head",)), 1e-3, mixed=0.0),
        phase("progressive", RELEASED, 1e-2, mixed=1.0),
    )


def test_a_group_moves_in_the_epochs_it_is_released_in_and_in_no_other(planned):
    """Parameters and buffers; a group that is frozen again keeps its value too."""
    torch.manual_seed(0)
    model = SiteModel(resnet18.build(1, 2, resnet18.Config()), n_outputs=1, dropout=0.1)
    settings = FinetuneSettings(archive="archive", init_from="none")
    recipe = Recipe(settings=settings, build_encoder=lambda: None, phases=planned)
    seen = Snapshots(model)
    cross_validate._fit(runtime.start("cpu", "32"), recipe, model, Batches(), seen, "fold")
    for epoch, released in enumerate((("head",), ("head",), *RELEASED)):
        before, after = seen.taken[epoch : epoch + 2]
        moved = {g for g in GROUPS if not all(map(torch.equal, before[g], after[g]))}
        assert moved == set(released), epoch
    assert seen.steps == [2, 4, 6, 8, 10, 12]
    assert seen.lr == pytest.approx([1e-3] * 2 + [1e-2] * 4)


def test_epochs_are_counted_through_and_the_probe_is_never_mixed(planned):
    batches = Batches()
    shown = list(cross_validate._arguments(batches, planned))
    assert batches.asked == list(range(6))
    assert [len(arguments) for arguments in shown] == [2] * 4 + [4] * 8
    for (images, target, partner, kept), k in zip(shown[4:], range(4, 12), strict=True):
        step = list(batches.epoch(k // 2))[k % 2]
        (plain,), own = step.views, step.target
        assert torch.equal(target, own)
        for image, before, label in zip(images, plain, partner, strict=True):
            pasted = image != before
            if pasted.any():
                sources = [torch.equal(image[pasted], other[pasted]) for other in plain]
                assert label == own[sources.index(True)]
                assert pasted.float().mean().item() == pytest.approx(1 - kept, abs=1e-6)
    shares = np.array([kept for *_, kept in shown[4:]])
    assert len(set(shares.round(6))) > 4  # every batch is mixed in its own way
