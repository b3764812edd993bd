"""What an encoder file provides: `Config` and `build`."""

from typing import Any, Protocol

from torch import Tensor, nn


class Encoder(Protocol):
    """Images in, one feature vector each out; its layers have names, input side first."""

    dim: int  # F

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, F) of images (B, C, *spatial)."""
        ...

    def groups(self) -> dict[str, list[nn.Module]]:
        """Return the named layer groups, from the stem to the last layer.

        Together they hold every parameter and buffer of the encoder, each exactly once.
        """
        ...

    def constructor(self) -> str:
        """Return the call that builds the same network without medssl."""
        ...


class EncoderModule(Protocol):
    """The file `models/encoders/<name>.py`."""

    Config: type[Any]  # a frozen dataclass of options

    def build(self, in_channels: int, spatial_dims: int, config: Any) -> Encoder:  # noqa: ANN401
        """Return the encoder with random weights."""
        ...
