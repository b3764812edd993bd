"""What a loss file provides: `TASKS`, `Config` and `loss`."""

from typing import Any, Protocol

from torch import Tensor

from medssl.config.task import Task


class LossModule(Protocol):
    """The file `losses/<name>.py`: how far predictions are from labels.

    A loss is a mean over images unless it says otherwise. Where the images of a batch are mixed,
    it is taken for the labels of both and averaged by their shares; a loss that compares images
    with each other has no such average and sets ``MIXES`` to False.
    """

    TASKS: tuple[str, ...]  # kinds of `config.task.Task` it can judge
    MIXES: bool
    Config: type[Any]  # a frozen dataclass of options

    def loss(
        self,
        logits: Tensor,
        target: Tensor,
        features: Tensor,
        *,
        task: Task,
        weight: Tensor | None,
        config: Any,  # noqa: ANN401
    ) -> Tensor:
        """Return the loss, a scalar; nothing waits for the device.

        Args:
            logits: Shape (B, task.n_outputs).
            target: Shape (B, T), float: 0 or 1, a class number or an amount; not-a-number where
                there is no label.
            features: Shape (B, F): what the head saw, for losses that compare images.
            task: What is predicted.
            weight: Shape (classes,) of the task's classes, mean 1 over the training images; two
                per target, (T, 2), in a `multi_label` task; None: all count the same.
            config: The loss's options.
        """
        ...
