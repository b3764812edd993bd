import math

import numpy as np
import pytest
import torch

from medssl.foundation.errors import UsageError
from medssl.models import patches

GRIDS = [((2, 1, 8, 12), (4, 3)), ((2, 3, 4, 6, 8), (2, 3, 2)), ((1, 2, 3, 8, 8), (1, 2, 4))]


def rows_of(predicted, actual, visible, *, skip_flat=False):
    found = patches.error_rows(predicted, actual, visible, skip_flat=skip_flat)
    return {name: value.numpy() for name, value in found.items()}


def some_patches(seed=0, n=3, n_patches=5, size=12):
    generator = torch.Generator().manual_seed(seed)
    actual = 3 * torch.randn(n, n_patches, size, generator=generator) + 1
    predicted = torch.randn(n, n_patches, size, generator=generator)
    visible = torch.rand(n, n_patches, generator=generator) < 0.4
    visible[:, 0], visible[:, 1] = True, False
    return predicted, actual, visible


@pytest.mark.parametrize(("shape", "grid"), GRIDS)
def test_joining_what_was_split_gives_the_image(shape, grid):
    images = torch.arange(math.prod(shape)).reshape(shape)
    cut = patches.split(images, grid)
    assert cut.shape == (shape[0], math.prod(grid), math.prod(shape[1:]) // math.prod(grid))
    assert torch.equal(patches.join(cut, grid, images.shape), images)


@pytest.mark.parametrize(("shape", "grid"), GRIDS)
def test_patches_are_numbered_row_by_row(shape, grid):
    images = torch.randn(shape)
    cut = patches.split(images, grid)
    sides = [size // n for size, n in zip(shape[2:], grid, strict=True)]
    for number, place in enumerate(np.ndindex(*grid)):
        box = tuple(slice(k * side, (k + 1) * side) for k, side in zip(place, sides, strict=True))
        whole = images[(slice(None), slice(None), *box)]
        assert torch.equal(cut[:, number].sort().values, whole.flatten(1).sort().values)


@pytest.mark.parametrize(
    ("n", "ratio", "kept"),
    [(16, 0.75, 4), (49, 0.6, 20), (10, 0.99, 1), (10, 0.01, 9), (2, 0.6, 1), (196, 0.9, 20)],
)
def test_the_number_of_visible_patches_is_exact_and_never_none_or_all(n, ratio, kept):
    assert patches.n_visible(n, ratio) == kept
    order = patches.random_order(6, n, torch.device("cpu"))
    assert (patches.is_visible(order, kept).sum(dim=1) == kept).all()


def test_a_view_of_one_patch_is_refused():
    with pytest.raises(UsageError, match="one patch"):
        patches.n_visible(1, 0.6)


def test_every_patch_is_hidden_equally_often():
    torch.manual_seed(0)
    visible = patches.is_visible(patches.random_order(4000, 8, torch.device("cpu")), 2)
    share = visible.float().mean(dim=0)
    assert (share - 0.25).abs().max() < 4 * math.sqrt(0.25 * 0.75 / 4000)


def test_a_seed_repeats_the_order_and_leaves_torch_s_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second, other = (patches.random_order(3, 9, torch.device("cpu"), s) for s in (4, 4, 5))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_equals_the_formula_written_out_with_loops():
    predicted, actual, visible = some_patches()
    found = patches.average(patches.error_rows(predicted, actual, visible, skip_flat=True))
    parts = []
    for i, j in np.argwhere(~visible.numpy()):
        pixels = actual[i, j].numpy().astype(float)
        target = (pixels - pixels.mean()) / np.sqrt(pixels.var() + 1e-6)
        parts.append(np.mean((predicted[i, j].numpy() - target) ** 2))
    # images with as many hidden patches each, as they always have, weigh the same
    per_image = np.array([np.sum(~row) for row in visible.numpy()])
    weights = np.repeat(1 / per_image, per_image)
    assert found["total"].item() == pytest.approx(np.sum(parts * weights) / 3, rel=1e-5)
    assert found["counted"].item() == pytest.approx(1)


def test_a_perfect_prediction_costs_nothing_and_a_constant_one_costs_the_variance():
    _, actual, visible = some_patches()
    target = patches.standardise(actual)[0]
    assert patches.average(rows_t(target, actual, visible))["total"] == 0
    nothing = patches.average(rows_t(torch.zeros_like(actual), actual, visible))["total"]
    assert nothing.item() == pytest.approx(1, rel=1e-5)


def rows_t(predicted, actual, visible):
    return patches.error_rows(predicted, actual, visible, skip_flat=True)


def test_predictions_of_visible_patches_do_not_matter():
    predicted, actual, visible = some_patches()
    changed = torch.where(visible[:, :, None], predicted + 100, predicted)
    first, second = (rows_of(p, actual, visible) for p in (predicted, changed))
    assert np.array_equal(first["error"], second["error"])
    other = torch.where(visible[:, :, None], predicted, predicted + 100)
    assert (rows_of(other, actual, visible)["error"] > first["error"]).all()


def test_flat_patches_carry_no_loss_unless_asked_for_and_are_never_not_a_number():
    predicted, actual, visible = some_patches()
    actual[:, 1] = 0.7 + 1e-3 * torch.randn(actual[:, 1].shape)  # hidden: air with some noise
    actual[0] = 0.7  # an image of one colour
    skipped, kept = (rows_of(predicted, actual, visible, skip_flat=s) for s in (True, False))
    assert skipped["weight"][0] == skipped["error"][0] == 0
    assert (skipped["weight"][1:] < 1).all()
    assert np.allclose(kept["weight"], 1)
    # equal pixels are the target 0
    assert kept["error"][0] == pytest.approx(
        np.mean(predicted[0][~visible[0]].numpy().astype(float) ** 2), rel=1e-5
    )


def test_where_everything_is_flat_loss_and_gradient_are_zero():
    predicted = torch.randn(2, 4, 6, requires_grad=True)
    visible = torch.tensor([[True, False, False, False]] * 2)
    loss = patches.average(rows_t(predicted, torch.ones(2, 4, 6), visible))
    loss["total"].backward()
    assert loss["total"].item() == loss["counted"].item() == 0
    assert torch.equal(predicted.grad, torch.zeros_like(predicted))


def test_painting_undoes_the_standardising_and_keeps_what_was_visible():
    view = torch.randn(2, 1, 8, 8) * 5 + 2
    visible = torch.tensor([[True, False, True, False], [False, True, True, True]])
    target = patches.standardise(patches.split(view, (2, 2)))[0]
    shown = patches.paint(view, (2, 2), visible, target)
    torch.testing.assert_close(shown["painted"], view)
    shown = patches.paint(view, (2, 2), visible, torch.zeros_like(target))
    assert torch.equal(shown["painted"][~shown["hidden"]], view[~shown["hidden"]])
    assert shown["hidden"].sum(dim=(1, 2, 3)).tolist() == [32, 16]
    corner = view[0, 0, :4, 4:]  # patch 1 of image 0
    torch.testing.assert_close(shown["painted"][0, 0, :4, 4:], corner.mean().expand(4, 4))
    assert (shown["masked"][shown["hidden"]] == 0).all()
