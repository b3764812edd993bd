"""What every file of models/encoders/ must do, tested from the moment it exists."""

import copy
import dataclasses

import pytest
import torch
from without_medssl import built, features

from medssl.config import loading
from medssl.foundation import plugins
from medssl.models import encoders, weights

NAMES = plugins.names(encoders)
SMALL = {"depth": 2, "image_size": 32}  # of a transformer, which has these options
SHAPES = {2: (2, 1, 32, 32), 3: (2, 1, 16, 32, 32)}


def is_transformer(name):
    """Whether it has the options of one: to build it and look would take longer."""
    config = plugins.load(encoders, name).Config
    return {field.name for field in dataclasses.fields(config)} >= set(SMALL)


def build(name, spatial_dims=2, seed=0):
    plugin = plugins.load(encoders, name)
    options = SMALL if is_transformer(name) else {}
    torch.manual_seed(seed)
    config = loading.decode(plugin.Config, options, where="options")
    return plugin.build(1, spatial_dims, config)


@pytest.fixture(scope="module", params=[f"{name}-{dims}d" for name in NAMES for dims in (2, 3)])
def case(request):
    """An encoder and images of its kind; drawing its weights takes most of a test."""
    name, _, dims = request.param.rpartition("-")
    encoder = build(name, int(dims[0]))
    return encoder, torch.randn(SHAPES[int(dims[0])])


def test_one_feature_vector_per_image(case):
    encoder, images = case
    assert encoder.train()(images).shape == (2, encoder.dim)


def test_features_can_be_read_at_any_layer(case):
    encoder, images = case
    encoder.eval()
    if hasattr(encoder, "tokens"):  # its blocks are alike: there is nothing to choose
        assert not hasattr(encoder, "stages")
        return
    maps = encoder.stages(images)
    assert len(maps) == len(encoder.layers)
    for (layer, n_features), shown in zip(encoder.layers.items(), maps, strict=True):
        found = encoder.features_at(images, layer)
        assert found.shape == (2, n_features)
        torch.testing.assert_close(found, shown.flatten(2).mean(dim=2))
    assert torch.equal(found, encoder(images))  # the last of them


def test_it_waits_for_no_device_and_makes_its_tensors_there(case):
    """On the meta device, where a mix of devices or any `.item()` raises."""
    encoder, images = case
    moved = copy.deepcopy(encoder).to("meta").train()
    moved(images.to("meta")).sum().backward()
    assert all(p.grad.is_meta for p in moved.parameters() if p.requires_grad)


def test_layer_groups_hold_everything_exactly_once(case):
    encoder, _ = case
    held = [
        id(tensor)
        for modules in encoder.groups().values()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    ]
    own = [id(tensor) for tensor in (*encoder.parameters(), *encoder.buffers())]
    assert sorted(held) == sorted(own)


@pytest.mark.filterwarnings("ignore:torch.meshgrid")  # MONAI's
@pytest.mark.parametrize("name", NAMES)
def test_exported_weights_load_into_the_library_network_it_names(name):
    encoder = build(name).eval()
    if hasattr(encoder, "tokens"):
        pytest.importorskip("einops", reason="MONAI's transformers need it")
    network = built(encoder.constructor())
    arrays = weights.to_arrays(encoder)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    images = torch.randn(SHAPES[2])
    torch.testing.assert_close(features(network, images), encoder(images))


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_a_round_trip(name):
    first, second = build(name, seed=1), build(name, seed=2)
    match = weights.load(second, weights.to_arrays(first), where="here")
    assert match.complete
    assert match.changes == {}
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", [n for n in NAMES if is_transformer(n)])
def test_unseen_patches_do_not_matter(name):
    encoder = build(name).eval()
    images = torch.randn(SHAPES[2])
    every = encoder.tokens(images, None)
    torch.testing.assert_close(every.mean(dim=1), encoder(images))
    keep = torch.tensor([[0, 2], [3, 1]])
    kept = encoder.tokens(images, keep)
    assert kept.shape == (2, 2, encoder.dim)
    changed = images.clone()
    changed[0, :, :16, 16:] += 1  # patch 1 of image 0, which is not kept
    assert torch.equal(encoder.tokens(changed, keep), kept)
