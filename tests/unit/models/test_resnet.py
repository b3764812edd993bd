"""Norms, filters and strides of the residual networks, and how they are told without medssl."""

import numpy as np
import pytest
import torch
from torch import nn
from without_medssl import built

from medssl.models import norms, weights
from medssl.models.encoders import resnet18, resnet34


def build(spatial_dims=2, seed=0, **options):
    torch.manual_seed(seed)
    return resnet18.build(1, spatial_dims, resnet18.Config(**options))


@pytest.mark.parametrize(
    ("spatial_dims", "options"),
    [
        (2, {"norm": "group"}),
        (2, {"norm": "bcn"}),
        (2, {"weight_standardisation": True}),
        (3, {"norm": "bcn", "depth": "keep"}),
    ],
)
def test_the_record_builds_the_same_network_without_medssl(spatial_dims, options):
    encoder = build(spatial_dims, **options)
    images = torch.randn(2, 1, *(4, 32, 32)[-spatial_dims:])
    encoder(images)  # running statistics that are not those of a new network
    arrays = weights.to_arrays(encoder)
    network = built(encoder.constructor())
    network.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    torch.testing.assert_close(network(images), encoder.eval()(images))


@pytest.mark.usefixtures("narrow_networks")
def test_no_batch_norm_is_left_anywhere():
    """MONAI's own `norm` argument changes the stem and nothing else."""
    for norm in ("group", "bcn"):
        parts = list(build(norm=norm).modules())
        assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in parts)
        assert sum(isinstance(part, nn.GroupNorm) for part in parts) == 20


@pytest.mark.usefixtures("narrow_networks")
@pytest.mark.parametrize(("norm", "alone"), [("batch", False), ("group", True), ("bcn", False)])
def test_what_an_image_comes_to_depends_on_the_others_in_the_batch(norm, alone):
    encoder = build(norm=norm)
    images = torch.randn(4, 1, 32, 32)
    together = encoder(images)[:1]
    apart = build(norm=norm)(torch.cat([images[:1], images[1:] + 5]))[:1]
    assert torch.allclose(together, apart, atol=1e-5) == alone


@pytest.mark.usefixtures("narrow_networks")
def test_filters_are_standardised_under_bcn_unless_told_otherwise():
    def kinds(**options):
        return {type(part) for part in build(**options).modules() if isinstance(part, nn.Conv2d)}

    assert kinds(norm="bcn") == {norms.StandardisedConv2d}
    assert kinds(norm="bcn", weight_standardisation=False) == {nn.Conv2d}
    assert kinds(norm="group", weight_standardisation=True) == {norms.StandardisedConv2d}


def test_standardised_filters_ignore_shift_and_scale():
    weight = torch.randn(6, 3, 5, 5, dtype=torch.float64)
    found = norms.standardised(weight)
    rows = found.flatten(1).numpy()
    np.testing.assert_allclose(rows.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(rows.var(axis=1), 1, rtol=1e-4)
    torch.testing.assert_close(norms.standardised(10 * weight + 3), found, atol=1e-4, rtol=1e-4)


def test_estimates_follow_the_batches_as_in_the_paper():
    """Algorithm 1 of arXiv:1903.10520, step by step in numpy."""
    rng = np.random.default_rng(0)
    layer = norms.EstimatedBatchNorm(3, momentum=0.25)
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(3):
        batch = rng.normal(2, 3, size=(2, 3, 4, 5)).astype(np.float32)
        mean += 0.25 * (batch.mean(axis=(0, 2, 3)) - mean)
        variance += 0.25 * (batch.var(axis=(0, 2, 3)) - variance)
        expected = (batch - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
        found = layer(torch.from_numpy(batch)).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert layer.num_batches_tracked == 3


def test_estimates_are_constants_to_the_gradient():
    """So the input's gradient is weight / deviation, where batch norm would take a mean off."""
    layer = norms.EstimatedBatchNorm(2)
    x = torch.randn(4, 2, 3, 3, requires_grad=True)
    first, second = layer(x), layer(x.detach() + 1)  # the next batch, before the first is used
    (first.sum() + second.sum()).backward()
    scale = 1 / (0.9 + 0.1 * x.detach().var(dim=(0, 2, 3), correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(x.grad, scale.view(1, 2, 1, 1).expand_as(x))


def test_in_evaluation_it_is_batch_norm():
    layer, known = norms.EstimatedBatchNorm(3), nn.BatchNorm2d(3).eval()
    layer(torch.randn(8, 3, 4, 4))
    known.load_state_dict(layer.eval().state_dict())
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(layer(x), known(x))
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state_dict().items())


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 24), (7, 7), (37, 1), (96, 32)])
def test_as_many_groups_as_divide_the_channels(channels, groups):
    assert norms.n_groups(channels) == groups


@pytest.mark.parametrize(("depth", "n_slices"), [("halve", 1), ("keep", 6)])
def test_slices_are_kept_or_halved(depth, n_slices):
    maps = build(3, depth=depth).eval().stages(torch.randn(1, 1, 6, 32, 32))
    assert maps[-1].shape == (1, 512, n_slices, 1, 1)


def test_depth_does_not_change_a_2d_network():
    images = torch.randn(1, 1, 32, 32)
    assert torch.equal(build(depth="keep").eval()(images), build().eval()(images))


def test_resnet34_is_the_published_size():
    encoder = resnet34.build(3, 2, resnet34.Config())
    convolutions = [part for part in encoder.modules() if isinstance(part, nn.Conv2d)]
    n_biases = sum(part.bias.numel() for part in convolutions if part.bias is not None)
    n_parameters = sum(p.numel() for p in encoder.parameters())
    # torchvision's 21 797 672 less its classifier; MONAI's shortcuts have biases besides.
    assert n_parameters - n_biases == 21_797_672 - 513_000
    assert n_biases == 128 + 256 + 512
