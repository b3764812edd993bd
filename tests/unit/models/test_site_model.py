"""The site model: loss, frozen groups, probabilities."""

import math

import narrow
import pytest
import torch

from medssl.models import heads
from medssl.models.site_model import SiteModel, probabilities


def model(n_outputs=1, dropout=0.0):
    torch.manual_seed(0)
    return SiteModel(narrow.residual(), n_outputs, dropout)


def test_groups_run_from_the_head_to_the_stem():
    assert list(model().groups()) == ["head", "layer4", "layer3", "layer2", "layer1", "stem"]


def test_binary_loss_is_cross_entropy_of_the_logit():
    site = model().eval()
    images, target = torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 1, 0])
    p = probabilities(site.logits(images)).tolist()
    by_hand = -sum(math.log(q if t else 1 - q) for q, t in zip(p, target, strict=True)) / 4
    assert site(images, target)["total"].item() == pytest.approx(by_hand, rel=1e-5)


def test_multi_class_loss_is_cross_entropy_of_the_softmax():
    site = model(n_outputs=3).eval()
    images, target = torch.randn(4, 1, 32, 32), torch.tensor([0, 2, 1, 0])
    p = probabilities(site.logits(images))
    assert torch.allclose(p.sum(dim=1), torch.ones(4))
    by_hand = -sum(math.log(p[i, t].item()) for i, t in enumerate(target)) / 4
    assert site(images, target)["total"].item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_loss_of_mixed_images_weighs_both_labels_by_area(n_outputs):
    site = model(n_outputs).eval()
    images = torch.randn(4, 1, 32, 32)
    own, other = torch.tensor([0, 1, 1, 0]), torch.tensor([1, 0, 1, 0])
    ends = [site(images, label)["total"].item() for label in (own, other)]
    mixed = site(images, own, other, 0.7)["total"].item()
    assert mixed == pytest.approx(0.7 * ends[0] + 0.3 * ends[1], rel=1e-5)
    assert site(images, own, other, 1.0)["total"].item() == pytest.approx(ends[0], rel=1e-5)


def test_frozen_groups_stay_in_evaluation_mode_whoever_calls_train():
    site = model(dropout=0.5)
    site.release_only(["head", "layer4"])
    torch.nn.Sequential(site).train()  # as a wrapper would
    modes = {name: {m.training for m in parts} for name, parts in site.groups().items()}
    assert modes["head"] == modes["layer4"] == {True}
    assert all(modes[name] == {False} for name in ("layer3", "layer2", "layer1", "stem"))


def test_what_was_frozen_can_be_released_again():
    site = model().train()
    site.release_only(["head"])
    site.release_only(site.groups())
    assert all(p.requires_grad for p in site.parameters())
    assert all(m.training for m in site.modules())


def test_unknown_groups_are_a_bug():
    with pytest.raises(ValueError, match=r"no layer groups called \['layer9'\]"):
        model().release_only(["layer9"])


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
