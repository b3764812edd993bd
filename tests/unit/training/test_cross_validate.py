"""What a fold really trains on, epoch by epoch, across the phases of a run."""

from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import torch

from medssl.artifacts import predictions
from medssl.config.finetune import FinetuneSettings
from medssl.config.task import Task
from medssl.config.training import CutMix
from medssl.data.batches import Shown
from medssl.data.cohort import Cohort
from medssl.foundation.reporting import Silent
from medssl.losses import cross_entropy
from medssl.models.encoders import resnet18
from medssl.models.site_model import SiteModel
from medssl.training import cross_validate, predict, runtime
from medssl.training.early_stopping import Watch
from medssl.training.phases import Phase
from medssl.training.recipes import Recipe

GROUPS = ("head", "layer4", "layer3", "layer2", "layer1", "stem")
TASK = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
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
                target=torch.tensor([[0.0], [1], [0], [1]]),
            )


class Snapshots(Silent):
    """The values of each layer group at the end of each epoch."""

    def __init__(self, model):
        self.model = model
        self.steps, self.lr, self.factors, self.taken = [], [], [], [values(model)]

    def metrics(self, step, values_of):
        if "total" not in values_of:
            self.factors.append((step, values_of))
            return
        self.steps.append(step)
        self.lr.append(values_of["lr"])
        self.taken.append(values(self.model))


def values(model):
    return {
        name: [t.detach().clone() for part in parts for t in (*part.parameters(), *part.buffers())]
        for name, parts in model.groups().items()
    }


def phase(name, released, lr, mixed, factors=None):
    return Phase(
        name=name,
        released=released,
        max_lr=dict.fromkeys(GROUPS, lr),
        weight_decay=dict.fromkeys(GROUPS, 0.1),
        lr_schedule="constant",
        cutmix=CutMix(probability=mixed),
        factors=factors,
    )


def fitted(planned):
    """What was seen while a fold was trained."""
    torch.manual_seed(0)
    loss = partial(cross_entropy.loss, task=TASK, weight=None, config=cross_entropy.Config())
    encoder = resnet18.build(1, 2, resnet18.Config())
    model = SiteModel(encoder, TASK, 0.1, loss=loss, norms_follow=True)
    recipe = Recipe(
        settings=FinetuneSettings(archive="archive", init_from="none"), cohort=None,
        build_encoder=lambda: None, groups=GROUPS, loss=loss, phases=planned,
    )  # fmt: skip
    seen = Snapshots(model)
    where = runtime.start("cpu", "32")
    cross_validate._fit(
        where, recipe, model, Batches(), seen, "fold", watch=Watch(None), inner=None
    )
    return seen


@pytest.fixture
def planned():
    return (
        phase("probe", (("head",), ("head",)), 1e-3, mixed=0.0),
        phase("progressive", RELEASED, 1e-2, mixed=1.0),
    )


def test_a_group_moves_in_the_epochs_it_is_released_in_and_in_no_other(planned):
    """Parameters and buffers; a group that is frozen again keeps its value too."""
    seen = fitted(planned)
    for epoch, released in enumerate((("head",), ("head",), *RELEASED)):
        before, after = seen.taken[epoch : epoch + 2]
        moved = {g for g in GROUPS if not all(map(torch.equal, before[g], after[g]))}
        assert moved == set(released), epoch
    assert seen.steps == [2, 4, 6, 8, 10, 12]
    assert seen.lr == pytest.approx([1e-3] * 2 + [1e-2] * 4)


def test_measured_rates_are_those_of_the_first_batch_of_their_epoch():
    """A factor of 0 for a group in the second epoch: it moves in the first and not in that."""
    asked = []

    def factors(relative):
        asked.append(dict(relative))
        return {name: float(len(asked) == 1 or name == "head") for name in relative}

    released = (("head", "layer4"),) * 2
    seen = fitted((phase("own", released, 1e-2, mixed=1.0, factors=factors),))
    assert [set(relative) for relative in asked] == [{"head", "layer4"}] * 2
    assert asked[0] != asked[1]
    assert [step for step, _ in seen.factors] == [0, 2]
    assert seen.factors[1][1] == {"epoch": 2, "factor.head": 1.0, "factor.layer4": 0.0}
    assert seen.steps == [2, 4]
    weights = [taken["layer4"][0] for taken in seen.taken]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(seen.taken[1]["head"][0], seen.taken[2]["head"][0])


def test_epochs_are_counted_through_and_the_probe_is_never_mixed(planned):
    batches = Batches()
    shown = list(cross_validate._arguments(batches, planned))
    assert batches.asked == list(range(6))
    assert [len(named) for _, named in shown] == [0] * 4 + [2] * 8
    for ((images, target), named), k in zip(shown[4:], range(4, 12), strict=True):
        partner, kept = named["partner"], named["kept"]
        step = list(batches.epoch(k // 2))[k % 2]
        (plain,), own = step.views, step.target
        assert torch.equal(target, own)
        for image, before, label in zip(images, plain, partner, strict=True):
            pasted = image != before
            if pasted.any():
                sources = [torch.equal(image[pasted], other[pasted]) for other in plain]
                assert label == own[sources.index(True)]
                assert pasted.float().mean().item() == pytest.approx(1 - kept, abs=1e-6)
    shares = np.array([named["kept"] for _, named in shown[4:]])
    assert len(set(shares.round(6))) > 4  # every batch is mixed in its own way


def test_a_target_without_a_label_in_a_part_has_no_rows_there():
    """A column of no rows is of no type of its own, and was not put together with the others."""
    task = Task(kind="regression", targets=("amount", "rare"))
    ids = pa.array(["a", "b"])
    part = Cohort(
        archive=None,
        table=pa.table({"image_id": ids, "patient_key": ids, "site": pa.nulls(2, pa.string())}),
        task=task,
        label=np.array([[1.0, np.nan], [2.0, np.nan]]),
    )
    where = {"repeat": 0, "fold": 1, "seed": 0, "name": "test"}
    table = predict.rows(part, np.array([[3.0, 4], [5, 6]]), **where)
    assert table.schema.remove_metadata() == predictions.PREDICTIONS.remove_metadata()
    assert table["target"].to_pylist() == ["amount"] * 2
    assert table["score"].to_pylist() == [3.0, 5.0]
    nobody = replace(part, label=np.full((2, 2), np.nan))
    assert len(predict.rows(nobody, np.zeros((2, 2)), **where)) == 0
