"""Masked autoencoder: a transformer sees a quarter and paints the rest (arXiv:2111.06377).

The encoder takes the visible patches only, which makes it fast; a small decoder predicts the
pixels of the others from them. The loss of an image does not depend on other images, so small
batches do. With few patches little is left to see: of 64 px, patches of 16 px are 16, and 4 are
kept.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator
from torch import Tensor, nn

from medssl.foundation.errors import UsageError
from medssl.methods import _painting
from medssl.models import decoders, patches
from medssl.models.encoders._contract import Tokens

ENCODER = "transformer"
VIEWS = {"scale": (0.5, 1.0), "contrast": 0.0, "gamma": 0.0, "noise": 0.0, "blur": 0.0}
"""Crops alone, as in the paper: noise is not to be painted."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The paper's, but for a decoder of half its size, enough for one site."""

    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    decoder_width: Annotated[int, Field(ge=8)] = 256
    decoder_depth: Annotated[int, Field(ge=1)] = 4
    decoder_heads: Annotated[int, Field(ge=1)] = 8
    skip_flat: bool = True  # no loss on hidden patches of nearly equal pixels

    @model_validator(mode="after")
    def _heads_fit(self) -> "Config":
        if self.decoder_width % self.decoder_heads:
            raise UsageError(
                f"decoder_width={self.decoder_width} cannot be shared by "
                f"{self.decoder_heads} heads",
                where="method_options",
                fix="make decoder_width a multiple of decoder_heads",
            )
        return self


class Method(_painting.Painting):
    """One view in, one loss out.

    Args:
        encoder: The network to train.
        config: How much is hidden, and the decoder.
    """

    def __init__(self, encoder: Tokens, config: Config) -> None:
        super().__init__(config)
        self.encoder = encoder
        self.config = config
        self.decoder = decoders.TokenDecoder(
            encoder.dim,
            config.decoder_width,
            config.decoder_depth,
            config.decoder_heads,
            out_dim=math.prod(encoder.patch) * _channels(encoder),
        )

    def predict(self, view: Tensor, seed: int | None = None) -> tuple[Tensor, Tensor, patches.Grid]:
        """Paint the patches that the encoder does not get, as `Painting.predict` says."""
        grid = self.encoder.grid(view.shape[2:])
        n_patches = math.prod(grid)
        n_kept = patches.n_visible(n_patches, self.config.mask_ratio)
        order = patches.random_order(len(view), n_patches, view.device, seed)
        seen = self.encoder.tokens(view, order[:, :n_kept])
        return self.decoder(seen, order, grid), patches.is_visible(order, n_kept), grid


def _channels(encoder: Tokens) -> int:
    assert isinstance(encoder, nn.Module)
    convolutions = (nn.Conv2d, nn.Conv3d)
    return next(m.in_channels for m in encoder.modules() if isinstance(m, convolutions))
