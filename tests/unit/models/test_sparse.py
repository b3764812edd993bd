"""Sparse semantics around MONAI's networks: nothing hidden gets in, and norms do not count it."""

import copy

import pytest
import torch
from monai.networks.nets import resnet
from torch import nn

from medssl.models import norms, sparse
from medssl.models.resnet import ResNetEncoder

KINDS = ["batch", "group", "instance", "bcn"]


def encoder(spatial_dims=2, block="basic", norm="batch", seed=0):
    """A narrow residual network of MONAI."""
    torch.manual_seed(seed)
    with torch.device("meta"):  # the wide network is replaced: no weights for it
        built = ResNetEncoder("resnet10", 1, spatial_dims, dim=512)
    built.net = resnet.ResNet(
        block, [2, 1, 1, 1], [4, 8, 8, 16], spatial_dims=spatial_dims, n_input_channels=1,
        conv1_t_stride=2, feed_forward=False,
    )  # fmt: skip
    # MONAI takes a norm as an option, and applies it to the first layer only
    for parent in list(built.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                setattr(parent, name, another(norm, module.num_features, spatial_dims))
    return built


def another(kind, channels, spatial_dims):
    """A norm as after some training."""
    instance = nn.InstanceNorm2d if spatial_dims == 2 else nn.InstanceNorm3d
    batch = nn.BatchNorm2d if spatial_dims == 2 else nn.BatchNorm3d
    if kind == "bcn":
        return nn.Sequential(norms.EstimatedBatchNorm(channels), another("group", channels, 2))
    norm = {
        "batch": lambda: batch(channels),
        "group": lambda: nn.GroupNorm(2, channels),
        "instance": lambda: instance(channels, affine=True),
    }[kind]()
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    if kind == "batch":
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return norm


SHAPES = {2: (64, 64), 3: (4, 64, 16)}  # grids of 2 x 2 and 1 x 2 x 1: few slices are one
GRIDS = {2: (2, 2), 3: (1, 2, 1)}


def a_mask(spatial_dims=2, n=3, seed=0):
    visible = torch.rand(n, *GRIDS[spatial_dims], generator=torch.Generator().manual_seed(seed))
    visible = visible < 0.5
    visible.flatten(1)[:, 0] = True
    visible.flatten(1)[:, -1] = False
    return visible


def maps(network, images, visible):
    mask = sparse.Mask(visible)
    with sparse.visible_only(network, mask):
        return network.stages(mask.hide(images))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("spatial_dims", "block", "norm"),
    [
        *((dims, "basic", norm) for dims in (2, 3) for norm in KINDS),
        (2, "bottleneck", "batch"),
        (3, "bottleneck", "group"),
    ],
)
def test_hidden_pixels_change_nothing_at_all(spatial_dims, block, norm, training):
    network = encoder(spatial_dims, block, norm).train(training)
    visible = a_mask(spatial_dims)
    images = torch.randn(3, 1, *SHAPES[spatial_dims])
    hidden = ~sparse.Mask(visible).at(images.shape[2:])
    changed = images.masked_fill(hidden, torch.nan)  # spreads wherever it gets in
    twin = copy.deepcopy(network)  # with the running statistics of before
    first, second = maps(network, images, visible), maps(twin, changed, visible)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_share_of_positions_in_use_is_the_same_at_every_depth(spatial_dims):
    network = encoder(spatial_dims)
    for name, bias in network.named_parameters():
        if name.endswith("bias"):
            nn.init.constant_(bias, 4)  # so that a rectifier lets something through everywhere
    visible = a_mask(spatial_dims)
    images = torch.randn(3, 1, *SHAPES[spatial_dims])
    found = maps(network, images, visible)
    shares = [(one != 0).any(dim=1).float().mean().item() for one in found]
    assert shares == pytest.approx([visible.float().mean().item()] * 4)
    dense = network.stages(sparse.Mask(visible).hide(images))
    assert (dense[0] != 0).any(dim=1).float().mean() > shares[0]  # it would have spread


