"""SwAV against the formulas of the paper in numpy, its limit cases, queue and prototypes."""

import numpy as np
import pytest
import torch

from medssl.config import loading
from medssl.foundation.errors import UsageError
from medssl.methods import swav
from medssl.methods.swav import Config, capped

SMALL = {"projector_hidden": 8, "projector_dim": 6, "prototypes": 7, "n_local_views": 3}


class Flat(torch.nn.Module):
    """A linear layer over the mean of rows; it counts its calls."""

    dim = 5

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 5)
        self.calls = []

    def forward(self, images):
        self.calls.append(tuple(images.shape))
        return self.layer(images.mean(dim=2).flatten(1)[:, :4])


def build(**options):
    torch.manual_seed(0)
    return swav.Method(Flat(), Config(**{**SMALL, **options}))


def some_views(n=6, local=3):
    return [torch.randn(n, 1, 8, 8) for _ in range(2)] + [torch.randn(n, 1, 4, 4)] * local


def sines(n, phase, dim=5):
    z = np.sin(0.7 * np.arange(float(n * dim)) ** 1.5 + phase).reshape(n, dim)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


PROTOTYPES = sines(7, 2.0)
FULL = np.stack([sines(6, phase) for phase in (0.0, 0.9)], axis=1)  # (6, 2, 5)
ALL = np.stack([sines(6, phase) for phase in (0.0, 0.9, 0.8, 1.2, 1.6)], axis=1)
EARLIER = np.stack([sines(4, phase) for phase in (2.4, 2.8)], axis=1)


def sinkhorn(scores, epsilon=0.05, iterations=3):
    """Algorithm of arXiv:2006.09882, appendix A, as it stands there; scores: (N, K)."""
    q = np.exp(scores / epsilon).T
    q /= q.sum()
    k, n = q.shape
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True) * k
        q /= q.sum(axis=0, keepdims=True) * n
    return (q * n).T


def reference(scores, n_full, earlier=None, temperature=0.1):
    """Equation 2 of the paper over all pairs of a full view and another one; (B, W, K)."""
    parts = []
    for v in range(n_full):
        with_queue = [scores[:, v]] if earlier is None else [scores[:, v], earlier[:, v]]
        codes = sinkhorn(np.concatenate(with_queue))[: len(scores)]
        for w in range(scores.shape[1]):
            if w != v:
                p = np.exp(scores[:, w] / temperature)
                p /= p.sum(axis=1, keepdims=True)
                parts.append(-(codes * np.log(p)).sum(axis=1).mean())
    return np.mean(parts)


def loss_of(z, earlier=None):
    """The method's loss of projections (B, W, 5) of two full views and smaller ones."""
    encoder = torch.nn.Identity()
    encoder.dim = 5
    queue = {} if earlier is None else {"queue": 9}  # more places than are filled
    options = SMALL | {"projector_dim": 5} | queue
    method = swav.Method(encoder, Config(**options)).double()
    with torch.no_grad():
        method.prototypes.copy_(torch.from_numpy(PROTOTYPES))
    if earlier is not None:
        method.queue.put(torch.from_numpy(earlier), torch.arange(len(earlier)))
        method.queue_in_use.fill_(True)
    rows = {"scores": torch.from_numpy(z @ PROTOTYPES.T), "projections": torch.from_numpy(z[:, :2])}
    return {k: v.item() for k, v in method.loss(rows, torch.arange(len(z))).items()}


def test_equals_the_paper_s_formula():
    for z in (FULL, ALL):
        expected = reference(z @ PROTOTYPES.T, 2)
        found = loss_of(z)
        assert found["total"] == pytest.approx(expected, rel=1e-10)
        assert found["share_of_ln_k"] == pytest.approx(expected / np.log(7), rel=1e-10)
    expected = reference(ALL @ PROTOTYPES.T, 2, EARLIER @ PROTOTYPES.T)
    assert loss_of(ALL, EARLIER)["total"] == pytest.approx(expected, rel=1e-6)


def test_equals_lightly():
    """Frozen: SwaVLoss of lightly 1.6.0 in double precision, on sines: 2, 2 + 3 views, a queue."""
    assert loss_of(FULL)["total"] == pytest.approx(4.941379939765445, rel=1e-9)
    assert loss_of(ALL)["total"] == pytest.approx(4.65180009073353, rel=1e-9)
    assert loss_of(ALL, EARLIER)["total"] == pytest.approx(5.11111408639478, rel=1e-6)


def test_codes_add_up_to_one_per_image_and_are_even_only_in_the_end():
    scores = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, size=(28, 2, 7)))
    everyone = torch.ones(28, dtype=torch.bool)
    few, many = (swav.sinkhorn(scores, everyone, 0.05, n) for n in (3, 300))
    for codes in (few, many):
        torch.testing.assert_close(codes.sum(dim=2), torch.ones(28, 2).double())
    torch.testing.assert_close(many.sum(dim=0), torch.full((2, 7), 4.0).double(), rtol=1e-3, atol=0)
    assert (few.sum(dim=0) - 4).abs().max() > 0.1


@pytest.mark.parametrize("height", [1.0, 10.0, 1000.0])
def test_codes_stay_finite_at_any_score(height):
    scores = height * torch.randn(8, 2, 7).half()
    codes = swav.sinkhorn(scores, torch.ones(8, dtype=torch.bool), 0.05, 3)
    assert codes.dtype == torch.float32
    assert torch.isfinite(codes).all()


