"""What a schedule file provides: `Config`, `trainable_groups` and `max_lr`."""

from collections.abc import Sequence
from typing import Any, Protocol


class ScheduleModule(Protocol):
    """The file `freezing/<name>.py`: which layer groups train in which epoch, and how fast."""

    Config: type[Any]  # a frozen dataclass of options
    # PROBE_SHARE: float, optional: epochs of a linear probe before the schedule begins, as a share
    # of its epochs, unless the user says how many.

    def trainable_groups(
        self,
        epoch: int,
        epochs: int,
        groups: Sequence[str],
        config: Any,  # noqa: ANN401
    ) -> list[str]:
        """Return the names of the groups that train in ``epoch``.

        ``group.norms`` stands for the scales and shifts of the norms of a group alone.

        Args:
            epoch: From 0.
            epochs: Length of the run.
            groups: All group names, head first, stem last.
            config: The schedule's options.
        """
        ...

    def max_lr(self, group: str, groups: Sequence[str], config: Any) -> float:  # noqa: ANN401
        """Return the highest learning rate of a group; 0 if it never trains."""
        ...
