"""SparK: what is hidden stays hidden, and the loss is that of the paper."""

import copy

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet
from torch import nn

from medssl.config import loading
from medssl.foundation.errors import UsageError
from medssl.methods import spark
from medssl.models import sparse
from medssl.models.resnet import Options, ResNetEncoder

SHAPES = {2: (64, 96), 3: (4, 64, 32)}


def method(spatial_dims=2, channels=1, seed=0, **options):
    """Around a narrow residual network of MONAI."""
    torch.manual_seed(seed)
    with torch.device("meta"):  # the wide network is replaced: no weights for it
        encoder = ResNetEncoder("resnet10", channels, spatial_dims, dim=8)
    encoder.net = resnet.ResNet(
        "basic", [1] * 4, [4, 4, 8, 8], spatial_dims=spatial_dims, n_input_channels=channels,
        conv1_t_stride=2, feed_forward=False,
    )  # fmt: skip
    return spark.Method(encoder, spark.Config(decoder_width=32, **options))


def view(spatial_dims=2, channels=1, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, *SHAPES[spatial_dims], generator=generator)


def total(trained, shown):
    return trained.loss(trained.embed([shown]), torch.arange(len(shown)))["total"]


def hidden_error(shown, found, grid):
    """The loss written out in numpy: standardised per patch, averaged over hidden patches."""
    image, painted, hidden = (found[k].double().numpy() for k in ("image", "painted", "hidden"))
    sides = [size // number for size, number in zip(shown.shape[2:], grid, strict=True)]
    errors = []
    for row in range(len(image)):
        for place in np.ndindex(*grid):
            box = tuple(slice(k * s, (k + 1) * s) for k, s in zip(place, sides, strict=True))
            at = (row, slice(None), *box)
            if hidden[at].all():
                squared = ((painted[at] - image[at]) ** 2).mean()
                errors.append(squared / (image[at].var() + 1e-6))
            else:
                assert not hidden[at].any()
    return np.mean(errors)


@pytest.mark.parametrize(("spatial_dims", "channels"), [(2, 1), (2, 3), (3, 1)])
def test_the_loss_is_the_error_of_the_painting_over_hidden_patches(
    spatial_dims, channels, monkeypatch
):
    trained, shown = method(spatial_dims, channels).eval(), view(spatial_dims, channels)
    found = trained.reconstruct(shown, seed=7)
    grid = trained.grid(shown.shape[2:])
    draw = trained._draw
    monkeypatch.setattr(trained, "_draw", lambda images, grid, _: draw(images, grid, 7))
    expected = hidden_error(shown, found, grid)
    assert total(trained, shown).item() == pytest.approx(expected, rel=1e-4)
    assert found["hidden"].float().mean() == pytest.approx({2: 4 / 6, 3: 0.5}[spatial_dims])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_hidden_pixels_do_not_reach_the_painting(spatial_dims, training):
    trained, shown = method(spatial_dims).train(training), view(spatial_dims)
    grid = trained.grid(shown.shape[2:])
    hidden = trained.reconstruct(shown, 3)["hidden"]
    visible = trained._draw(shown, grid, 3)
    changed = shown.masked_fill(hidden, torch.nan)
    first, second = (trained._paint(one, visible, grid) for one in (shown, changed))
    assert torch.equal(first, second)


def test_the_norms_before_the_decoder_count_visible_positions_only():
    trained, shown = method(), view()
    visible = trained._draw(shown, (2, 3))
    twin = copy.deepcopy(trained.encoder)
    mask = sparse.Mask(visible.reshape(3, 2, 3))
    with sparse.visible_only(twin, mask):
        maps = twin.stages(mask.hide(shown))
    trained._paint(shown, visible, (2, 3))
    for norm, one in zip(trained.norms, reversed(maps), strict=True):
        seen = one.movedim(1, -1)[mask.at(one.shape[2:])[:, 0]]
        torch.testing.assert_close(norm.running_mean, 0.1 * seen.mean(dim=0))
        torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * seen.var(dim=0))


