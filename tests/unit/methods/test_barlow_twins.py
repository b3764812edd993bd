"""Barlow Twins against the formula of the paper in numpy, its identities and lightly's value."""

import numpy as np
import pytest
import torch
from monai.losses import BarlowTwinsLoss

from medssl.config import loading
from medssl.foundation.errors import UsageError
from medssl.methods import barlow_twins
from medssl.models.encoders import resnet18

HADAMARD = np.array(
    [[1, 1, 1], [1, -1, 1], [1, 1, -1], [1, -1, -1],
     [-1, 1, 1], [-1, -1, 1], [-1, 1, -1], [-1, -1, -1]], dtype=float,
)  # fmt: skip


def loss_of(a, b, **options):
    encoder = torch.nn.Identity()
    encoder.dim = 5
    method = barlow_twins.Method(encoder, barlow_twins.Config(projector_dim=8, **options))
    rows = {"a": torch.as_tensor(a), "b": torch.as_tensor(b)}
    losses = method.loss(rows, torch.arange(len(a)))
    return {name: value.item() for name, value in losses.items()}


def random_pair(n=7, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(2, n, dim))


def reference(a, b):
    """Equation 1 and 2 of arXiv:2103.03230, written out with loops."""
    n, dim = a.shape
    parts = {"invariance": 0.0, "redundancy": 0.0}
    for i in range(dim):
        for j in range(dim):
            x, y = a[:, i] - a[:, i].mean(), b[:, j] - b[:, j].mean()
            below = np.sqrt((x**2).mean() + 1e-5) * np.sqrt((y**2).mean() + 1e-5)
            c = sum(x[k] * y[k] for k in range(n)) / n / below
            parts["invariance" if i == j else "redundancy"] += (1 - c) ** 2 if i == j else c**2
    return parts | {"total": parts["invariance"] + 0.0051 * parts["redundancy"]}


def test_equals_the_paper_s_formula():
    found, expected = loss_of(*random_pair()), reference(*random_pair())
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-10)


def test_equals_lightly():
    """Frozen: BarlowTwinsLoss of lightly 1.6.0 in double precision, on the sines below."""
    a, b = (np.sin(0.7 * np.arange(30.0) ** 1.5 + phase).reshape(6, 5) for phase in (0.0, 0.9))
    assert loss_of(a, b)["total"] == pytest.approx(1.1467748337656531, rel=1e-12)
    assert loss_of(a, b, redundancy=5e-3)["total"] == pytest.approx(1.1464481055304492, rel=1e-12)


def test_equal_decorrelated_views_cost_nothing():
    assert loss_of(HADAMARD, HADAMARD)["total"] == pytest.approx(0, abs=1e-9)


def test_the_convention_is_not_that_of_monai():
    """MONAI divides the variance by N - 1 and the correlation by N, which leaves D / N^2."""
    shown = torch.from_numpy(HADAMARD)
    left = 3 / 64
    assert BarlowTwinsLoss()(shown, shown).item() == pytest.approx(left, rel=1e-3)
    assert loss_of(HADAMARD, HADAMARD)["total"] < 1e-6 * left


def test_views_are_interchangeable_and_scale_and_offset_do_not_matter():
    a, b = (100 * z for z in random_pair())  # the small number under the root is then nothing
    found = loss_of(a, b)["total"]
    assert loss_of(b, a)["total"] == pytest.approx(found, rel=1e-10)
    factors, offsets = np.random.default_rng(1).uniform(1, 50, size=(2, 5))
    assert loss_of(a * factors + offsets, b)["total"] == pytest.approx(found, rel=1e-6)


def test_a_collapse_costs_one_per_dimension_and_is_seen():
    found = loss_of(np.ones((6, 5)), np.ones((6, 5)))
    assert found["total"] == pytest.approx(5)
    assert found["projection_std"] == pytest.approx(0, abs=1e-6)


def test_a_dimension_that_died_leaves_the_gradient_finite():
    a, b = (torch.tensor(z, dtype=torch.float32) for z in random_pair())
    a[:, 2] = 3.0
    a.requires_grad_()
    encoder = torch.nn.Identity()
    encoder.dim = 5
    method = barlow_twins.Method(encoder, barlow_twins.Config(projector_dim=8))
    method.loss({"a": a, "b": b}, torch.arange(7))["total"].backward()
    assert torch.isfinite(a.grad).all()


def test_the_scale_multiplies_the_total_alone():
    whole, tenth = (loss_of(*random_pair(), scale=scale) for scale in (1.0, 0.1))
    assert tenth["total"] == pytest.approx(0.1 * whole["total"])
    assert tenth["redundancy"] == whole["redundancy"]


def test_the_correlation_is_not_computed_in_half_precision():
    a, b = np.float32(random_pair(n=64))
    exact = loss_of(a, b)["total"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss_of(a, b)["total"] == pytest.approx(exact, rel=1e-6)


def test_one_image_is_refused():
    with pytest.raises(UsageError, match="batch of one"):
        loss_of(np.ones((1, 5)), np.ones((1, 5)))


def test_the_projector_has_three_layers_of_the_width_asked_for():
    encoder = resnet18.build(1, 2, resnet18.Config())
    method = barlow_twins.Method(encoder, barlow_twins.Config(projector_dim=32))
    widths = [m.out_features for m in method.projector if isinstance(m, torch.nn.Linear)]
    assert widths == [32, 32, 32]


@pytest.mark.parametrize("wrong", [{"scale": 0}, {"projector_dim": 1}, {"lambda": 0.1}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        loading.decode(barlow_twins.Config, wrong, where="method_options")
