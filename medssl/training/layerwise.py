"""What optimisers share that give every layer a length of step of its own."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Layerwise(Optimizer):
    """Moves the parameters of a group together; an optimiser adds `_move`."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401
        """Move every parameter that has a gradient; nothing waits for the device."""
        loss = closure() if closure else None
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                self._move(moved, group)
        return loss

    @abstractmethod
    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Move the parameters of a group that have a gradient."""

    def _remembered(self, weights: list[Tensor], name: str) -> list[Tensor]:
        """Return what is remembered of each parameter under a name, at first zeros."""
        for weight in weights:
            if name not in self.state[weight]:
                self.state[weight][name] = torch.zeros_like(weight)
        return [self.state[weight][name] for weight in weights]
