"""A site model that judges series by their slices, under every schedule and on any device."""

from functools import partial

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from medssl import freezing
from medssl.config import loading
from medssl.config.task import Task
from medssl.config.training import CutMix, Intensity, MixUp, Views
from medssl.data import mixing
from medssl.data import views as recipes
from medssl.data.bags import BagIntensity, about_slices
from medssl.foundation import plugins
from medssl.losses import cross_entropy
from medssl.models import pooling
from medssl.models.site_model import SiteModel
from medssl.models.vit import ViTEncoder

TASK = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
SLICES = 3


def site_model(kind="attention"):
    torch.manual_seed(0)
    encoder = ViTEncoder(1, (8, 8), dim=16, depth=3, n_heads=2, image_size=(16, 16))
    loss = partial(cross_entropy.loss, task=TASK, config=cross_entropy.Config(), weight=None)
    return SiteModel(encoder, TASK, 0.0, loss=loss, pooling=pooling.build(kind, encoder.dim))


def series(device="cpu"):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, SLICES, 16, 16, generator=generator)
    mask = torch.ones(4, SLICES, dtype=torch.bool)
    mask[0, 2] = False
    about = {"mask": mask, "position_mm": torch.tensor([[-5.0, 0.0, 5.0]]).repeat(4, 1)}
    target = torch.tensor([[0.0], [1.0], [0.0], [1.0]]).double()
    return images.to(device), target.to(device), {k: v.to(device) for k, v in about.items()}


@pytest.mark.parametrize("kind", ["mean", "max", "attention"])
def test_a_series_is_what_its_slices_are_one_by_one(kind):
    site = site_model(kind).eval()
    images, _, about = series()
    single = torch.stack([site.encoder(images[:, k : k + 1]) for k in range(SLICES)], dim=1)
    by_hand = site.judge(site.pooling(single, **about))
    assert torch.allclose(site.logits(images, **about), by_hand, atol=1e-5)


def test_the_head_group_holds_the_pooling():
    site = site_model()
    assert site.groups()["head"] == [site.head, site.pooling]
    site.release_only(["head"])
    released = {name for name, p in site.named_parameters() if p.requires_grad}
    assert {name.partition(".")[0] for name in released} == {"head", "pooling"}


def of_schedule(name, groups):
    plugin = plugins.load(freezing, name)
    options = {"group": groups[-1]} if name == "freeze_to" else {}
    config = loading.decode(plugin.Config, options, where="options")
    return plugin.trainable_groups(5, 10, groups, config)


@pytest.mark.parametrize("name", plugins.names(freezing))
def test_a_training_step_runs_on_the_meta_device(name):
    """From stored slices to the gradient of every weight that trains, mixing included."""
    site = site_model().to("meta").train()
    site.release_only(of_schedule(name, list(site.groups())))
    flat = {
        "image": torch.empty(4 * SLICES, 1, 24, 24, device="meta"),
        "extent": torch.empty(4 * SLICES, 2, device="meta"),
        "slope": torch.empty(4 * SLICES, device="meta"),
        "intercept": torch.empty(4 * SLICES, device="meta"),
        "hu": torch.empty(4 * SLICES, dtype=torch.bool, device="meta"),
    }
    _, target, about = series("meta")
    view = Compose([BagIntensity(Intensity()), recipes.random_view(Views(mask=1.0), (16, 16))])
    view.set_random_state(0)
    shown = view({**flat, **about})["image"]
    for mixed in (
        mixing.cutmix(shown, CutMix(probability=1.0), np.random.default_rng(0)),
        mixing.mixup(shown, MixUp(probability=1.0), np.random.default_rng(0)),
    ):
        assert mixed is not None
        partner, slices = target[mixed.partner], about_slices({**flat, **about})
        found = site(mixed.images, target, partner=partner, kept=mixed.kept, slices=slices)
        found["total"].backward()
    for parameter in site.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad


@pytest.mark.parametrize("name", plugins.names(freezing))
def test_what_a_schedule_freezes_stays_and_the_pooling_learns(name):
    site = site_model().train()
    released = of_schedule(name, list(site.groups()))
    site.release_only(released)
    before = {key: tensor.clone() for key, tensor in site.state_dict().items()}
    free = [p for p in site.parameters() if p.requires_grad]
    stepped = torch.optim.AdamW(free, lr=1e-2)
    images, target, about = series()
    site(images, target, slices=about)["total"].backward()
    stepped.step()
    trains = {name for name, p in site.named_parameters() if p.requires_grad}
    for key, tensor in site.state_dict().items():
        assert torch.equal(tensor, before[key]) == (key not in trains), key
    assert any(key.startswith("pooling") for key in trains)
