"""All encoder tensors load, or the command stops and shows what does not match."""

import numpy as np
import pytest
import torch

from medssl.foundation.errors import ArtifactError
from medssl.models import weights
from medssl.models.encoders import resnet18


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return resnet18.build(1, 2, resnet18.Config())


def state(encoder):
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def test_names_are_those_of_the_library_network(encoder):
    names = weights.to_arrays(encoder)
    assert "conv1.weight" in names
    assert "layer4.1.bn2.running_var" in names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("conv1.weight"), "1 missing: conv1.weight"),
        (lambda a: a.update(extra=np.zeros(3)), "1 unexpected: extra"),
        (
            lambda a: a.update({"conv1.weight": np.zeros((64, 2, 7, 7))}),
            "1 misshaped: conv1.weight",
        ),
    ],
)
def test_anything_that_does_not_fit_stops_and_changes_nothing(encoder, change, message):
    arrays = {name: value + 1 for name, value in weights.to_arrays(encoder).items()}
    change(arrays)
    before = state(encoder)
    with pytest.raises(ArtifactError, match=message):
        weights.load(encoder, arrays, where="file")
    assert all(torch.equal(before[name], value) for name, value in state(encoder).items())


def test_partial_weights_load_when_allowed(encoder):
    arrays = {name: value + 1 for name, value in weights.to_arrays(encoder).items()}
    arrays.pop("conv1.weight")
    before = state(encoder)
    match = weights.load(encoder, arrays, where="file", allow_partial=True)
    assert match.missing == ("conv1.weight",)
    after = state(encoder)
    assert torch.equal(before["net.conv1.weight"], after["net.conv1.weight"])
    assert torch.equal(before["net.bn1.weight"] + 1, after["net.bn1.weight"])


def test_weights_of_something_else_are_refused_even_then(encoder):
    with pytest.raises(ArtifactError, match="0 tensors match"):
        weights.load(encoder, {"a": np.zeros(2)}, where="file", allow_partial=True)
