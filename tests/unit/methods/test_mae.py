"""Masked autoencoder: only visible patches are seen, and the loss is that of the paper."""

import numpy as np
import pytest
import torch

from medssl.config import loading
from medssl.foundation.errors import UsageError
from medssl.methods import mae
from medssl.models.vit import ViTEncoder

PATCH = {2: (8, 8), 3: (2, 8, 8)}
SHAPES = {2: (32, 24), 3: (4, 16, 24)}  # 12 patches each


def method(spatial_dims=2, channels=1, seed=0, **options):
    torch.manual_seed(seed)
    encoder = ViTEncoder(channels, PATCH[spatial_dims], 24, 2, 2, SHAPES[spatial_dims])
    small = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
    return mae.Method(encoder, mae.Config(**small, **options))


def view(spatial_dims=2, channels=1, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, *SHAPES[spatial_dims], generator=generator)


def total(trained, shown):
    return trained.loss(trained.embed([shown]), torch.arange(len(shown)))["total"]


@pytest.mark.parametrize(("spatial_dims", "channels"), [(2, 1), (2, 3), (3, 1)])
def test_the_loss_is_the_error_of_the_painting_over_hidden_patches(
    spatial_dims, channels, monkeypatch
):
    trained, shown = method(spatial_dims, channels).eval(), view(spatial_dims, channels)
    found = trained.reconstruct(shown, seed=7)
    predict = trained.predict
    monkeypatch.setattr(trained, "predict", lambda images: predict(images, 7))
    image, painted, hidden = (found[k].double().numpy() for k in ("image", "painted", "hidden"))
    patch, errors = PATCH[spatial_dims], []
    for row in range(3):
        for place in np.ndindex(*trained.encoder.grid(shown.shape[2:])):
            box = tuple(slice(k * s, (k + 1) * s) for k, s in zip(place, patch, strict=True))
            at = (row, slice(None), *box)
            if hidden[at].all():
                squared = ((painted[at] - image[at]) ** 2).mean()
                errors.append(squared / (image[at].var() + 1e-6))
    assert len(errors) == 3 * 9  # three quarters of twelve
    assert total(trained, shown).item() == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_hidden_pixels_do_not_reach_the_prediction(spatial_dims):
    trained, shown = method(spatial_dims), view(spatial_dims)
    hidden = trained.reconstruct(shown, 3)["hidden"]
    changed = shown.masked_fill(hidden, torch.nan)
    first, second = (trained.predict(one, 3)[0] for one in (shown, changed))
    assert torch.equal(first, second)
    other = shown.masked_fill(~hidden, 0)
    assert not torch.equal(trained.predict(other, 3)[0], first)


def test_each_prediction_lands_on_its_own_patch():
    """What is visible is known to the decoder there, whatever the order in which it was drawn."""
    trained = method(mask_ratio=0.5).eval()
    shown = view(n=1).expand(4, -1, -1, -1)
    order = torch.arange(12).expand(4, -1).clone()
    for row in range(1, 4):  # the same visible patches, the same hidden ones, shuffled
        order[row, :6] = order[row, :6][torch.randperm(6)]
        order[row, 6:] = order[row, 6:][torch.randperm(6)]
    seen = trained.encoder.tokens(shown, order[:, :6])
    predicted = trained.decoder(seen, order, (4, 3))
    torch.testing.assert_close(predicted, predicted[:1].expand_as(predicted))
    assert (predicted[0].std(dim=0) > 0).all()  # patches differ by their positions at least


def test_masks_differ_between_images_and_steps_and_repeat_with_the_generator():
    trained, shown = method(), view(n=16)
    torch.manual_seed(1)
    first, second = (trained.predict(shown)[1] for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(trained.predict(shown)[1], first)
    assert not torch.equal(first, second)
    assert (first.sum(dim=1) == 3).all()


def test_an_image_adds_the_same_whoever_is_beside_it():
    trained, shown = method().double(), view(n=4).double()
    order = torch.rand(4, 12).argsort(dim=1)
    together = trained.decoder(trained.encoder.tokens(shown, order[:, :3]), order, (4, 3))
    one = slice(2, 3)
    seen = trained.encoder.tokens(shown[one], order[one, :3])
    torch.testing.assert_close(together[one], trained.decoder(seen, order[one], (4, 3)))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_parameter_learns(spatial_dims):
    trained = method(spatial_dims)
    total(trained, view(spatial_dims)).backward()
    still = [n for n, p in trained.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_some_steps_on_fixed_images_lower_the_loss_below_painting_the_mean():
    ramp = torch.linspace(-1, 1, 32)
    shown = torch.stack([ramp[:, None] + ramp, ramp[:, None] - ramp])[:, None]
    trained = method()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=3e-3)
    for _ in range(100):
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
    state = torch.get_rng_state()
    first, second = (trained.reconstruct(shown, seed=2) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(value.shape == shown.shape for value in first.values())
    assert torch.equal(torch.get_rng_state(), state)
    assert trained.training


def test_views_that_cannot_be_cut_are_refused():
    with pytest.raises(UsageError, match="cannot be cut"):
        method().embed([torch.randn(2, 1, 32, 20)])
    with pytest.raises(UsageError, match="one patch"):
        method().embed([torch.randn(2, 1, 8, 8)])


@pytest.mark.parametrize("wrong", [{"mask_ratio": 0}, {"decoder_heads": 7}, {"ratio": 0.6}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        loading.decode(mae.Config, wrong, where="method_options")


def test_half_precision_costs_about_the_same():
    trained, shown = method(), view()
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
