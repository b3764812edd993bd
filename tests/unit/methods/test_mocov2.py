"""MoCo v2 against the formula of the paper in numpy; its queue, its key network, its groups."""

import numpy as np
import pytest
import torch

from medssl.config import loading
from medssl.foundation.errors import UsageError
from medssl.methods import _queue, mocov2
from medssl.methods.mocov2 import Config, capped

SMALL = {"projector_hidden": 8, "projector_dim": 6}


class Flat(torch.nn.Module):
    """A linear layer and a batch norm; it writes down what the norm saw."""

    dim = 5

    def __init__(self):
        super().__init__()
        self.layer, self.norm = torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5)
        self.seen = []

    def forward(self, images):
        self.seen.append(images.flatten(1))
        return self.norm(self.layer(images.flatten(1)))


def build(**options):
    torch.manual_seed(0)
    return mocov2.Method(Flat(), Config(**{"queue": 12, **SMALL, **options}))


def some_views(n=6):
    return [torch.randn(n, 1, 2, 2) for _ in range(2)]


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def sines(n, phase, dim=5):
    return np.sin(0.7 * np.arange(float(n * dim)) ** 1.5 + phase).reshape(n, dim)


def info_nce(query, key, earlier, temperature, usable=None):
    q, k, old = (torch.from_numpy(unit(z)) for z in (query, key, earlier))
    which = torch.ones(len(q), len(old), dtype=torch.bool) if usable is None else usable
    return {n: v.item() for n, v in mocov2.info_nce(q, k, old, which, temperature).items()}


def reference(query, key, earlier, temperature, usable):
    """Equation 1 of arXiv:1911.05722 with loops; `usable` says which negatives count."""
    q, k, old = map(unit, (query, key, earlier))
    parts = []
    for i in range(len(q)):
        right = np.exp(q[i] @ k[i] / temperature)
        wrong = [np.exp(q[i] @ old[j] / temperature) for j in range(len(old)) if usable[i, j]]
        parts.append(-np.log(right / (right + sum(wrong))))
    return np.mean(parts)


@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_equals_the_paper_s_formula(temperature):
    shown = sines(6, 0.0), sines(6, 0.9), sines(12, 1.1)
    usable = np.random.default_rng(0).random((6, 12)) < 0.7
    found = info_nce(*shown, temperature, torch.from_numpy(usable))
    expected = reference(*shown, temperature, usable)
    assert found["total"] == pytest.approx(expected, rel=1e-10)


def test_equals_lightly():
    """Frozen: NTXentLoss with a memory bank of lightly 1.6.0 in double precision, on sines."""
    found = info_nce(sines(6, 0.0), sines(6, 0.9), sines(12, 1.1), 0.2)
    assert found["total"] == pytest.approx(1.4452256658487885, rel=1e-12)


def test_equal_similarities_cost_the_logarithm_of_the_number_of_candidates():
    found = info_nce(np.ones((2, 5)), np.ones((2, 5)), np.ones((4096, 5)), 0.2)
    assert found["total"] == pytest.approx(np.log(4097), rel=1e-9)  # 8.318


def test_without_a_negative_the_loss_is_nothing_and_the_gradient_finite():
    q = torch.randn(4, 5, requires_grad=True)
    nobody = torch.zeros(4, 3, dtype=torch.bool)
    loss = mocov2.info_nce(q, torch.randn(4, 5), torch.randn(3, 5), nobody, 0.2)["total"]
    loss.backward()
    assert loss.item() == 0
    assert not q.grad.any()


def test_the_loss_of_the_method_is_that_of_queries_keys_and_the_queue():
    method = build()
    method.queue.put(torch.from_numpy(unit(sines(10, 1.1, 6))).float(), torch.arange(10))
    query, key = sines(6, 0.0, 6), sines(6, 0.9, 6)
    patients = torch.tensor([3, 40, 41, 3, 7, 42])
    rows = {"query": torch.from_numpy(query), "key": torch.from_numpy(key)}
    losses = method.double().loss(rows, patients)
    usable = patients.numpy()[:, None] != np.arange(10)[None]
    expected = reference(query, key, sines(10, 1.1, 6), 0.2, usable)
    assert losses["total"].item() == pytest.approx(expected, rel=1e-6)
    assert losses["queue_filled"].item() == pytest.approx(10 / 12)


def test_the_queue_holds_no_image_of_the_batch_before_the_loss_and_all_after_it():
    method = build()
    rows = method.embed(some_views())
    first = method.loss(rows, torch.arange(6))
    assert (first["total"].item(), first["queue_filled"].item()) == (0, 0)
    kept = torch.nn.functional.normalize(rows["key"])
    torch.testing.assert_close(method.queue.rows[:6], kept)
    assert method.queue.patients.tolist() == [*range(6), *[_queue.NOBODY] * 6]


def test_the_queue_is_a_ring():
    queue = _queue.Queue(5, 2)
    for number in range(4):
        rows = torch.tensor([[2.0 * number, 0], [2.0 * number + 1, 0]])
        queue.put(rows, rows[:, 0].long())
    assert queue.patients.tolist() == [5, 6, 7, 3, 4]  # 0 to 7 were put in
    assert queue.rows[:, 0].tolist() == [5, 6, 7, 3, 4]
    assert queue.place.item() == 3
    queue.put(torch.arange(10, 24.0).reshape(7, 2), torch.arange(7))
    assert sorted(queue.patients.tolist()) == [2, 3, 4, 5, 6]


