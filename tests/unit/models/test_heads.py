"""Heads of a site model: what they predict, whatever their weights are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medssl.config.task import Task
from medssl.models import heads
from medssl.models.encoders import resnet18
from medssl.models.site_model import SiteModel


@given(st.integers(2, 7), st.integers(0, 2**31), st.floats(0.01, 30))
def test_of_ordered_classes_no_probability_is_negative(n_classes, seed, size):
    torch.manual_seed(seed)
    head = heads.Ordinal(4, n_classes - 1).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=size)
    logits = head(torch.randn(9, 4, dtype=torch.float64))
    assert logits.shape == (9, n_classes - 1)
    assert (logits.diff(dim=1) <= 0).all()


def test_a_higher_class_lies_along_one_direction():
    """The class with the highest probability never falls as the score along it grows."""
    head = heads.Ordinal(1, 3)
    with torch.no_grad():
        head.direction.weight.fill_(1.0)
        head.gaps.fill_(2.0)
    above = head(torch.linspace(-9, 12, 100)[:, None]).sigmoid()
    edges = torch.cat([torch.ones(100, 1), above, torch.zeros(100, 1)], dim=1)
    named = (edges[:, :-1] - edges[:, 1:]).argmax(dim=1)
    assert (named.diff() >= 0).all()
    assert set(named.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        (Task(kind="binary", targets=("a",), classes=("0", "1"), positive="1"), 1),
        (Task(kind="multi_class", targets=("a",), classes=("x", "y", "z")), 3),
        (Task(kind="multi_label", targets=("a", "b")), 2),
        (Task(kind="ordinal", targets=("a",), classes=("1", "2", "3", "4")), 4),
        (Task(kind="ordinal", targets=("a",), classes=("1", "2")), 2),
    ],
)
def test_predictions_are_probabilities_of_the_columns_of_the_task(task, columns):
    model = SiteModel(resnet18.build(1, 2, resnet18.Config()), task, 0.0).eval()
    found = model.predictions(model.judge(torch.randn(6, model.encoder.dim)))
    assert found.shape == (6, columns) == (6, len(task.columns))
    assert ((found >= 0) & (found <= 1)).all()
    if task.kind in ("multi_class", "ordinal"):
        torch.testing.assert_close(found.sum(dim=1), torch.ones(6))


def test_amounts_are_predicted_in_their_own_unit_and_learned_in_units_of_their_spread():
    task = Task(kind="regression", targets=("a", "b"))
    seen = []
    model = SiteModel(
        resnet18.build(1, 2, resnet18.Config()),
        task,
        0.0,
        loss=lambda logits, target, features: (
            seen.append(target) or (logits + features.sum()).sum()
        ),
    )
    nan = float("nan")
    label = torch.tensor([[100.0, 1], [300, nan], [200, 3]], dtype=torch.float64)
    model.scale(label)
    model(torch.randn(3, model.encoder.dim), label, are_features=True)
    expected = torch.tensor([[-1.2247, -1], [1.2247, nan], [0, 1]], dtype=torch.float64)
    torch.testing.assert_close(seen[0].double(), expected, atol=1e-4, rtol=0, equal_nan=True)
    back = model.predictions(seen[0].float())
    torch.testing.assert_close(back, label.float(), equal_nan=True)


def test_amounts_that_are_all_the_same_stay_finite():
    model = SiteModel(
        resnet18.build(1, 2, resnet18.Config()), Task(kind="regression", targets=("a",)), 0.0
    )
    model.scale(torch.full((4, 1), 5.0))
    assert model.predictions(torch.zeros(2, 1)).tolist() == [[5.0], [5.0]]
    assert model.spread.tolist() == [1.0]
    with pytest.raises(ValueError, match="no label of 'a'"):
        model.scale(torch.full((4, 1), float("nan")))
