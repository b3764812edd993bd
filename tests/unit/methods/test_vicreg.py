"""VICReg against the formula of the paper in numpy, and its limit cases."""

import numpy as np
import pytest
import torch

from medssl.foundation.errors import UsageError
from medssl.methods import vicreg
from medssl.models.encoders import resnet18


def loss_of(a, b, **options):
    encoder = torch.nn.Identity()
    encoder.dim = 5
    method = vicreg.Method(encoder, vicreg.Config(projector_dim=8, **options))
    rows = {"a": torch.from_numpy(a), "b": torch.from_numpy(b)}
    losses = method.loss(rows, torch.arange(len(a)))
    return {name: value.item() for name, value in losses.items()}


def reference(a, b):
    """Equations 1 to 6 of arXiv:2105.04906, written out with loops."""
    n, dim = a.shape
    parts = {"invariance": ((a - b) ** 2).mean(), "variance": 0.0, "covariance": 0.0}
    for z in (a, b):
        std = [np.sqrt(np.var(z[:, j], ddof=1) + 1e-4) for j in range(dim)]
        parts["variance"] += sum(max(0.0, 1 - s) for s in std) / dim / 2
        for i in range(dim):
            for j in range(dim):
                if i != j:
                    c = sum((z[k, i] - z[:, i].mean()) * (z[k, j] - z[:, j].mean())
                            for k in range(n)) / (n - 1)  # fmt: skip
                    parts["covariance"] += c**2 / dim
    return parts


def test_equals_the_paper_s_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(scale=0.7, size=(2, 7, 5)).astype(np.float32)
    found, expected = loss_of(a, b), reference(a.astype(float), b.astype(float))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5)
    total = 25 * expected["invariance"] + 25 * expected["variance"] + expected["covariance"]
    assert found["total"] == pytest.approx(total, rel=1e-5)


def test_equals_lightly():
    """Frozen: VICRegLoss of lightly 1.6.0 in double precision, on the sines below."""
    a, b = (np.sin(0.7 * np.arange(30.0) ** 1.5 + phase).reshape(6, 5) for phase in (0.0, 0.9))
    assert loss_of(a, b)["total"] == pytest.approx(16.749602585889818, rel=1e-12)


def test_one_image_is_refused():
    with pytest.raises(UsageError, match="batch of one"):
        loss_of(np.ones((1, 5)), np.ones((1, 5)))


def test_a_collapsed_encoder_pays_the_whole_variance_term():
    same = np.ones((6, 5), dtype=np.float32)
    found = loss_of(same, same)
    assert found["total"] == pytest.approx(25 * (1 - np.sqrt(1e-4)))  # 24.75
    assert found["projection_std"] == pytest.approx(0, abs=1e-6)


def test_identical_decorrelated_unit_embeddings_cost_nothing():
    hadamard = np.array(
        [[1, 1, 1], [1, -1, 1], [1, 1, -1], [1, -1, -1],
         [-1, 1, 1], [-1, -1, 1], [-1, 1, -1], [-1, -1, -1]], dtype=np.float32,
    )  # fmt: skip
    assert loss_of(hadamard, hadamard)["total"] == pytest.approx(0, abs=1e-6)


def test_weights_are_options():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 6, 5)).astype(np.float32)
    found = loss_of(a, b, invariance=0.0, variance=0.0, covariance=3.0)
    assert found["total"] == pytest.approx(3 * found["covariance"], rel=1e-6)


def test_the_expander_has_the_width_asked_for():
    encoder = resnet18.build(1, 2, resnet18.Config())
    method = vicreg.Method(encoder, vicreg.Config(projector_dim=32))
    widths = [m.out_features for m in method.projector if isinstance(m, torch.nn.Linear)]
    assert widths == [32, 32, 32]


def test_the_covariance_is_not_computed_in_half_precision():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 64, 5)).astype(np.float32)
    exact = loss_of(a, b)["covariance"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss_of(a, b)["covariance"] == pytest.approx(exact, rel=1e-6)
