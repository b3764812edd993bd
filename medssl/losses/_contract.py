"""What a loss file provides: `TASKS`, its properties, `Config` and `loss`."""

from typing import Any, Protocol

from torch import Tensor

from medssl.config.task import Task


class LossModule(Protocol):
    """The file `losses/<name>.py`: how far predictions are from labels.

    A loss is a mean over images unless it says otherwise. Where the images of a batch are mixed,
    it is taken for the labels of both and averaged by their shares. A loss that compares images
    with each other has no such average: it sets ``MIXES`` to False, and is given batches with as
    many images of each class as there are.
    """

    TASKS: tuple[str, ...]  # kinds of `config.task.Task` it can judge
    MIXES: bool
    WEIGHTS: bool  # whether classes can weigh differently in it
    CALIBRATED: bool  # whether it is lowest at the true probabilities, or means of amounts
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
        """Return the loss, a scalar of at least 32 bits; nothing waits for the device.

        Args:
            logits: Shape (B, task.n_outputs), any floating type.
            target: Shape (B, T), float: 0 or 1, a class number or an amount; not-a-number where
                there is no label.
            features: Shape (B, F): what the head saw, for losses that compare images.
            task: What is predicted.
            weight: Shape (classes,) of the task's classes, mean 1 over the training images; two
                per target, (T, 2), in a `multi_label` task; None: all count the same, and always
                where ``WEIGHTS`` is False.
            config: The loss's options.
        """
        ...
