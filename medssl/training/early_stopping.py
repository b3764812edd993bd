"""When to stop learning: where the loss of patients set apart no longer falls."""

from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass
class Watch:
    """Keeps the weights of the best epoch so far.

    Args:
        patience: Epochs without a lower loss after which training ends; None: it runs to the end,
            and its last weights are kept.
    """

    patience: int | None
    best: float = float("inf")
    kept_epoch: int = 0
    _since: int = 0
    _weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether the loss has not fallen for long enough."""
        return self.patience is not None and self._since >= self.patience

    def wants(self, is_schedule: bool) -> bool:  # noqa: FBT001 - one fact
        """Return whether the loss after this epoch matters: not in a probe before the schedule."""
        return self.patience is not None and is_schedule

    def saw(self, loss: float, model: nn.Module, epoch: int) -> None:
        """Take note of the loss after an epoch, counted from 1; not-a-number is no improvement."""
        self._since += 1
        if loss < self.best:
            self.best, self.kept_epoch, self._since = loss, epoch, 0
            self._weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def restore(self, model: nn.Module, epoch: int) -> None:
        """Put the weights of the best epoch back; without patience those of the last stay."""
        if self._weights:
            model.load_state_dict(self._weights)
        else:
            self.kept_epoch = epoch