def test_measuring_the_loss_leaves_the_queue_alone():
    method = build().eval()
    method.loss(method.embed(some_views()), torch.arange(6))
    assert not method.queue.filled.any()


def test_the_backward_pass_sees_the_queue_as_the_loss_did():
    method = build(queue=6)
    for _ in range(3):
        method.loss(method.embed(some_views()), torch.arange(6))["total"].backward()
        assert all(torch.isfinite(p.grad).all() for p in method.projector.parameters())


def test_keys_follow_queries_and_get_no_gradient():
    method = build(momentum=0.75)
    pairs = [(method.key_encoder, method.encoder), (method.key_projector, method.projector)]
    for slow, fast in pairs:
        for p, q in zip(slow.parameters(), fast.parameters(), strict=True):
            assert torch.equal(p, q)
    with torch.no_grad():
        for _, fast in pairs:
            for p in fast.parameters():
                p.add_(torch.randn_like(p))
    before = [[p.clone() for p in slow.parameters()] for slow, _ in pairs]
    method.before_step(0.9)
    for (slow, fast), old in zip(pairs, before, strict=True):
        for p, o, q in zip(slow.parameters(), old, fast.parameters(), strict=True):
            torch.testing.assert_close(p, 0.75 * o + 0.25 * q)
    rows = method.embed(some_views())
    assert not rows["key"].requires_grad
    method.loss(rows, torch.arange(6))
    method.loss(method.embed(some_views()), torch.arange(6, 12))["total"].backward()
    assert all(p.grad is None for slow, _ in pairs for p in slow.parameters())
    assert method.encoder.layer.weight.grad.any()


def test_keys_are_embedded_in_random_groups_and_put_back_in_order():
    method = build(split_bn=4)
    images = torch.randn(32, 1, 2, 2)
    method.embed([torch.zeros_like(images), images])
    groups = list(method.key_encoder.seen)
    assert [len(group) for group in groups] == [8] * 4
    shown = torch.cat(groups)
    where = torch.cdist(images.flatten(1), shown).argmin(dim=1)  # of each image among the groups
    assert sorted(where.tolist()) == list(range(32))
    assert where.tolist() != list(range(32))
    fresh = build(split_bn=4)
    torch.manual_seed(3)
    keys = fresh.embed([torch.zeros_like(images), images])["key"]
    torch.manual_seed(3)
    again = build(split_bn=4)
    torch.manual_seed(3)
    assert torch.equal(keys, again.embed([torch.zeros_like(images), images])["key"])
    parts = torch.cat(fresh.key_encoder.seen).split(8)
    apart = torch.cat([again.key_projector(again.key_encoder(part)) for part in parts])
    order = torch.cdist(images.flatten(1), torch.cat(parts)).argmin(dim=1)
    torch.testing.assert_close(keys, apart[order])


def test_without_batch_norm_groups_change_nothing():
    images = torch.randn(32, 1, 2, 2)
    found = []
    for groups in (1, 4):
        method = build(split_bn=groups, projector_norm="layer")
        method.encoder.norm = method.key_encoder.norm = torch.nn.LayerNorm(5)
        found.append(method.embed([images, images])["key"])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("n", "most", "groups"), [(64, 8, 8), (32, 8, 4), (60, 8, 6), (61, 8, 1), (256, 8, 8),
                              (15, 8, 1), (16, 8, 2), (256, 1, 1)],
)  # fmt: skip
def test_groups_are_even_and_not_tiny(n, most, groups):
    images = torch.randn(n, 1, 2, 2)
    method = build(split_bn=most)
    method.embed([images, images])
    assert [len(seen) for seen in method.key_encoder.seen] == [n // groups] * groups


def test_measured_keys_need_no_groups():
    method = build().eval()
    images = torch.randn(32, 1, 2, 2)
    state = torch.get_rng_state()
    method.embed([images, images])
    assert len(method.key_encoder.seen) == 1
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("queue", "n_images", "batch", "expected"),
    [
        (65_536, 10_000_000, 256, 65_536),
        (65_536, 9_800, 128, 4_864),  # 38 x 128 <= 4900
        (65_536, 100, 64, 64),  # never below a batch
        (65_536, 1_000, 48, 480),
        (1_000, 10_000, 64, 960),
        (30, 10_000, 64, 30),  # shorter than a batch: as asked
    ],
)
def test_the_queue_is_capped_to_the_archive(queue, n_images, batch, expected):
    config = capped(Config(queue=queue, temperature=0.1), n_images, batch)
    assert config == Config(queue=expected, temperature=0.1)


def test_the_head_can_be_linear_as_in_the_first_version():
    method = build(projector_hidden=0)
    assert [type(layer).__name__ for layer in method.projector] == ["Linear"]


@pytest.mark.parametrize("wrong", [{"queue": 0}, {"temperature": 0}, {"momentum": 2}, {"K": 5}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        loading.decode(Config, wrong, where="method_options")
