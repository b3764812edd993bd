"""All that changes while a model trains: one mutable object, just what a checkpoint holds."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer


class Scheduler(Protocol):
    """Moves the learning rates of an optimiser, and what else moves with the steps."""

    def step(self) -> None:
        """Move on by one step."""
        ...

    def get_last_lr(self) -> list[Any]:
        """Return the learning rates now, of every parameter group."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return plain values."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        ...


class Precision(Protocol):
    """Keeps what half precision adapts as it goes: the scale of the loss."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values, none where nothing is adapted."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        ...


@dataclass
class TrainState:
    """A model in training."""

    module: nn.Module  # its forward returns a dict of losses with `total`
    optimizer: Optimizer
    scheduler: Scheduler
    seed: int
    epoch: int = 0  # finished epochs
    step: int = 0  # finished optimiser steps
    pieces: int = 1  # that a step is embedded in
    precision: Precision | None = None  # of the runtime
    unlogged: dict[str, Tensor] = field(default_factory=dict)  # sums of losses since the last line
    n_unlogged: int = 0  # steps they are of

    def to_dict(self) -> dict[str, Any]:
        """Return tensors and plain values only."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "pieces": self.pieces,
            "precision": self.precision.state_dict() if self.precision else {},
            "unlogged": {name: value.cpu() for name, value in self.unlogged.items()},
            "n_unlogged": self.n_unlogged,
        }

    def load_dict(self, saved: dict[str, Any]) -> None:
        """Continue from what `to_dict` returned."""
        self.module.load_state_dict(saved["module"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.epoch = saved["epoch"]
        self.step = saved["step"]
        self.pieces = saved["pieces"]
        scale = saved.get("precision")  # absent before it was kept, empty but in half precision
        if self.precision is not None and scale:
            self.precision.load_state_dict(scale)
        device = next(self.module.parameters()).device
        self.unlogged = {name: value.to(device) for name, value in saved["unlogged"].items()}
        self.n_unlogged = saved["n_unlogged"]
