"""What a method file provides: `Config` and `Method`."""

from typing import Any, Literal, Protocol

from torch import Tensor

from medssl.models.encoders._contract import Encoder


class Method(Protocol):
    """A torch module that turns views into a loss, in two halves.

    `embed` looks at every image by itself; `loss` compares images. Between the two the rows of all
    processes are put together, so a method knows nothing of them, and a batch that does not fit
    the memory is embedded in pieces and compared as one.
    """

    n_views: int  # full views of each image it wants, at least 1
    n_local_views: int  # and smaller ones, 0 for most methods
    encoder: Encoder  # what is exported; everything else is dropped

    def embed(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return all that the loss needs, one row per image.

        Args:
            views: ``n_views`` tensors (B, C, *spatial), then ``n_local_views`` smaller ones;
                row i of each shows image i.

        Returns:
            Tensors (B, ...) under names of the method's own. Row i comes from image i alone, but
            for what norms take from a batch. Randomness comes from torch's generator.
        """
        ...

    def loss(self, embedded: dict[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
        """Return the loss under ``total`` and its parts under names of their own.

        Args:
            embedded: What `embed` returned, of all images of a step: B >= 2 rows.
            patients: Shape (B,), int64. Images with equal numbers show one patient.

        Returns:
            Scalars; only ``total`` is differentiated, all are logged. In training mode buffers
            (a queue, a running mean) may change here, and only here. A method that compares with
            earlier images returns ``queue_filled`` too, the share of them that is there: until it
            is 1, the loss of held-out images is not reported.
        """
        ...

    def before_step(self, progress: float) -> None:
        """Move what no gradient moves: a momentum encoder, a schedule of the method's own.

        Called once before every training step, never while the loss is only measured. Tensors are
        changed in place and nothing waits for the device.

        Args:
            progress: Share of the run's steps that are done, from 0 to below 1.
        """
        ...


class MethodModule(Protocol):
    """The file `methods/<name>.py`. Line 1 of its docstring names the paper.

    Two things a file may have besides: ``capped(config, n_images, batch)`` returns the options
    fitted to an archive, and ``VIEWS`` holds settings of views the method is better off with, for
    those the user says nothing about. A method that paints what it hid has `reconstruct`.
    """

    ENCODER: Literal["any", "convolutional", "transformer"]  # the kind it can train
    Config: type[Any]  # a frozen dataclass of options

    def Method(self, encoder: Encoder, config: Any) -> Method:  # noqa: ANN401, N802 - a class
        """Return the method around an encoder."""
        ...
