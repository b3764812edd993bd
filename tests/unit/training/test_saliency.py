"""Grad-CAM of site models: which class, which layer, in which units, and of which weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from medssl.config.task import Task
from medssl.evaluation import saliency as numbers
from medssl.foundation.errors import UsageError
from medssl.models import pooling
from medssl.models.encoders import resnet18, vit_s
from medssl.models.site_model import SiteModel
from medssl.training import saliency

BINARY = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
THREE = Task(kind="multi_class", targets=("stage",), classes=("a", "b", "c"))


class Narrow(nn.Module):
    """Two layers with batch norms and strides; features are means over space."""

    dim = 6

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        )
        self.last = nn.Sequential(
            nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        )
        self.layers = {"stem": 4, "last": 6}

    def forward(self, images):
        return self.stages(images)[-1].mean(dim=(2, 3))

    def stages(self, images):
        stem = self.stem(images)
        return [stem, self.last(stem)]

    def groups(self):
        return {"stem": [self.stem], "last": [self.last]}


def narrow(seed=0, task=BINARY, pool="none"):
    torch.manual_seed(seed)
    encoder = Narrow()
    model = SiteModel(encoder, task, dropout=0.5, pooling=pooling.build(pool, encoder.dim))
    encoder.train()
    with torch.no_grad():
        encoder(torch.randn(8, 1, 16, 16))  # running statistics of its own
    return model.eval()


def images(n=1, side=24, seed=1):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def by_hand(model, image, output):
    """Contribution of every cell to a logit, negative ones too: head weights times activations."""
    with torch.no_grad():
        maps = model.encoder.stages(image)[-1][0].double()
    weight = model.head[-1].weight[output].detach().double()
    return (torch.einsum("c,chw->hw", weight, maps) / maps[0].numel()).numpy()


@pytest.mark.parametrize("output", [0, 1, 2])
def test_cells_of_a_resnet_are_what_each_adds_to_the_logit_that_was_asked_for(output):
    torch.manual_seed(3)
    encoder = resnet18.build(1, 2, resnet18.Config())
    model = SiteModel(encoder, THREE, dropout=0.1).eval()
    image = images(side=64)
    assert saliency.last_layer(model) == "net.layer4"
    found = saliency.Explainer(model, "net.layer4")(image, output)
    expected = by_hand(model, image, output)
    assert found.cells.shape == (2, 2)
    np.testing.assert_allclose(found.cells, expected.clip(0), rtol=1e-4, atol=1e-7)
    logit = model.logits(image)[0, output] - model.head[-1].bias[output]
    assert expected.sum() == pytest.approx(logit.item(), rel=1e-3)
    assert found.smooth.shape == (64, 64)
    assert found.smooth.max() <= found.cells.max() + 1e-6


def test_a_negative_is_explained_for_the_positive_class():
    model, image = narrow(5), images()
    with torch.no_grad():
        model.head[-1].weight.copy_(torch.tensor([[1.0, -1.0] * 3]))
        model.head[-1].bias.fill_(-5)
        assert float(model.logits(image)) < 0
    found = saliency.Explainer(model, "last")(image, 0).cells
    expected = by_hand(model, image, 0)
    assert (expected > 0).any()
    assert (expected < 0).any()
    np.testing.assert_allclose(found, expected.clip(0), atol=1e-6)
    with torch.no_grad():
        model.head[-1].weight.neg_()
    opposite = saliency.Explainer(model, "last")(image, 0).cells
    np.testing.assert_allclose(found - opposite, expected, atol=1e-6)


def test_the_map_is_highest_where_the_decision_is_made():
    model = narrow()
    with torch.no_grad():
        for layer in (model.encoder.stem, model.encoder.last):
            layer[0].weight.fill_(1 / 9)
            layer[0].bias.zero_()
            layer[1].reset_parameters()
        model.head[-1].weight.fill_(1)
    for corner, cell in (((0, 0), (0, 0)), ((0, 18), (0, 5)), ((18, 6), (5, 2))):
        image = torch.zeros(1, 1, 24, 24)
        image[..., corner[0] : corner[0] + 6, corner[1] : corner[1] + 6] = 4
        cells = saliency.Explainer(model, "last")(image, 0).cells
        row, column = np.unravel_index(cells.argmax(), cells.shape)
        assert abs(row - cell[0]) <= 1
        assert abs(column - cell[1]) <= 1
        far = cells[::-1, ::-1][cell]
        assert far < 0.1 * cells.max()


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_an_image_without_contrast_has_a_blank_map(value):
    model = narrow(5)
    image = torch.full((1, 1, 24, 24), value)
    assert (by_hand(model, image, 0) > 0).any()  # of biases and of the border
    found = saliency.Explainer(model, "last")(image, 0)
    assert not found.cells.any()
    assert not found.smooth.any()


def test_a_map_is_not_stretched():
    model = narrow(5)
    weak = copy.deepcopy(model)
    with torch.no_grad():
        weak.head[-1].weight.mul_(0.01)
    explain, image = saliency.Explainer(model, "last"), images()
    strong = explain(image, 0).cells
    assert strong.max() > 0
    np.testing.assert_allclose(explain.take(weak)(image, 0).cells, 0.01 * strong, rtol=1e-4)


def test_a_layer_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="no layer 'layer9'"):
        saliency.Explainer(narrow(), "layer9")


def test_a_transformer_has_no_maps():
    encoder = vit_s.build(1, 2, vit_s.Config(depth=1))
    with pytest.raises(UsageError, match="transformer"):
        saliency.last_layer(SiteModel(encoder, BINARY, dropout=0.0))


def test_the_models_are_left_as_they_were():
    model, fresh = narrow(), narrow(1)
    model.train()
    before = [{k: v.clone() for k, v in one.state_dict().items()} for one in (model, fresh)]
    explain = saliency.Explainer(model, "last")
    explain(images(), 0)
    explain.take(saliency.randomised(model, fresh, ["head", "last", "stem"]))(images(), 0)
    for one, kept in zip((model, fresh), before, strict=True):
        state = one.state_dict()
        assert list(state) == list(kept)
        assert all(torch.equal(state[name], kept[name]) for name in kept)
        assert all(parameter.grad is None for parameter in one.parameters())
        assert not any(part._forward_hooks or part._backward_hooks for part in one.modules())
    assert model.training


def test_a_cascade_takes_whole_groups_with_their_statistics():
    model, fresh = narrow(), narrow(1)
    mixed = saliency.randomised(model, fresh, ["head", "last"]).state_dict()
    for name, value in mixed.items():
        source = model if name.startswith("encoder.stem") else fresh
        assert torch.equal(value, source.state_dict()[name]), name
    assert not torch.equal(
        mixed["encoder.last.1.running_mean"], model.state_dict()["encoder.last.1.running_mean"]
    )


def test_the_same_weights_taken_back_give_the_same_map_to_the_bit():
    model, image = narrow(), images()
    explain = saliency.Explainer(model, "last")
    first = explain(image, 0).cells
    assert first.any()
    other = explain.take(narrow(1))(image, 0).cells
    assert not np.array_equal(first, other)
    assert np.array_equal(explain.take(model)(image, 0).cells, first)


def test_random_weights_change_the_map():
    model = narrow()
    explain = saliency.Explainer(model, "last")
    shown = [images(side=48, seed=seed) for seed in range(6)]
    trained = [explain(image, 0) for image in shown]
    found = []
    for draw in range(5):
        explain.take(saliency.randomised(model, narrow(draw + 1), list(model.groups())))
        maps = [explain(image, 0) for image in shown]
        found += [
            numbers.alike(a.smooth, b.smooth, a.cells, b.cells)
            for a, b in zip(trained, maps, strict=True)
        ]
    assert numbers.judge(numbers.check("all", found), (12, 12))[0] == "change with the weights"


def test_pooled_slices_have_a_map_each_and_repeated_ones_none():
    model = narrow(5, pool="mean")
    series = images(4, 24, 7).reshape(1, 4, 24, 24)
    mask = torch.tensor([[True, True, True, False]])
    place = torch.zeros(1, 4)
    found = saliency.Explainer(model, "last")(series, 0, mask=mask, position_mm=place)
    assert found.cells.shape == (4, 6, 6)
    assert found.smooth.shape == (4, 24, 24)
    assert not found.cells[3].any()
    for n in range(3):
        expected = by_hand(model, series[:, [n]], 0) / 3
        np.testing.assert_allclose(found.cells[n], expected.clip(0), rtol=1e-4, atol=1e-8)
