"""All that changes while a model trains: one mutable object, just what a checkpoint holds."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


@dataclass
class TrainState:
    """A model in training."""

    module: nn.Module  # its forward returns a dict of losses with `total`
    optimizer: Optimizer
    scheduler: LRScheduler
    seed: int
    epoch: int = 0  # finished epochs
    step: int = 0  # finished optimiser steps

    def to_dict(self) -> dict[str, Any]:
        """Return tensors and plain values only."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
        }

    def load_dict(self, saved: dict[str, Any]) -> None:
        """Continue from what `to_dict` returned."""
        self.module.load_state_dict(saved["module"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.epoch = saved["epoch"]
        self.step = saved["step"]
