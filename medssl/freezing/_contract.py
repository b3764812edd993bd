"""What a schedule file provides: `Config`, `trainable_groups` and `max_lr`."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class ScheduleModule(Protocol):
    """The file `freezing/<name>.py`: which layer groups train in which epoch, and how fast.

    Three more names are optional:

    - ``PROBE_SHARE: float``: epochs of a linear probe before the schedule begins, as a share of its
      epochs, unless the user says how many.
    - ``PROBE_LR: float``: learning rate of that probe, unless the user gives one.
    - ``factors``: see `Measuring`.
    """

    Config: type[Any]  # a frozen dataclass of options

    def trainable_groups(
        self,
        epoch: int,
        epochs: int,
        groups: Sequence[str],
        config: Any,  # noqa: ANN401
    ) -> list[str]:
        """Return the names of the groups that train in ``epoch``.

        ``group.norms`` stands for the scales and shifts of the norms of a group alone; their
        running statistics stay.

        Args:
            epoch: From 0.
            epochs: Length of the run.
            groups: All group names, head first, stem last.
            config: The schedule's options.

        Raises:
            UsageError: An option does not fit these groups.
        """
        ...

    def max_lr(self, group: str, groups: Sequence[str], config: Any) -> float:  # noqa: ANN401
        """Return the highest learning rate of a group; 0 if it never trains."""
        ...


class Measuring(ScheduleModule, Protocol):
    """A schedule whose rates follow from gradients measured while it trains."""

    def factors(self, relative: Mapping[str, float], config: Any) -> dict[str, float]:  # noqa: ANN401
        """Return what the rate of each layer group is multiplied by for an epoch, 0 to 1.

        Asked before the first step of every epoch.

        Args:
            relative: Norm of the gradient of each group that trains, on one batch, over the norm
                of its weights; the head first.
            config: The schedule's options.
        """
        ...
