"""Norms for small batches: group norm, batch-channel norm and standardised weights.

Batch-channel normalisation (Qiao et al., arXiv:1903.10520) is batch norm with estimated statistics
followed by a norm over groups of channels. Filters that are standardised keep channels from dying.
"""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor, nn

Norm = Literal["batch", "group", "bcn"]
EPS = 1e-5
MOST_GROUPS = 32
_BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_GROUP_TEXT = "torch.nn.GroupNorm(32, part.num_features)"
_NEW_NORM = {
    "group": _GROUP_TEXT,
    "bcn": f"torch.nn.Sequential(type(part)(part.num_features), {_GROUP_TEXT})",
}
_NORM_LINES = """
for name, part in list(network.named_modules()):
    if isinstance(part, torch.nn.BatchNorm{dims}d):
        network.set_submodule(name, {new})
"""
_WEIGHT_LINES = """
class StandardisedConv(torch.nn.Conv{dims}d):
    def forward(self, x):
        axes = tuple(range(1, self.weight.ndim))
        variance, mean = torch.var_mean(self.weight, axes, correction=0, keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / (variance + 1e-5).sqrt(), self.bias)
for part in network.modules():
    if isinstance(part, torch.nn.Conv{dims}d):
        part.__class__ = StandardisedConv
"""


class EstimatedBatchNorm(nn.Module):
    """Batch norm by running statistics, in training too (algorithm 1 of arXiv:1903.10520).

    The estimates take in the batch first; no gradient goes through them. In evaluation it is the
    batch norm with the same tensors.

    Args:
        num_features: Channels.
        momentum: Share of a batch in the estimates.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.num_features = num_features
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (B, C, *spatial) with every channel normalised by its estimates."""
        if self.training:
            self._estimate(x.detach())
        # Copies: the next batch changes the buffers before this one is differentiated.
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        return F.batch_norm(x, mean, variance, self.weight, self.bias, training=False, eps=EPS)

    def _estimate(self, x: Tensor) -> None:
        axes = (0, *range(2, x.ndim))
        variance, mean = torch.var_mean(x.float(), axes, correction=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
            self.num_batches_tracked.add_(1)


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters have mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps of ``x`` (B, C, H, W)."""
        maps: Tensor = self._conv_forward(x, standardised(self.weight), self.bias)
        return maps


class StandardisedConv3d(nn.Conv3d):
    """A convolution whose filters have mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps of ``x`` (B, C, D, H, W)."""
        maps: Tensor = self._conv_forward(x, standardised(self.weight), self.bias)
        return maps


_STANDARDISED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: StandardisedConv2d,
    nn.Conv3d: StandardisedConv3d,
}


def standardised(weight: Tensor) -> Tensor:
    """Return filters (O, I, *kernel) with mean 0 and variance 1 each."""
    axes = tuple(range(1, weight.ndim))
    variance, mean = torch.var_mean(weight, axes, correction=0, keepdim=True)
    return (weight - mean) / (variance + EPS).sqrt()


def n_groups(channels: int) -> int:
    """Return the largest number of groups up to 32 that divides ``channels``."""
    return max(n for n in range(1, MOST_GROUPS + 1) if channels % n == 0)


def exchange(network: nn.Module, norm: Norm) -> None:
    """Put ``norm`` in the place of every batch norm.

    MONAI's own argument reaches the stem only.
    """
    if norm == "batch":
        return
    for name, part in list(network.named_modules()):
        if isinstance(part, _BATCH_NORMS):
            channels = part.num_features
            new: nn.Module = nn.GroupNorm(n_groups(channels), channels)
            if norm == "bcn":
                new = nn.Sequential(EstimatedBatchNorm(channels), new)
            network.set_submodule(name, new)


def standardise(network: nn.Module) -> None:
    """Standardise the filters of every convolution; the weights themselves stay as they are."""
    for part in network.modules():
        if type(part) in _STANDARDISED:
            part.__class__ = _STANDARDISED[type(part)]


def lines(norm: Norm, *, weight_standardisation: bool, spatial_dims: int) -> str:
    """Return Python that does the same to a ``network`` without medssl, for evaluation."""
    text = ""
    if norm != "batch":
        text += _NORM_LINES.format(dims=spatial_dims, new=_NEW_NORM[norm])
    if weight_standardisation:
        text += _WEIGHT_LINES.format(dims=spatial_dims)
    return text
