"""NT-Xent against the paper's formula written out with loops, its limit cases and invariances."""

import numpy as np
import pytest
import torch

from medssl.config import loading
from medssl.foundation.errors import UsageError
from medssl.methods import simclr
from medssl.models.encoders import resnet18


def losses_of(a, b, temperature=0.5, patients=None):
    """The losses of projections; without ``patients`` every image is of another one."""
    shown = (torch.as_tensor(z, dtype=torch.float32) for z in (a, b))
    whose = torch.arange(len(a)) if patients is None else torch.tensor(patients)
    losses = simclr.nt_xent(*shown, temperature, whose)
    return {name: value.item() for name, value in losses.items()}


def random_pair(n=7, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(2, n, dim))


def reference(a, b, temperature, patients=None):
    """Equation 1 of arXiv:2002.05709, averaged over both directions, written out with loops.

    Other images of the same patient are left out of the sum.
    """
    n = len(a)
    whose = [*range(n)] * 2 if patients is None else [*patients] * 2
    z = np.concatenate([a, b])

    def sim(i, j):
        return z[i] @ z[j] / np.linalg.norm(z[i]) / np.linalg.norm(z[j])

    parts, cosines, hits = [], [], []
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = {k: sim(i, k) for k in range(2 * n) if k == partner or whose[k] != whose[i]}
        below = sum(np.exp(s / temperature) for s in others.values())
        parts.append(-np.log(np.exp(others[partner] / temperature) / below))
        cosines.append(others[partner])
        hits.append(max(others, key=others.get) == partner)
    return {"total": np.mean(parts), "agreement": np.mean(cosines), "top1": np.mean(hits)}


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_equals_the_paper_s_formula(temperature):
    a, b = random_pair()
    b = a + 0.8 * b  # partners agree, though not all of them best
    assert losses_of(a, b, temperature) == pytest.approx(reference(a, b, temperature), rel=1e-5)


def test_equals_lightly():
    """Frozen: NTXentLoss of lightly 1.6.0 in double precision, on the sines below."""
    a, b = (np.sin(0.7 * np.arange(30.0) ** 1.5 + phase).reshape(6, 5) for phase in (0.0, 0.9))
    assert losses_of(a, b, 0.1)["total"] == pytest.approx(0.5632163822231119, rel=1e-5)
    assert losses_of(a, b, 0.5)["total"] == pytest.approx(1.407374733455576, rel=1e-5)


def test_other_images_of_a_patient_are_no_negatives():
    a, b = random_pair()
    b = a + 0.8 * b
    patients = [0, 1, 0, 2, 1, 0, 3]
    assert losses_of(a, b, 0.5, patients) == pytest.approx(reference(a, b, 0.5, patients), rel=1e-5)
    assert losses_of(a, b, 0.5, patients)["total"] < losses_of(a, b, 0.5)["total"]


def test_images_of_one_patient_alone_cost_nothing():
    a, b = random_pair()
    found = losses_of(a, b, 0.5, [4] * 7)
    assert found["total"] == pytest.approx(0, abs=1e-6)
    assert found["top1"] == 1


@pytest.mark.parametrize("n", [2, 8, 33])
def test_equal_embeddings_cost_the_logarithm_of_the_number_of_candidates(n):
    same = np.ones((n, 6))
    assert losses_of(same, same)["total"] == pytest.approx(np.log(2 * n - 1), rel=1e-6)


def test_perfect_embeddings_have_the_known_least_value():
    found = losses_of(np.eye(8), np.eye(8))
    assert found["total"] == pytest.approx(np.log(1 + 14 * np.exp(-2)), rel=1e-6)  # 1.06288
    assert (found["agreement"], found["top1"]) == (pytest.approx(1), 1)


def test_only_directions_matter():
    a, b = random_pair()
    lengths = np.random.default_rng(1).uniform(0.1, 50, size=(2, 7, 1))
    assert losses_of(a, b) == pytest.approx(losses_of(a * lengths[0], b * lengths[1]), rel=1e-5)


def test_the_two_views_are_interchangeable():
    a, b = random_pair()
    assert losses_of(a, b) == pytest.approx(losses_of(b, a), rel=1e-6)


def test_a_tiny_temperature_stays_finite_with_its_gradient():
    a, b = (torch.tensor(z, dtype=torch.float32, requires_grad=True) for z in random_pair(n=16))
    loss = simclr.nt_xent(a, b, 0.005, torch.arange(16))["total"]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(a.grad).all()
    assert torch.isfinite(b.grad).all()


def test_the_similarities_are_not_computed_in_half_precision():
    a, b = random_pair(n=32, dim=64)
    exact = losses_of(a, b, 0.05)["total"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert losses_of(a, b, 0.05)["total"] == pytest.approx(exact, rel=1e-6)


def test_the_projector_has_the_sizes_asked_for_and_one_norm_between():
    encoder = resnet18.build(1, 2, resnet18.Config())
    method = simclr.Method(encoder, simclr.Config(projector_hidden=48, projector_dim=16))
    kinds = [type(module).__name__ for module in method.projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert [method.projector[k].out_features for k in (0, 3)] == [48, 16]


def test_a_collapse_is_seen_in_the_spread_of_projections():
    encoder = resnet18.build(1, 2, resnet18.Config())
    method = simclr.Method(encoder, simclr.Config())
    rows = {name: torch.randn(512, 128) for name in "ab"}
    assert method.loss(rows, torch.arange(512))["projection_std"] == pytest.approx(1, abs=0.02)
    same = {name: torch.ones(512, 1) * torch.randn(128) for name in "a"}
    same["b"] = same["a"]
    assert method.loss(same, torch.arange(512))["projection_std"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"projector_dim": 1}, {"tau": 0.1}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        loading.decode(simclr.Config, wrong, where="method_options")
