"""What an encoder file provides: `Config` and `build`."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
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
        """Return Python that builds the same network without medssl.

        The first line is a call. Lines after it, if any, change the ``network`` it returned; they
        need `torch` and nothing else.
        """
        ...


class Stages(Encoder, Protocol):
    """What a convolutional encoder offers besides: its maps. SparK needs them."""

    layers: Mapping[str, int]  # the layers whose features can be read, and how many there are

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the maps of `layers`, (B, F, *spatial) each, of falling resolution."""
        ...

    def features_at(self, images: Tensor, layer: str) -> Tensor:
        """Return the features of images (B, C, *spatial) at one of `layers`: (B, layers[layer])."""
        ...


class Tokens(Encoder, Protocol):
    """What a transformer offers besides: its tokens. Masked autoencoders need them."""

    patch: tuple[int, ...]  # sides of a patch, px

    def grid(self, spatial: torch.Size) -> tuple[int, ...]:
        """Return the patches along each axis of an image."""
        ...

    def tokens(self, images: Tensor, keep: Tensor | None) -> Tensor:
        """Return one row per patch, (B, kept, F).

        Args:
            images: Shape (B, C, *spatial).
            keep: Which patches of each image are seen, (B, kept), int64; None: all of them.
        """
        ...


class EncoderModule(Protocol):
    """The file `models/encoders/<name>.py`."""

    Config: type[Any]  # a frozen dataclass of options

    def build(self, in_channels: int, spatial_dims: int, config: Any) -> Encoder:  # noqa: ANN401
        """Return the encoder with random weights."""
        ...
