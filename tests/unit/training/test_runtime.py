"""The seam to Fabric: devices by name, precision, and what is refused."""

import pytest
import torch

from medssl.foundation.errors import ResourceError, UsageError
from medssl.training import runtime


def test_cpu_can_always_be_had():
    started = runtime.start("cpu", "32")
    assert started.device == torch.device("cpu")
    assert started.facts()["device"] == "cpu"
    assert not runtime.gpu_wanted("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there_is_a_resource_error():
    assert not runtime.gpu_wanted("auto")
    with pytest.raises(ResourceError, match="no CUDA device found"):
        runtime.start("cuda", "32")


@pytest.mark.parametrize("device", ["tpu", "cpu:banana", "cuda:x", "cpu:0", ""])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(UsageError, match=f"no device called '{device}'"):
        runtime.gpu_wanted(device)


def test_half_precision_without_a_gpu_is_refused():
    with pytest.raises(UsageError, match="precision 16 needs a GPU"):
        runtime.start("cpu", "16")


def test_bf16_computes_in_bf16_and_keeps_weights_in_fp32():
    started = runtime.start("cpu", "bf16")
    layer = torch.nn.Linear(4, 4)
    wrapped, _ = started.setup(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    seen = []
    layer.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    started.backward(wrapped(torch.ones(2, 4)).float().sum())
    assert seen == [torch.bfloat16]
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32


def test_clipping_leaves_gradients_that_are_not_finite_to_the_loss():
    """In half precision the first steps overflow as a rule, and are skipped."""
    started = runtime.start("cpu", "32")
    layer = torch.nn.Linear(2, 1, bias=False)
    wrapped, optimizer = started.setup(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    started.backward(wrapped(torch.full((1, 2), 1e30)).square().sum())
    started.clip(wrapped, optimizer, 1.0)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    started.clip(wrapped, optimizer, 1.0)
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.6, 0.8]]))
