"""A 2D residual network with the tensors of torchvision's, which is not needed to write them."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medssl.foundation.errors import UsageError
from medssl.models.resnet import ResNetEncoder
from medssl.models.weights import to_arrays

_BIAS = ".downsample.0.bias"
_MEAN = ".downsample.1.running_mean"
_BIASES = """
for part in list(network.modules()):
    if getattr(part, 'downsample', None) is not None:
        old = part.downsample[0]
        part.downsample[0] = torch.nn.Conv2d(
            old.in_channels, old.out_channels, kernel_size=1, stride=old.stride)
"""


def arrays(encoder: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of an encoder as torchvision's network of the same name has them.

    MONAI's shortcuts have a bias, torchvision's have none. A batch norm behind it takes its
    running mean off anyway, so the bias goes into that, and the features stay what they are.
    Before other norms it stays, and `how` makes room for it.

    Raises:
        UsageError: torchvision has no such network.
    """
    if not isinstance(encoder, ResNetEncoder) or "spatial_dims=2" not in encoder.constructor():
        raise UsageError(
            "torchvision has no such network, but 2D residual ones",
            where="format",
            fix="choose onnx or monai-bundle",
        )
    found = to_arrays(encoder)
    if _changes(encoder):
        return found
    for name in [name for name in found if name.endswith(_BIAS)]:
        mean = name.removesuffix(_BIAS) + _MEAN
        found[mean] = np.subtract(found[mean], found.pop(name))
    return found


def how(name: str, in_channels: int, encoder: nn.Module, file: str) -> tuple[str, ...]:
    """Return the lines that load them."""
    changes = _changes(encoder)
    more = (_BIASES + changes).strip().split("\n") if changes else []
    stem = f"torch.nn.Conv2d({in_channels}, 64, kernel_size=7, stride=2, padding=3, bias=False)"
    other = () if in_channels == 3 else (f"network.conv1 = {stem}",)
    return (
        "import safetensors.torch, torch, torchvision",
        f"network = torchvision.models.{name}()",
        *other,
        *more,
        "network.fc = torch.nn.Identity()",
        f"network.load_state_dict(safetensors.torch.load_file('{file}'))",
        "features = network.eval()(images)",
    )


def _changes(encoder: nn.Module) -> str:
    """Return the lines that change MONAI's network into the encoder; they fit torchvision's too."""
    constructor: str = encoder.constructor()  # type: ignore[operator]
    return constructor.partition("\n")[2].strip()
