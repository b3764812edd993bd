"""LAMB: Adam's direction, as long as a layer's weights allow (You et al., arXiv:1904.00962)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from medssl.training.layerwise import Layerwise


class LAMB(Layerwise):
    """Algorithm 2 of the paper, with bias correction and without bounds on the norm of a layer.

    The step of a layer with weights w is scaled by |w| / |u|, where u is Adam's step plus
    weight_decay · w; where either norm is 0 it is left as it is. Without the scale it is
    `torch.optim.AdamW`.

    Args:
        params: Parameters or groups of them. A group with ``adapted`` False is not scaled: biases
            and norms, whose weights are near 0.
        lr: Learning rate.
        betas: How slowly the means of the gradient and of its square move.
        eps: Added to the root of the mean square.
        weight_decay: Added to the step as weight_decay · w.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "adapted": True,
                "steps": 0,
            },
        )

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        group["steps"] += 1
        gradients = [w.grad for w in weights if w.grad is not None]
        moments = (self._remembered(weights, "mean"), self._remembered(weights, "square"))
        updates = self._adam(gradients, moments, group)
        torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
        if group["adapted"]:
            torch._foreach_mul_(updates, _trusted(weights, updates))
        torch._foreach_add_(weights, updates, alpha=-group["lr"])

    @staticmethod
    def _adam(
        gradients: list[Tensor],
        moments: tuple[list[Tensor], list[Tensor]],
        group: dict[str, Any],
    ) -> list[Tensor]:
        """Return Adam's steps at a rate of 1."""
        means, squares = moments
        first, second = group["betas"]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, (1 - second ** group["steps"]) ** 0.5)
        torch._foreach_add_(roots, group["eps"])
        updates: list[Tensor] = list(torch._foreach_div(means, roots))
        torch._foreach_div_(updates, 1 - first ** group["steps"])
        return updates


def _trusted(weights: list[Tensor], updates: list[Tensor]) -> list[Tensor]:
    """Return what makes each update as long as its weights, scalars."""
    scales = []
    for length, step in zip(
        torch._foreach_norm(weights), torch._foreach_norm(updates), strict=True
    ):
        scales.append(torch.where((length > 0) & (step > 0), length / step, 1.0))
    return scales
