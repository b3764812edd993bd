"""LARS: a learning rate for every layer (You et al., arXiv:1708.03888)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from medssl.training.layerwise import Layerwise


class LARS(Layerwise):
    """Gradient descent with momentum whose steps are as long as a layer's weights allow.

    The step of a layer with weights w and gradient g is scaled by
    trust · |w| / (|g| + weight_decay · |w|); where either norm is 0 it is left as it is. Without
    the scale it is `torch.optim.SGD`, whose momentum does not hold the learning rate.

    Args:
        params: Parameters or groups of them. A group with ``adapted`` False is not scaled: biases
            and norms, whose weights are near 0.
        lr: Learning rate.
        momentum: Share of the step before.
        weight_decay: Added to the gradient as weight_decay · w.
        trust: How far a step may carry a layer, as a share of its norm.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust": trust,
                "adapted": True,
            },
        )

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [w.grad for w in weights if w.grad is not None]
        directions = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        if group["adapted"]:
            torch._foreach_mul_(directions, _trusted(weights, gradients, group))
        momenta = self._remembered(weights, "momentum")
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, directions)
        torch._foreach_add_(weights, momenta, alpha=-group["lr"])


def _trusted(weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """Return the share of its gradient each layer moves by, scalars."""
    shares = []
    lengths = torch._foreach_norm(weights)
    for length, steepness in zip(lengths, torch._foreach_norm(gradients), strict=True):
        share = group["trust"] * length / (steepness + group["weight_decay"] * length)
        shares.append(torch.where((length > 0) & (steepness > 0), share, 1.0))
    return shares
