"""What every file of methods/ must do, tested from the moment it exists."""

import pytest
import torch

from medssl import methods
from medssl.config import loading
from medssl.config.training import Intensity, Views
from medssl.data import views as recipes
from medssl.foundation import plugins
from medssl.models.encoders import resnet18
from medssl.training import optim

NAMES = plugins.names(methods)


def build(name, seed=0, spatial_dims=2):
    plugin = plugins.load(methods, name)
    torch.manual_seed(seed)
    encoder = resnet18.build(1, spatial_dims, resnet18.Config())
    return plugin.Method(encoder, loading.decode(plugin.Config, {}, where="options"))


def some_views(method, spatial_dims=2, n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (n, 1, *(32,) * spatial_dims)
    return [torch.randn(shape, generator=generator) for _ in range(method.n_views)]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_line_names_the_paper(name):
    assert "arXiv:" in plugins.summary(methods, name)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_loss_is_finite_and_reaches_every_parameter(name, spatial_dims):
    method = build(name, spatial_dims=spatial_dims)
    losses = method(some_views(method, spatial_dims))
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())
    losses["total"].backward()
    still = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert still == []


@pytest.mark.parametrize("name", NAMES)
def test_some_steps_lower_the_loss_on_fixed_images(name):
    method = build(name)
    shown = some_views(method, n=8)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    history = []
    for _ in range(8):
        loss = method(shown)["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < history[0]


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_loss_bit_for_bit(name):
    first, second = (build(name, seed=3) for _ in range(2))
    shown = some_views(first)
    assert torch.equal(first(shown)["total"], second(shown)["total"])


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_batch_does_not_matter(name):
    method = build(name).double()
    shown = [view.double() for view in some_views(method, n=6)]
    turned = [view.flip(0) for view in shown]
    torch.testing.assert_close(method(shown)["total"], method(turned)["total"])


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(name):
    first, second = build(name, seed=1), build(name, seed=2)
    second.load_state_dict(first.state_dict())
    shown = some_views(first)
    assert torch.equal(first(shown)["total"], second(shown)["total"])


@pytest.mark.parametrize("name", NAMES)
def test_one_step_with_its_views_runs_on_the_meta_device(name):
    """There a mix of host and device tensors, or any wait for the device, raises."""
    method = build(name).to("meta")
    optimizer = optim.adamw({"all": optim.LayerGroup(modules=[method], lr=1e-3, weight_decay=1e-4)})
    scheduler = optim.warmup_cosine(optimizer, steps=10, warmup=0.1)
    batch = {
        "image": torch.empty(4, 1, 64, 64, device="meta"),
        "extent": torch.empty(4, 2, device="meta"),
        "slope": torch.empty(4, device="meta"),
        "intercept": torch.empty(4, device="meta"),
        "hu": torch.empty(4, dtype=torch.bool, device="meta"),
    }
    prepared = recipes.ToIntensity(Intensity())(batch)
    view = recipes.random_view(Views(), 32)
    shown = []
    for seed in range(method.n_views):
        view.set_random_state(seed)
        shown.append(view(dict(prepared))["image"])
    method(shown)["total"].backward()
    optimizer.step()
    scheduler.step()
    assert all(p.grad.device.type == "meta" for p in method.parameters())
