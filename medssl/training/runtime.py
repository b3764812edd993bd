"""The one seam to Lightning Fabric: device, precision, backward."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from medssl.foundation.errors import ResourceError, UsageError

_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}


@dataclass(frozen=True)
class Runtime:
    """Where and how training runs."""

    fabric: Fabric

    @property
    def device(self) -> torch.device:
        """Device of the model and of the views."""
        return torch.device(self.fabric.device)

    def setup(self, module: nn.Module, optimizer: Optimizer) -> tuple[Any, Any]:
        """Return module and optimiser on the device, ready for `backward`."""
        wrapped, stepped = self.fabric.setup(_fast_layout(module), optimizer)
        return wrapped, stepped

    def setup_module(self, module: nn.Module) -> Any:  # noqa: ANN401 - a wrapped module
        """Return a module on the device for inference."""
        return self.fabric.setup_module(_fast_layout(module))

    def backward(self, loss: Tensor) -> None:
        """Compute gradients at the run's precision."""
        self.fabric.backward(loss)

    def clip(self, module: nn.Module, optimizer: Optimizer, norm: float) -> None:
        """Scale the gradients down to ``norm``, after undoing the loss scale of half precision.

        A norm that is not finite is left to the loss scale, or to the loss: asking here would wait
        for the device.
        """
        self.fabric.clip_gradients(module, optimizer, max_norm=norm, error_if_nonfinite=False)

    def facts(self) -> dict[str, str | int]:
        """Return what `env.json` records about the device."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return {"device": name, "threads": torch.get_num_threads()}


def gpu_wanted(device: str) -> bool:
    """Return whether ``device`` (auto, cpu, cuda, cuda:N) means a GPU on this machine.

    Raises:
        ResourceError: A GPU was asked for and there is none.
        UsageError: The device is not a known kind.
    """
    kind, _, number = device.partition(":")
    if kind not in {"auto", "cpu", "cuda"}:
        raise UsageError(f"no device called {device!r}", fix="choose auto, cpu, cuda or cuda:1")
    if number and (kind != "cuda" or not number.isdigit()):
        raise UsageError(f"no device called {device!r}", fix="choose auto, cpu, cuda or cuda:1")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ResourceError(
            "no CUDA device found", fix="run with --device cpu, or see `medssl doctor`"
        )
    return kind != "cpu" and torch.cuda.is_available()


def start(device: str, precision: str) -> Runtime:
    """Return a runtime on one device.

    Args:
        device: auto, cpu, cuda or cuda:N.
        precision: 32, bf16 or 16.

    Raises:
        ResourceError: A GPU was asked for and there is none.
        UsageError: The device cannot compute at this precision.
    """
    gpu = gpu_wanted(device)
    number = device.partition(":")[2]
    if precision == "16" and not gpu:
        raise UsageError("precision 16 needs a GPU", fix="choose 32 or bf16")
    if number and int(number) >= torch.cuda.device_count():
        raise ResourceError(f"there is no GPU number {number}", fix="see `medssl doctor`")
    fabric = Fabric(
        accelerator="cuda" if gpu else "cpu",
        devices=[int(number)] if gpu and number else 1,
        precision=_PRECISION[precision],
    )
    return Runtime(fabric)


def _fast_layout(module: nn.Module) -> nn.Module:
    """Store 2D convolutions channels-last: a quarter faster at 128 px, never slower."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
