"""What a method file provides: `Config` and `Method`."""

from typing import Any, Protocol

from torch import Tensor

from medssl.models.encoders._contract import Encoder


class Method(Protocol):
    """A torch module: views in, losses out. One training step is one call of `forward`."""

    n_views: int  # views of each image it wants, at least 1
    encoder: Encoder  # what is exported; everything else is dropped

    def forward(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return the loss under ``total`` and its parts under names of their own.

        Args:
            views: ``n_views`` tensors (B, C, *spatial), B >= 2; row i of each shows image i.

        Returns:
            Scalars; only ``total`` is differentiated, all are logged.
        """
        ...


class MethodModule(Protocol):
    """The file `methods/<name>.py`. Line 1 of its docstring names the paper."""

    Config: type[Any]  # a frozen dataclass of options

    def Method(self, encoder: Encoder, config: Any) -> Method:  # noqa: ANN401, N802 - a class
        """Return the method around an encoder."""
        ...
