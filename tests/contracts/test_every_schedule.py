"""What every file of freezing/ must do, tested from the moment it exists."""

import functools
from functools import partial

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet as monai_resnet

from medssl import freezing
from medssl.config import loading
from medssl.config.finetune import FinetuneSettings
from medssl.config.task import Task
from medssl.config.training import CutMix, Intensity, MixUp, Views
from medssl.data import mixing
from medssl.data import views as recipes
from medssl.foundation import plugins
from medssl.foundation.reporting import Silent
from medssl.losses import cross_entropy
from medssl.models import encoders
from medssl.models.resnet import Options, ResNetEncoder
from medssl.models.site_model import SiteModel, norms_of
from medssl.models.vit import ViTEncoder
from medssl.training import loop, phases, relative_gradients, runtime
from medssl.training.state import TrainState

NAMES = plugins.names(freezing)
GROUPS = ["head", "layer4", "layer3", "layer2", "layer1", "stem"]
NETWORKS = ["resnet, batch norm", "resnet, group norm", "vit"]
LIKELIHOOD = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
EPOCHS = 10


def load(name):
    plugin = plugins.load(freezing, name)
    return plugin, loading.decode(plugin.Config, {}, where="options")


def narrow(network):
    """A ResNet-18 of a sixteenth of the width, or a ViT of four small blocks."""
    if network == "vit":
        return ViTEncoder(1, (8, 8), dim=16, depth=4, n_heads=2, image_size=(16, 16))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(monai_resnet, "get_inplanes", lambda: [4, 8, 16, 32])
        norm = network.split(", ")[1].removesuffix(" norm")
        return ResNetEncoder("resnet18", 1, 2, 32, Options(norm=norm))


def site_model(network=NETWORKS[0], **options):
    torch.manual_seed(0)
    loss = partial(cross_entropy.loss, task=LIKELIHOOD, weight=None, config=cross_entropy.Config())
    options = {"dropout": 0.1, "norms_follow": True, **options}
    return SiteModel(narrow(network), LIKELIHOOD, loss=loss, **options)


def planned(name, groups, *, epochs, normed=None, **values):
    settings = FinetuneSettings(
        archive="archive", init_from="none", schedule=name, epochs=epochs, **values
    )
    plugin, config = load(name)
    return phases.plan(settings, plugin, config, list(groups), normed)


def calls(seed, steps=2, side=64):
    """Calls of the steps of an epoch; the images of the first are mixed."""
    found = []
    for step in range(steps):
        drawn = torch.Generator().manual_seed(100 * seed + step)
        images, target = torch.randn(4, 1, side, side, generator=drawn), torch.eye(4)[:, :1]
        named = {"partner": target.flip(0), "kept": 0.7} if step == 0 else {}
        found.append(((images, target), named))
    return found


def train(model, chain, seen=lambda *_: None, reporter=None):
    """Walk the phases as a fold does; ``seen`` is told before and after each epoch."""
    where, reporter, epoch = runtime.start("cpu", "32"), reporter or Silent(), 0
    for phase in chain:
        module, stepped = where.setup(model, phases.optimizer(phase, model.groups()))
        moved = phases.scheduler(phase, stepped, 2)
        state = TrainState(module, stepped, moved, 0, epoch=epoch, step=2 * epoch)
        for released in phase.released:
            model.release_only(released)
            steps = iter(calls(epoch))
            if phase.factors is not None:
                steps = relative_gradients.scaled(
                    where, model, state, phase.factors, steps, reporter
                )
            seen(released, "before")
            loop.train(where, state, steps, reporter, update=watched(where, state, seen))
            seen(released, "after")
            state.epoch = epoch = epoch + 1
        assert state.step == 2 * epoch  # none was lost


def watched(where, state, seen):
    """The update of a step, which shows the gradients it left to the optimiser."""
    update = loop.one_call(where, state)

    def updated(call):
        losses = update(call)
        seen([p for p in state.module.parameters() if p.grad is not None], "gradients")
        return losses

    return updated


def tensors(modules):
    return [t.detach().clone() for m in modules for t in (*m.parameters(), *m.buffers())]


def same(before, after):
    return all(map(torch.equal, before, after))


class Ledger:
    """Compares every tensor of every layer group before and after each epoch."""

    def __init__(self, model):
        self.model, self.groups, self.epochs = model, model.groups(), 0
        self.driven = set()

    def __call__(self, released, when):
        if when == "gradients":
            self.driven |= {id(p) for p in released if p.grad.any()}
            return
        if when == "before":
            self.before = {name: tensors(modules) for name, modules in self.groups.items()}
            self.weights = {id(p): p.detach().clone() for p in self.model.parameters()}
            self.driven.clear()
            return
        self.epochs += 1
        for name, modules in self.groups.items():
            own = [p for module in modules for p in module.parameters()]
            if f"{name}.norms" in released:
                own = [p for norm in norms_of(modules) for p in norm.parameters()]
            elif name not in released:
                assert same(self.before[name], tensors(modules)), name
                own = []
            self.check(name, modules, own)

    def check(self, name, modules, trainable):
        """Of a group, these parameters trained, and those alone."""
        wanted = {id(p) for p in trainable}
        for module in modules:
            for key, parameter in module.named_parameters():
                moved = not torch.equal(self.weights[id(parameter)], parameter)
                assert parameter.requires_grad == (id(parameter) in wanted), (name, key)
                assert moved == (id(parameter) in self.driven & wanted), (name, key)
        if wanted:
            driven = len(wanted & self.driven) / len(wanted)
            assert driven > 0.8, name  # a filter behind a unit that is off has no gradient


