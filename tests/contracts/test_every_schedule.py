"""What every file of freezing/ must do, tested from the moment it exists."""

import narrow
import numpy as np
import pytest
import torch

from medssl import freezing
from medssl.config import loading
from medssl.config.training import CutMix, Intensity, Views
from medssl.data import views as recipes
from medssl.data.mixing import cutmix
from medssl.foundation import plugins
from medssl.models.site_model import SiteModel
from medssl.training import optim

NAMES = plugins.names(freezing)
GROUPS = ["head", "layer4", "layer3", "layer2", "layer1", "stem"]
EPOCHS = 10


def load(name):
    plugin = plugins.load(freezing, name)
    return plugin, loading.decode(plugin.Config, {}, where="options")


def site_model():
    return SiteModel(narrow.residual(), n_outputs=1, dropout=0.1)


def layer_groups(plugin, config, groups):
    return {
        name: optim.LayerGroup(
            modules=modules, lr=plugin.max_lr(name, list(groups), config), weight_decay=0.1
        )
        for name, modules in groups.items()
    }


def values(modules):
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    return [tensor.detach().clone() for tensor in tensors]


@pytest.mark.parametrize("name", NAMES)
def test_it_names_groups_that_exist_and_always_the_head(name):
    plugin, config = load(name)
    for epoch in range(EPOCHS):
        released = plugin.trainable_groups(epoch, EPOCHS, GROUPS, config)
        assert "head" in released
        assert set(released) <= set(GROUPS)
        assert all(plugin.max_lr(group, GROUPS, config) > 0 for group in released)


@pytest.mark.parametrize("name", NAMES)
def test_frozen_groups_stay_bit_identical_and_released_ones_move(name):
    """Parameters and buffers: running statistics of batch norm must not drift either."""
    plugin, config = load(name)
    model = site_model()
    groups = model.groups()
    optimizer = optim.adamw(layer_groups(plugin, config, groups))
    released = plugin.trainable_groups(0, EPOCHS, list(groups), config)
    model.release_only(released)
    before = {group: values(parts) for group, parts in groups.items()}
    for step in range(2):
        model.train()
        images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(step))
        model(images, torch.tensor([0, 1, 0, 1]))["total"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    for group, parts in groups.items():
        same = all(map(torch.equal, before[group], values(parts)))
        assert same == (group not in released), group


@pytest.mark.parametrize("name", NAMES)
def test_one_step_with_its_views_and_mixing_runs_on_the_meta_device(name):
    plugin, config = load(name)
    model = site_model().to("meta")
    groups = model.groups()
    model.release_only(plugin.trainable_groups(0, EPOCHS, list(groups), config))
    optimizer = optim.adamw(layer_groups(plugin, config, groups))
    scheduler = optim.one_cycle(optimizer, steps=10)
    model.train()
    view = recipes.random_view(Views(mask=1.0, flip=0.5), (32, 32))
    view.set_random_state(0)
    stored = {
        "image": torch.empty(4, 1, 64, 64, device="meta"),
        "extent": torch.empty(4, 2, device="meta"),
        "slope": torch.empty(4, device="meta"),
        "intercept": torch.empty(4, device="meta"),
        "hu": torch.empty(4, dtype=torch.bool, device="meta"),
    }
    shown = view(recipes.ToIntensity(Intensity(), headroom=0.2)(stored))["image"]
    mixed = cutmix(shown, CutMix(probability=1.0), np.random.default_rng(0))
    target = torch.empty(4, dtype=torch.int64, device="meta")
    model(mixed.images, target, target[mixed.partner], mixed.kept)["total"].backward()
    optimizer.step()
    scheduler.step()
    assert model.head[1].weight.grad.device.type == "meta"