@pytest.mark.parametrize("norm", KINDS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_with_everything_visible_it_is_the_dense_network(spatial_dims, training, norm):
    network, twin = (encoder(spatial_dims, norm=norm).double().train(training) for _ in range(2))
    images = torch.randn(3, 1, *SHAPES[spatial_dims], dtype=torch.float64)
    found = maps(network, images, torch.ones(3, *GRIDS[spatial_dims], dtype=torch.bool))
    for a, b in zip(found, twin.stages(images), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    for a, b in zip(network.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)  # running statistics too


@pytest.mark.parametrize(
    ("norm", "oracle"),
    [
        (nn.BatchNorm2d(5), nn.BatchNorm1d(5)),
        (nn.BatchNorm2d(5, momentum=None), nn.BatchNorm1d(5, momentum=None)),
        (norms.EstimatedBatchNorm(5), norms.EstimatedBatchNorm(5)),
    ],
)
def test_batch_norm_equals_that_of_the_visible_positions_alone(norm, oracle):
    norm, oracle = norm.double(), oracle.double()
    with torch.no_grad():
        norm.weight.copy_(torch.arange(5.0) + 0.5)
        norm.bias.copy_(torch.arange(5.0))
    oracle.load_state_dict(norm.state_dict())
    for seed in range(3):
        visible = a_mask(seed=seed)
        values = torch.randn(3, 5, 8, 8, dtype=torch.float64) + torch.arange(5.0)[:, None, None]
        mask = sparse.Mask(visible)
        at = mask.at(values.shape[2:])[:, 0]
        with sparse.visible_only(norm, mask):
            found = norm(values)
        rows = values.movedim(1, -1)[at]
        torch.testing.assert_close(found.movedim(1, -1)[at], oracle(rows), rtol=0, atol=1e-5)
        assert (found.movedim(1, -1)[~at] == 0).all()
    for name, kept in norm.state_dict().items():
        torch.testing.assert_close(kept, oracle.state_dict()[name], rtol=0, atol=1e-6)


def test_every_convolution_and_pooling_starts_from_visible_positions():
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 2, 3, padding=1), nn.AvgPool2d(3, 2, 1),
    )  # fmt: skip
    mask = sparse.Mask(a_mask())
    images = torch.randn(3, 1, 16, 16)
    with sparse.visible_only(network, mask):
        found = network(mask.hide(images))
    expected = mask.hide(images)
    for layer in network:
        expected = layer(expected)
        size = expected.shape[2] // 2  # of a position of the mask
        for row, i, j in (~mask.coarsest[:, 0]).nonzero().tolist():
            expected[row, :, size * i : size * (i + 1), size * j : size * (j + 1)] = 0
    torch.testing.assert_close(found, expected)


def test_group_norm_equals_that_of_the_visible_positions_of_each_image():
    norm, oracle = (nn.GroupNorm(2, 6, dtype=torch.float64) for _ in range(2))
    visible = a_mask()
    values = torch.randn(3, 6, 8, 8, dtype=torch.float64) * 3 + 1
    mask = sparse.Mask(visible)
    with sparse.visible_only(norm, mask):
        found = norm(values)
    for image, out, at in zip(values, found, mask.at(values.shape[2:])[:, 0], strict=True):
        torch.testing.assert_close(out[:, at], oracle(image[:, at][None])[0])


def test_gradients_reach_the_weights_and_no_hidden_pixel():
    network = encoder()
    visible = a_mask()
    images = torch.randn(3, 1, 64, 64, requires_grad=True)
    sum(one.square().sum() for one in maps(network, images, visible)).backward()
    at = sparse.Mask(visible).at(images.shape[2:])
    assert (images.grad[~at] == 0).all()
    assert (images.grad[at] != 0).any()
    assert all(p.grad is not None for p in network.parameters())


def forwards(network):
    return [name for name, module in network.named_modules() if "forward" in module.__dict__]


def stop_within(network, inside):
    with sparse.visible_only(network, sparse.Mask(a_mask())):
        inside += forwards(network)
        raise RuntimeError("stop")


def test_the_network_is_as_before_afterwards_whatever_happens():
    network = encoder().eval()
    images = torch.randn(3, 1, 64, 64)
    before = [one.detach() for one in network.stages(images)]
    maps(network, images, a_mask())
    assert forwards(network) == []
    inside = []
    with pytest.raises(RuntimeError, match="stop"):
        stop_within(network, inside)
    assert inside
    assert forwards(network) == []
    assert all(torch.equal(a, b) for a, b in zip(network.stages(images), before, strict=True))


def test_of_nested_contexts_the_innermost_holds_and_two_networks_do_not_meet():
    network, other = encoder(seed=1).eval(), encoder(seed=2).eval()
    images = torch.randn(3, 1, 64, 64)
    first, second = a_mask(), ~a_mask()  # nothing is visible in both
    alone = maps(network, images, second), maps(other, images, first), maps(network, images, first)
    with sparse.visible_only(network, sparse.Mask(first)):
        inner = maps(network, images, second)
        beside = maps(other, images, first)
        outer = network.stages(sparse.Mask(first).hide(images))
    for found, expected in zip((inner, beside, outer), alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_half_precision_stays_half_and_its_norms_are_computed_in_single():
    norm = nn.BatchNorm2d(2)
    values = (1000 + torch.randn(3, 2, 8, 8)).to(torch.bfloat16)
    mask = sparse.Mask(a_mask())
    with sparse.visible_only(norm, mask):
        found = norm(values)
    assert found.dtype == torch.bfloat16
    at = mask.at(values.shape[2:]).expand_as(values)
    rows = values.float()[:, 0][at[:, 0]]
    expected = (rows - rows.mean()) / torch.sqrt(rows.var(correction=0) + 1e-5)
    torch.testing.assert_close(found[:, 0][at[:, 0]].float(), expected, rtol=0.02, atol=0.02)


def test_it_runs_where_nothing_can_wait_for_the_device():
    network = encoder().to("meta")
    visible = torch.ones(3, 2, 2, dtype=torch.bool, device="meta")
    found = maps(network, torch.empty(3, 1, 64, 64, device="meta"), visible)
    sum(one.sum() for one in found).backward()
    assert all(p.grad.device.type == "meta" for p in network.parameters())
