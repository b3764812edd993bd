"""What every file of models/encoders/ must do, tested from the moment it exists."""

import pytest
import torch

from medssl.config import loading
from medssl.foundation import plugins
from medssl.models import encoders, weights

NAMES = plugins.names(encoders)


def build(name, spatial_dims=2, seed=0):
    plugin = plugins.load(encoders, name)
    torch.manual_seed(seed)
    return plugin.build(1, spatial_dims, loading.decode(plugin.Config, {}, where="options"))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_one_feature_vector_per_image(name, spatial_dims):
    encoder = build(name, spatial_dims)
    features = encoder(torch.randn(2, 1, *(32,) * spatial_dims))
    assert features.shape == (2, encoder.dim)


@pytest.mark.parametrize("name", NAMES)
def test_layer_groups_hold_everything_exactly_once(name):
    encoder = build(name)
    held = [
        id(tensor)
        for modules in encoder.groups().values()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    ]
    own = [id(tensor) for tensor in (*encoder.parameters(), *encoder.buffers())]
    assert sorted(held) == sorted(own)


@pytest.mark.parametrize("name", NAMES)
def test_exported_weights_load_into_the_library_network_it_names(name):
    encoder = build(name).eval()
    call = encoder.constructor()
    assert call.startswith("monai.networks.nets.")
    import monai.networks.nets as nets

    network = eval(call.replace("monai.networks.nets.", "nets."), {"nets": nets}).eval()
    arrays = weights.to_arrays(encoder)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(network(images), encoder(images))


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_a_round_trip(name):
    first, second = build(name, seed=1), build(name, seed=2)
    match = weights.load(second, weights.to_arrays(first), where="here")
    assert match.complete
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
