"""Pooling of slices: what must not change the result, what must, and the formula by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from medssl.models import pooling

KINDS = ("mean", "max", "attention")
DIM = 6


def made(kind, seed=0):
    torch.manual_seed(seed)
    return pooling.build(kind, DIM)


def bag(n=2, slices=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, slices, DIM, generator=generator)
    mask = torch.ones(n, slices, dtype=torch.bool)
    position = (torch.arange(slices) - (slices - 1) / 2).mul(7.0).expand(n, -1)
    return features, mask, position


def test_none_is_no_pooling():
    assert pooling.build("none", DIM) is None


@pytest.mark.parametrize("kind", KINDS)
def test_slices_that_do_not_count_change_nothing(kind):
    """Whatever stands in their places, and the others of the batch may be longer."""
    pool = made(kind)
    features, mask, position = bag()
    alone = pool(features, mask, position)
    strange = torch.full((2, 3, DIM), 1e4)
    longer = torch.cat([features, strange], 1)
    mask = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], 1)
    padded = pool(longer, mask, torch.cat([position, torch.full((2, 3), 55.0)], 1))
    assert torch.allclose(alone, padded, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_one_slice_is_the_result(kind):
    features, mask, position = bag(slices=1)
    assert torch.equal(made(kind)(features, mask, position), features[:, 0])


def test_attention_gives_an_only_slice_all_the_weight():
    features, mask, position = bag(slices=1)
    assert torch.equal(made("attention").weights(features, mask, position), torch.ones(2, 1))


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_mean_and_maximum_are_those_of_numpy(kind):
    features, mask, position = bag(n=3)
    mask[1, 3:] = mask[2, 0] = False
    found = made(kind)(features, mask, position)
    for row in range(3):
        there = features[row].numpy()[mask[row].numpy()]
        by_hand = there.mean(axis=0) if kind == "mean" else there.max(axis=0)
        assert np.allclose(found[row], by_hand, atol=1e-6)


def test_a_series_shown_twice_has_the_same_mean():
    features, mask, position = bag()
    pool = made("mean")
    twice = pool(*(torch.cat([part, part], 1) for part in (features, mask, position)))
    assert torch.allclose(twice, pool(features, mask, position), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_order_matters_where_positions_are_known_to_the_pooling_and_nowhere_else(kind):
    pool = made(kind)
    features, mask, position = bag()
    order = torch.tensor([3, 0, 4, 1, 2])
    before = pool(features, mask, position)
    together = pool(features[:, order], mask, position[:, order])
    assert torch.allclose(before, together, atol=1e-6)  # the same slices at the same places
    moved = pool(features[:, order], mask, position)
    assert torch.allclose(before, moved, atol=1e-6) == (kind != "attention")
    if kind == "attention":
        torch.nn.init.zeros_(pool.place.weight)
        before, moved = (pool(f, mask, position) for f in (features, features[:, order]))
        assert torch.allclose(before, moved, atol=1e-6)


def test_above_and_below_the_middle_are_different_places():
    pool = made("attention")
    features, mask, position = bag()
    assert not torch.allclose(pool(features, mask, position), pool(features, mask, -position))


def test_attention_weights_add_up_to_one_over_the_slices_there_are():
    features, mask, position = bag(n=4, slices=9)
    mask[1, 4:] = mask[3, 1:] = False
    weights = made("attention").weights(features, mask, position)
    assert torch.allclose(weights.sum(dim=1), torch.ones(4))
    assert (weights[~mask] == 0).all()
    assert (weights[mask] > 0).all()


def test_attention_is_the_formula_of_the_paper():
    """Equation 9 of arXiv:1802.04712 in numpy and float64, slice by slice."""
    pool = made("attention").double()
    features, mask, position = bag(n=1)
    features, position = features.double(), position.double()
    p = {name: t.detach().numpy() for name, t in pool.named_parameters()}
    placed, scores = [], []
    for slice_, mm in zip(features[0].numpy(), position[0].numpy(), strict=True):
        angle = [2 * np.pi * mm / (8 * 2**k) for k in range(8)]
        h = slice_ + p["place.weight"] @ np.concatenate([np.sin(angle), np.cos(angle)])
        even = (h - h.mean()) / np.sqrt(h.var() + 1e-5)
        what = np.tanh(p["what.weight"] @ even + p["what.bias"])
        whether = 1 / (1 + np.exp(-(p["whether.weight"] @ even + p["whether.bias"])))
        placed.append(h)
        scores.append(p["score.weight"][0] @ (what * whether))
    share = np.exp(scores) / np.exp(scores).sum()
    by_hand = sum(a * h for a, h in zip(share, placed, strict=True))
    # positions pass through float32
    assert np.allclose(pool.weights(features, mask, position)[0].detach(), share, atol=1e-5)
    assert np.allclose(pool(features, mask, position)[0].detach(), by_hand, atol=1e-5)


def test_every_weight_learns():
    pool = made("attention")
    features, mask, position = bag()
    pool(features, mask, position).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in pool.parameters())


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_features_stay_finite_in_half_precision(kind, scale):
    pool = made(kind)
    features, mask, position = bag()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pool((features * scale).requires_grad_(), mask, position)
    found.float().sum().backward()
    assert found.isfinite().all()
    assert all(p.grad.isfinite().all() for p in pool.parameters())


def test_positions_are_no_part_of_what_is_saved():
    assert set(made("attention").state_dict()) == {
        "place.weight", "what.weight", "what.bias", "whether.weight", "whether.bias", "score.weight"
    }  # fmt: skip


def judged(kind, seed):
    """AUROC on new bags of a pooling trained to tell where, not whether, a slice stands out."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(n):
        target = torch.randint(2, (n,), generator=generator)
        features = torch.randn(n, 8, 16, generator=generator).relu()
        place = torch.randint(3, (n,), generator=generator) + 5 * target
        features[torch.arange(n), place, 0] += 4
        position = (torch.arange(8) - 3.5).mul(4.0).expand(n, -1)
        return target, (features, torch.ones(n, 8, dtype=torch.bool), position)

    torch.manual_seed(seed)
    pool, head = pooling.build(kind, 16), torch.nn.Linear(16, 1)
    stepped = torch.optim.AdamW([*pool.parameters(), *head.parameters()], lr=1e-2)
    target, bags = drawn(64)
    for _ in range(300):
        stepped.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(
            head(pool(*bags))[:, 0], target.float()
        ).backward()
        stepped.step()
    target, bags = drawn(400)
    with torch.no_grad():
        return roc_auc_score(target, head(pool(*bags))[:, 0])


@pytest.mark.slow
def test_where_a_slice_lies_can_be_learned_by_attention_alone():
    """300 steps on 64 bags are few; over four seeds the mean is clear of chance."""
    found = {kind: np.mean([judged(kind, seed) for seed in range(4)]) for kind in KINDS}
    assert found["attention"] > 0.65
    assert abs(found["mean"] - 0.5) < 0.08
    assert abs(found["max"] - 0.5) < 0.08
