"""A dense network that sees only visible positions (SparK, Tian et al., arXiv:2301.03580 §3.1).

A convolution spreads what it sees: after a few of them hidden positions are no longer zero, and
the statistics of a norm count the zeros in between. So within `visible_only` the output of each
convolution, pooling, norm and block is set to zero at hidden positions, and norms take their
statistics over visible ones. The network itself stays as it is.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, instancenorm, pooling

from medssl.models import norms

_NORMS = (
    batchnorm._BatchNorm,
    nn.GroupNorm,
    instancenorm._InstanceNorm,
    norms.EstimatedBatchNorm,
)
_LOCAL = (conv._ConvNd, pooling._MaxPoolNd, pooling._AvgPoolNd)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
Forward = Callable[..., Any]


class Mask:
    """Which positions are visible, at any resolution.

    Args:
        visible: Shape (B, *grid), bool, at the lowest resolution.
    """

    def __init__(self, visible: Tensor) -> None:
        self.coarsest = visible[:, None]
        self._at: dict[torch.Size, Tensor] = {}

    def at(self, spatial: torch.Size) -> Tensor:
        """Return the mask (B, 1, *spatial); each side is a multiple of the grid's."""
        if spatial not in self._at:
            mask = self.coarsest
            for axis, size in enumerate(spatial, start=2):
                times, rest = divmod(size, mask.shape[axis])
                assert rest == 0, f"a mask of {tuple(self.coarsest.shape)} on a map of {spatial}"
                mask = mask.repeat_interleave(times, dim=axis)
            self._at[spatial] = mask
        return self._at[spatial]

    def hide(self, values: Tensor) -> Tensor:
        """Return maps or images (B, C, *spatial), zero at hidden positions."""
        return values.masked_fill(~self.at(values.shape[2:]), 0)


@contextlib.contextmanager
def visible_only(network: nn.Module, mask: Mask) -> Iterator[None]:
    """Let a network compute with visible positions only; its input is the caller's to `hide`.

    Nested contexts around one network do not add up: the innermost holds. Batch norm in
    evaluation mode uses its running statistics as always; in training mode those of the visible
    positions of this process, with which it also updates the running ones. Global pooling is left
    alone: it would count hidden positions.

    Args:
        network: Any network of convolutions, pooling, batch, group or instance norms.
        mask: For batches of its number of images.
    """
    before: list[tuple[nn.Module, Forward | None]] = []
    try:
        for module in network.modules():
            if module is not network or not list(module.children()):
                forward = _masked(module, mask)
                if forward is not None:
                    before.append((module, module.__dict__.get("forward")))
                    module.__dict__["forward"] = forward
        yield
    finally:
        for module, earlier in before:
            del module.__dict__["forward"]
            if earlier is not None:
                module.__dict__["forward"] = earlier


def _masked(module: nn.Module, mask: Mask) -> Forward | None:
    """Return what a module does instead, or None where it need not do anything else."""
    plain: Forward = getattr(module.forward, "plain", module.forward)

    def norm(maps: Tensor) -> Tensor:
        return _norm(module, plain, maps, mask)

    def hide(*inputs: Any, **more: Any) -> Any:  # noqa: ANN401
        found = plain(*inputs, **more)
        is_map = isinstance(found, Tensor) and found.ndim == mask.coarsest.ndim
        return mask.hide(found) if is_map else found

    masked: Any
    is_block = bool(list(module.children())) and not isinstance(module, _CONTAINERS)
    if isinstance(module, _NORMS):
        masked = norm
    elif isinstance(module, _LOCAL) or is_block:
        masked = hide
    else:
        return None
    masked.plain = plain
    return cast(Forward, masked)


def _norm(norm: Any, plain: Forward, maps: Tensor, mask: Mask) -> Tensor:  # noqa: ANN401
    """Return a norm's output with the statistics of visible positions, zero at hidden ones."""
    visible = mask.at(maps.shape[2:])
    if isinstance(norm, nn.GroupNorm):
        n_groups = norm.num_groups
    elif norm.running_mean is not None and not norm.training:
        return mask.hide(plain(maps))
    else:
        n_groups = maps.shape[1] if isinstance(norm, instancenorm._InstanceNorm) else 0
    values = maps.to(torch.promote_types(maps.dtype, torch.float32))
    if n_groups:
        normed = _per_image(values, visible, n_groups, norm.eps)
    elif isinstance(norm, norms.EstimatedBatchNorm):
        normed = _by_estimates(values, visible, norm)
    else:
        normed = _per_batch(values, visible, norm)
    if norm.weight is not None:
        each = (1, -1, *(1,) * (maps.ndim - 2))
        normed = normed * norm.weight.view(each) + norm.bias.view(each)
    hidden: Tensor = mask.hide(normed).to(maps.dtype)
    return hidden


def _per_image(values: Tensor, visible: Tensor, n_groups: int, eps: float) -> Tensor:
    """Return maps (B, C, *spatial) standardised over the visible part of each group."""
    n, channels = values.shape[:2]
    grouped = values.reshape(n, n_groups, channels // n_groups, *values.shape[2:])
    seen = visible[:, None]  # (B, 1, 1, *spatial)
    axes = tuple(range(2, grouped.ndim))
    count = (seen.sum(dim=axes, keepdim=True) * grouped.shape[2]).clamp_min(1)
    centred, variance = _moments(grouped, seen, axes, count)[1:]
    return (centred * (variance + eps).rsqrt()).reshape(values.shape)


def _per_batch(values: Tensor, visible: Tensor, norm: Any) -> Tensor:  # noqa: ANN401
    """Return maps standardised over all visible positions, and update the running statistics."""
    axes = (0, *range(2, values.ndim))
    count = visible.sum().clamp_min(1)
    mean, centred, variance = _moments(values, visible, axes, count)
    if norm.training and norm.running_mean is not None:
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            share = norm.momentum
            if share is None:  # a plain average over all steps
                share = norm.num_batches_tracked.to(norm.running_mean.dtype).reciprocal()
            unbiased = variance * (count / (count - 1).clamp_min(1))
            for kept, found in ((norm.running_mean, mean), (norm.running_var, unbiased)):
                kept.lerp_(found.flatten().to(kept.dtype), share)
    standard: Tensor = centred * (variance + norm.eps).rsqrt()
    return standard


def _by_estimates(values: Tensor, visible: Tensor, norm: norms.EstimatedBatchNorm) -> Tensor:
    """Return maps standardised by the running statistics, which take in the visible positions."""
    axes = (0, *range(2, values.ndim))
    with torch.no_grad():
        mean, _, variance = _moments(values, visible, axes, visible.sum().clamp_min(1))
        norm.num_batches_tracked.add_(1)
        for kept, found in ((norm.running_mean, mean), (norm.running_var, variance)):
            kept.lerp_(found.flatten().to(kept.dtype), norm.momentum)
    # copies: the next batch changes the buffers before this one is differentiated
    shift = norm.running_mean.clone().view_as(mean)
    return (values - shift) * (norm.running_var.clone().view_as(mean) + norms.EPS).rsqrt()


def _moments(
    values: Tensor, visible: Tensor, axes: tuple[int, ...], count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, values less their mean (0 where hidden) and variance of visible values."""
    mean = values.masked_fill(~visible, 0).sum(dim=axes, keepdim=True) / count
    centred = (values - mean).masked_fill(~visible, 0)
    return mean, centred, centred.square().sum(dim=axes, keepdim=True) / count