def test_who_takes_no_part_has_no_say():
    scores = torch.randn(8, 1, 5)
    some = torch.tensor([True] * 5 + [False] * 3)
    moved = scores.clone()
    moved[5:] += 3
    found = [swav.sinkhorn(s, some, 0.05, 3)[:5] for s in (scores, moved)]
    assert torch.equal(*found)
    alone = swav.sinkhorn(scores[:5], some[:5], 0.05, 3)
    torch.testing.assert_close(found[0], alone)


def test_equal_scores_cost_ln_k():
    found = loss_of(np.zeros((6, 5, 5)))
    assert found["total"] == pytest.approx(np.log(7))
    assert found["share_of_ln_k"] == pytest.approx(1)


def test_a_view_does_not_predict_itself():
    """The codes of a full view depend on it; its own prediction must not count."""
    codes = torch.rand(4, 2, 7).softmax(dim=2)
    scores = torch.randn(4, 3, 7, requires_grad=True)
    only = codes.clone()
    only[:, 1] = 0
    swav.swapped_prediction(only, scores, 0.1).backward()
    assert not scores.grad[:, 0].any()
    assert scores.grad[:, 1:].any()


def test_views_of_one_size_are_embedded_in_one_call_each_in_its_place():
    method = build(projector_norm="layer")
    views = some_views()
    rows = method.embed(views)
    assert method.encoder.calls == [(12, 1, 8, 8), (18, 1, 4, 4)]
    assert rows["scores"].shape == (6, 5, 7)
    for number, view in enumerate(views):
        z = torch.nn.functional.normalize(method.projector(method.encoder(view)))
        torch.testing.assert_close(rows["scores"][:, number], z @ method.prototypes.T)
        if number < 2:
            torch.testing.assert_close(rows["projections"][:, number], z.detach())


def test_it_works_without_smaller_views():
    method = build(n_local_views=0)
    losses = method.loss(method.embed(some_views(local=0)), torch.arange(6))
    assert method.encoder.calls == [(12, 1, 8, 8)]
    assert torch.isfinite(losses["total"])


@pytest.mark.parametrize(("progress", "moves"), [(0.0, False), (0.19, False), (0.2, True)])
def test_prototypes_stand_still_for_the_first_share_of_the_run(progress, moves):
    method = build(freeze_prototypes=0.2)
    method.before_step(progress)
    method.loss(method.embed(some_views()), torch.arange(6))["total"].backward()
    assert method.prototypes.requires_grad
    assert bool(method.prototypes.grad.any()) == moves
    assert method.encoder.layer.weight.grad.any()


def test_a_still_prototype_is_not_moved_by_an_optimiser():
    method = build(freeze_prototypes=0.5)
    before = method.prototypes.detach().clone()
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(5):
        method.before_step(0.1)
        optimizer.zero_grad()
        method.loss(method.embed(some_views()), torch.arange(6))["total"].backward()
        optimizer.step()
    method.before_step(0.1)
    torch.testing.assert_close(method.prototypes.detach(), before)


def test_prototypes_have_length_one_before_every_step():
    method = build()
    with torch.no_grad():
        method.prototypes.mul_(torch.linspace(0.1, 9, 7)[:, None])
    before = torch.nn.functional.normalize(method.prototypes.detach())
    method.before_step(0.7)
    torch.testing.assert_close(method.prototypes.detach(), before)


def test_the_queue_is_filled_in_training_and_used_from_its_share_on():
    method = build(queue=8, queue_from=0.3)
    views = some_views()
    rows = method.embed(views)
    alone = build().loss(rows, torch.arange(6))["total"]
    method.before_step(0.0)
    filled = method.loss(rows, torch.arange(6))["total"]  # and not yet used
    torch.testing.assert_close(filled, alone)
    assert method.queue.filled.sum() == 6
    assert torch.equal(method.queue.rows[:6], rows["projections"])
    method.before_step(0.0)
    other = {key: value + 0.1 * torch.randn_like(value) for key, value in rows.items()}
    before = build().loss(other, torch.arange(6))["total"]
    torch.testing.assert_close(method.eval().loss(other, torch.arange(6))["total"], before)
    method.before_step(0.3)
    assert not torch.isclose(method.loss(other, torch.arange(6))["total"], before, rtol=1e-3)


def test_the_share_of_prototypes_in_use():
    scores = torch.zeros(3, 2, 10)
    scores[0, 0, 4] = scores[1, 1, 4] = scores[0, 1, 9] = scores[1, 0, 9] = 1
    scores[2, :, 0] = 1
    rows = {"scores": scores, "projections": torch.randn(3, 2, 6)}
    found = build(prototypes=10).loss(rows, torch.arange(3))
    assert found["prototypes_used"].item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("options", "n_images", "batch", "prototypes", "queue"),
    [
        ({}, 300, 64, 16, 0),
        ({}, 5_000, 64, 50, 0),
        ({}, 10_000_000, 64, 3000, 0),
        ({"prototypes": 500, "queue": 3840}, 100_000, 64, 500, 3840),
        ({"prototypes": 500, "queue": 3840}, 3_000, 64, 500, 1472),  # 23 x 64 <= 1500
        ({"queue": 3840}, 100, 64, 16, 0),
    ],
)
def test_prototypes_and_queue_fit_the_archive(options, n_images, batch, prototypes, queue):
    found = capped(Config(temperature=0.2, **options), n_images, batch)
    assert found == Config(temperature=0.2, prototypes=prototypes, queue=queue)


@pytest.mark.parametrize("wrong", [{"prototypes": 1}, {"epsilon": 0}, {"queue": -1}, {"K": 5}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        loading.decode(Config, wrong, where="method_options")