def test_masks_differ_between_images_and_steps_and_repeat_with_the_generator():
    trained, shown = method(), view(n=16)
    torch.manual_seed(1)
    first, second = (trained._draw(shown, (2, 3)) for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(trained._draw(shown, (2, 3)), first)
    assert not torch.equal(first, second)
    assert len(first.unique(dim=0)) > 1
    assert (first.sum(dim=1) == 2).all()


def test_an_image_adds_the_same_whoever_is_beside_it_with_group_norms():
    trained = method(decoder_norm="group")
    for parent in list(trained.encoder.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(2, module.num_features))
    trained = trained.double()
    shown = view(n=4).double()
    visible = trained._draw(shown, (2, 3), 0)
    together = trained._paint(shown, visible, (2, 3))
    alone = trained._paint(shown[1:2], visible[1:2], (2, 3))
    torch.testing.assert_close(together[1:2], alone)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in trained.modules())


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_parameter_learns_and_the_encoder_is_left_as_it_was(spatial_dims):
    trained = method(spatial_dims)
    total(trained, view(spatial_dims)).backward()
    without = [n for n, p in trained.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert not any("forward" in module.__dict__ for module in trained.modules())


def test_some_steps_on_fixed_images_lower_the_loss_below_painting_the_mean():
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 64)
    shown = torch.stack([ramp[:, None] + ramp, ramp[:, None] - ramp])[:, None]
    trained = method()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=3e-3)
    for _ in range(40):
        loss = total(trained, shown)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7  # 1: the mean of each patch


def test_air_carries_no_loss_unless_asked_for():
    shown = view()
    shown[0] = 0.2 + 1e-3 * shown[0]
    for skip, counted in ((True, 2 / 3), (False, 1)):
        trained = method(skip_flat=skip)
        found = trained.loss(trained.embed([shown]), torch.arange(3))
        assert found["counted"].item() == pytest.approx(counted)


def test_reconstructing_changes_nothing_and_repeats():
    trained, shown = method().train(), view()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    state = torch.get_rng_state()
    first, second = (trained.reconstruct(shown, seed=2) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(value.shape == shown.shape for value in first.values())
    assert torch.equal(torch.get_rng_state(), state)
    assert trained.training
    for name, value in trained.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_volume_whose_slices_are_all_kept_is_hidden_slice_by_slice():
    torch.manual_seed(0)
    encoder = ResNetEncoder("resnet10", 1, 3, 512, Options(depth="keep"))
    trained = spark.Method(encoder, spark.Config(decoder_width=32)).to("meta")
    assert trained.grid(torch.Size([5, 64, 32])) == (5, 2, 1)
    total(trained, torch.empty(2, 1, 5, 64, 32, device="meta")).backward()


@pytest.mark.parametrize(
    ("shape", "problem"),
    [((64, 80), r"80 px is no multiple.*\n.*use 64 or 96"), ((32, 32), "one patch")],
)
def test_views_that_cannot_be_cut_are_refused(shape, problem):
    with pytest.raises(UsageError, match=problem):
        method().embed([torch.randn(2, 1, *shape)])


@pytest.mark.parametrize("wrong", [{"mask_ratio": 1}, {"decoder_width": 40}, {"ratio": 0.6}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        loading.decode(spark.Config, wrong, where="method_options")


def test_half_precision_costs_about_the_same():
    trained, shown = method().eval(), view()
    torch.manual_seed(0)
    exact = total(trained, shown)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = total(trained, shown)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_it_runs_where_nothing_can_wait_for_the_device(spatial_dims):
    trained = method(spatial_dims).to("meta")
    total(trained, view(spatial_dims).to("meta")).backward()
    assert all(p.grad.device.type == "meta" for p in trained.parameters())
