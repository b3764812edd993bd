"""The site model: loss, frozen groups, probabilities."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from medssl.config.task import Task
from medssl.losses import cross_entropy, squared
from medssl.models import heads, pooling
from medssl.models.encoders import resnet18
from medssl.models.site_model import SiteModel, norms_of

BINARY = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
THREE = Task(kind="multi_class", targets=("stage",), classes=("a", "b", "c"))
ORDERED = Task(kind="ordinal", targets=("stage",), classes=("a", "b", "c", "d"))
AMOUNTS = Task(kind="regression", targets=("age", "dose"))


class Narrow(nn.Module):
    """Two layer groups with a batch norm each; features are means over space."""

    dim = 6

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU())

    def forward(self, images):
        return self.last(self.stem(images)).mean(dim=(2, 3))

    def groups(self):
        return {"stem": [self.stem], "last": [self.last]}


def model(task=BINARY, *, dropout=0.0, loss=cross_entropy, **options):
    torch.manual_seed(0)
    bound = partial(loss.loss, task=task, weight=None, config=loss.Config())
    return SiteModel(Narrow(), task, dropout, loss=bound, **options)


def test_groups_run_from_the_head_to_the_stem():
    encoder = resnet18.build(1, 2, resnet18.Config())
    whole = SiteModel(encoder, BINARY, 0.1)
    assert list(whole.groups()) == ["head", "layer4", "layer3", "layer2", "layer1", "stem"]


def test_pooling_trains_with_the_head():
    site = model(pooling=pooling.build("attention", Narrow.dim))
    site.release_only(["head"])
    assert all(p.requires_grad for p in site.pooling.parameters())
    assert site.pooling.training


def test_binary_loss_is_cross_entropy_of_the_logit():
    site = model().eval()
    images, target = torch.randn(4, 1, 16, 16), torch.tensor([[0.0], [1], [1], [0]])
    p = site.predictions(site.logits(images))[:, 0].tolist()
    by_hand = -sum(math.log(q if t else 1 - q) for q, t in zip(p, target, strict=True)) / 4
    assert site(images, target)["total"].item() == pytest.approx(by_hand, rel=1e-5)


def test_multi_class_loss_is_cross_entropy_of_the_softmax():
    site = model(THREE).eval()
    images, target = torch.randn(4, 1, 16, 16), torch.tensor([[0.0], [2], [1], [0]])
    p = site.predictions(site.logits(images))
    assert torch.allclose(p.sum(dim=1), torch.ones(4))
    by_hand = -sum(math.log(p[i, int(t)].item()) for i, t in enumerate(target)) / 4
    assert site(images, target)["total"].item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("task", [BINARY, THREE])
def test_the_loss_of_mixed_images_weighs_both_labels_by_area(task):
    site = model(task).eval()
    images = torch.randn(4, 1, 16, 16)
    own, other = torch.tensor([[0.0], [1], [1], [0]]), torch.tensor([[1.0], [0], [1], [0]])
    ends = [site(images, label)["total"].item() for label in (own, other)]
    mixed = site(images, own, partner=other, kept=0.7)["total"].item()
    assert mixed == pytest.approx(0.7 * ends[0] + 0.3 * ends[1], rel=1e-5)
    whole = site(images, own, partner=other, kept=1.0)["total"].item()
    assert whole == pytest.approx(ends[0], rel=1e-5)


def test_features_can_be_judged_without_the_encoder():
    site = model().eval()
    images, target = torch.randn(4, 1, 16, 16), torch.eye(4)[:, :1]
    of_images = site(images, target)["total"]
    assert torch.equal(site(site.features(images), target, are_features=True)["total"], of_images)


def test_ordered_classes_have_probabilities_that_are_never_negative():
    site = model(ORDERED, loss=cross_entropy).eval()
    nn.init.normal_(site.head[1].gaps, std=3.0)
    logits = site.judge(10 * torch.randn(50, Narrow.dim))
    p = site.predictions(logits)
    assert p.shape == (50, 4)
    assert torch.allclose(p.sum(dim=1), torch.ones(50), atol=1e-6)
    assert (p >= 0).all()
    above = 1 - p.cumsum(dim=1)[:, :-1]  # of each class, by summing up what is not
    assert torch.allclose(above, logits.sigmoid(), atol=1e-6)


def test_amounts_are_learned_in_units_of_their_spread():
    site = model(AMOUNTS, loss=squared).eval()
    target = torch.tensor([[60.0, 0.1], [70.0, 0.3], [80.0, math.nan], [90.0, 0.2]])
    site.scale(target)
    assert site.centre.tolist() == pytest.approx([75.0, 0.2])
    assert site.spread.tolist() == pytest.approx([math.sqrt(125), math.sqrt(0.02 / 3)])
    images = torch.randn(4, 1, 16, 16)
    amounts = site.predictions(site.logits(images))
    known = target.isfinite()
    error = ((amounts - target) / site.spread)[known]
    by_hand = error.square().mean().item()
    assert site(images, target)["total"].item() == pytest.approx(by_hand, rel=1e-5)


def test_frozen_groups_stay_in_evaluation_mode_whoever_calls_train():
    site = model(dropout=0.5, norms_follow=True)
    site.release_only(["head", "last"])
    nn.Sequential(site).train()  # as a wrapper would
    modes = {
        name: {m.training for part in parts for m in part.modules()}
        for name, parts in site.groups().items()
    }
    assert modes == {"head": {True}, "last": {True}, "stem": {False}}
    nn.Sequential(site).eval()
    assert not any(m.training for m in site.modules())


def test_norms_that_do_not_follow_are_in_evaluation_mode_and_still_train():
    site = model(norms_follow=False)
    site.release_only(site.groups())
    site.train()
    norms = norms_of([site.encoder])
    assert len(norms) == 2
    assert not any(norm.training for norm in norms)
    assert all(norm.weight.requires_grad for norm in norms)
    assert site.encoder.stem.training


def test_norms_can_train_alone_and_their_statistics_stay():
    site = model(norms_follow=True)
    site.release_only(["head", "last.norms"])
    site.train()
    learned = {name for name, p in site.named_parameters() if p.requires_grad}
    assert learned == {
        "head.1.weight", "head.1.bias", "encoder.last.1.weight", "encoder.last.1.bias",
    }  # fmt: skip
    assert not site.encoder.last[1].training


def test_what_was_frozen_can_be_released_again():
    site = model(norms_follow=True).train()
    site.release_only(["head"])
    site.release_only(site.groups())
    assert all(p.requires_grad for p in site.parameters())
    assert all(m.training for m in site.modules())


@pytest.mark.parametrize("name", ["layer9", "layer9.norms"])
def test_unknown_groups_are_a_bug(name):
    with pytest.raises(ValueError, match=r"no layer groups called \['layer9'\]"):
        model().release_only([name])


def test_a_group_norm_trains_behind_a_frozen_layer_channels_last():
    """torch 2.13 alone crashes there: the gradients are those of a formula, in doubles."""
    site = model()
    norm = nn.GroupNorm(2, 4)
    site.encoder.stem[1] = norm
    site = SiteModel(site.encoder, BINARY, 0.0, loss=site._loss)
    site.to(memory_format=torch.channels_last)
    site.release_only(["stem.norms"])
    images = torch.randn(3, 1, 16, 16).contiguous(memory_format=torch.channels_last)
    site(images, torch.eye(3)[:, :1])["total"].backward()
    found = norm.weight.grad.clone()
    step = 1e-4
    double = site.double()
    for channel in range(4):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                norm.weight[channel] += sign * step
                ends.append(double(images.double(), torch.eye(3)[:, :1])["total"].item())
                norm.weight[channel] -= sign * step
        slope = (ends[0] - ends[1]) / (2 * step)
        assert found[channel].item() == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_the_head_starts_as_in_the_paper():
    linear = heads.classifier(512, 1, 0.1)[1]
    bound = math.sqrt(6 / (512 + 1))
    assert linear.weight.abs().max() <= bound
    assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert linear.bias.tolist() == pytest.approx([0.01])


def test_a_projector_ends_bare():
    layers = heads.projector((8, 16, 16, 4))
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