@pytest.mark.parametrize("name", NAMES)
def test_it_names_groups_that_exist_and_always_the_head(name):
    plugin, config = load(name)
    for epoch in range(EPOCHS):
        released = plugin.trainable_groups(epoch, EPOCHS, GROUPS, config)
        assert "head" in released
        owners = [group.removesuffix(".norms") for group in released]
        assert set(owners) <= set(GROUPS)
        assert len(set(owners)) == len(owners)
        assert all(plugin.max_lr(group, GROUPS, config) > 0 for group in owners)
        for group in set(GROUPS) - set(owners):
            later = range(EPOCHS)
            if not any(group in plugin.trainable_groups(k, EPOCHS, GROUPS, config) for k in later):
                assert plugin.max_lr(group, GROUPS, config) == 0


@functools.cache
def groups_of(encoder):
    module = plugins.load(encoders, encoder)
    with torch.device("meta"):
        return ["head", *reversed(module.build(1, 2, module.Config()).groups())]


@pytest.mark.parametrize("encoder", plugins.names(encoders))
@pytest.mark.parametrize("name", NAMES)
def test_it_fits_the_layer_groups_of_every_encoder(name, encoder):
    groups = groups_of(encoder)
    chain = planned(name, groups, epochs=EPOCHS)
    assert chain[-1].released
    rates = phases.learning_rates(chain, 3)
    assert list(rates) == groups
    assert np.isfinite(rates["head"]).all()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_in_every_epoch_what_is_released_moves_and_nothing_else(name, network):
    """Parameters and buffers, bit by bit; with a decay that would show on what is frozen."""
    model = site_model(network)
    ledger = Ledger(model)
    constant = len(set(planned(name, GROUPS, epochs=EPOCHS)[-1].released)) == 1
    decay = {"weight_decay": 0.3, "decay_all": True}
    chain = planned(name, model.groups(), epochs=2 if constant else EPOCHS, optim=decay)
    train(model, chain, ledger)
    assert ledger.epochs == sum(phase.epochs for phase in chain)


@pytest.mark.parametrize("follow", [True, False])
def test_statistics_follow_where_layers_train_or_nowhere(follow):
    model = site_model(norms_follow=follow)
    kept = [(key, b.clone()) for key, b in model.named_buffers() if "running" in key]
    assert kept
    train(model, planned("full", model.groups(), epochs=1))
    moved = [not torch.equal(value, model.get_buffer(key)) for key, value in kept]
    assert set(moved) == {follow}


def test_everything_released_from_the_start_is_plain_fine_tuning():
    """As torch alone would do it: one group of parameters, one rate, no freezing anywhere."""
    options = {"head_lr": 1e-3, "lr": [1e-3] * 5, "release": [0.0] * 5}
    plugin = plugins.load(freezing, "progressive")
    config = loading.decode(plugin.Config, options, where="options")
    settings = FinetuneSettings(
        archive="archive", init_from="none", schedule="progressive", epochs=2,
        optim={"weight_decay": 0.1, "decay_all": True},
    )  # fmt: skip
    ours, plain = site_model(dropout=0.0), runtime.fast_layout(site_model(dropout=0.0))
    chain = phases.plan(settings, plugin, config, list(ours.groups()))
    train(ours, chain)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.1)
    factors = iter([1.0, 0.5 * (1 + np.cos(np.pi / 4)), 0.5, 0.5 * (1 - np.cos(np.pi / 4))])
    for epoch in range(2):
        for arguments, named in calls(epoch):
            optimizer.param_groups[0]["lr"] = 1e-3 * float(next(factors))
            plain.train()
            optimizer.zero_grad()
            plain(*arguments, **named)["total"].backward()
            optimizer.step()
    for (key, a), b in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=1e-5, atol=1e-7), key


@pytest.mark.parametrize("network", ["resnet, batch norm", "vit"])
@pytest.mark.parametrize("name", NAMES)
def test_its_steps_with_views_and_mixing_run_on_the_meta_device(name, network):
    """Where nothing can wait for the device, as there is none; every release is tried."""
    model = site_model(network).to("meta")
    for phase in planned(name, model.groups(), epochs=EPOCHS):
        optimizer = phases.optimizer(phase, model.groups())
        scheduler = phases.scheduler(phase, optimizer, 2)
        for k, released in enumerate(dict.fromkeys(phase.released)):
            model.release_only(released)
            model.train()
            target = torch.empty(4, 1, device="meta")
            shown = torch.empty(4, 1, 32, 32, device="meta")
            if network == NETWORKS[0] and k == 0 and phase.name == name:
                shown = shown_on_meta()
            mixed = mixing.mix(shown, MixUp(), CutMix(probability=1.0), np.random.default_rng(k))
            named = {"partner": target[mixed.partner], "kept": mixed.kept}
            if phase.factors is not None:
                measured = relative_gradients.measure(
                    runtime.start("cpu", "32"), model, ((mixed.images, target), named)
                )
                assert {value.device.type for value in measured.values()} == {"meta"}
            model(mixed.images, target, **named)["total"].backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            scheduler.step()


def shown_on_meta():
    view = recipes.random_view(Views(mask=1.0, flip=0.5), (32, 32))
    view.set_random_state(0)
    stored = {
        "image": torch.empty(4, 1, 64, 64, device="meta"),
        "extent": torch.empty(4, 2, device="meta"),
        "slope": torch.empty(4, device="meta"),
        "intercept": torch.empty(4, device="meta"),
        "hu": torch.empty(4, dtype=torch.bool, device="meta"),
    }
    return view(recipes.ToIntensity(Intensity(), headroom=0.2)(stored))["image"]
