"""SparK: hide most of an image and let a convolutional network paint it (arXiv:2301.03580).

The encoder computes with the visible patches only, as sparse convolutions would: no hidden pixel
reaches it, and norms count what is seen. A light decoder paints the rest from its four maps. The
loss of an image does not depend on other images, so small batches do. Patches are as large as a
position of the lowest map, 32 px of a ResNet; a view needs a few of them along each side.
"""

import copy
import math
from dataclasses import dataclass
from typing import Annotated

import torch
from monai.networks.layers.factories import Conv
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from medssl.foundation.errors import UsageError
from medssl.methods import _painting
from medssl.models import decoders, patches, sparse
from medssl.models.encoders._contract import Encoder, Stages

ENCODER = "convolutional"
VIEWS = {"scale": (0.67, 1.0), "contrast": 0.0, "gamma": 0.0, "noise": 0.0, "blur": 0.0}
"""Crops alone, as in the paper: noise is not to be painted."""
_PROBE = 256  # px, a side that every stride divides
Sizes = list[tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """The paper's, but for a decoder of 256 instead of 768 channels, enough for one site.

    With the group norm neither loss nor gradients depend on how images are spread over processes,
    if that is true of the encoder.
    """

    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6
    decoder_width: Annotated[int, Field(ge=32, multiple_of=32)] = 256
    decoder_norm: decoders.DecoderNorm = "batch"
    skip_flat: bool = True  # no loss on hidden patches of nearly equal pixels


class Method(_painting.Painting):
    """One view in, one loss out.

    Args:
        encoder: The network to train.
        config: How much is hidden, and the decoder.
    """

    def __init__(self, encoder: Stages, config: Config) -> None:
        super().__init__(config)
        self.encoder = encoder
        self.config = config
        first = next(m for m in _module(encoder).modules() if isinstance(m, _ConvNd))
        self._dims, self._channels = len(first.kernel_size), first.in_channels
        maps = _probe(encoder, self._dims, self._channels)[::-1]  # lowest resolution first
        self._stride = tuple(_PROBE // side for side in maps[0].shape[2:])
        n_steps = round(math.log2(max(self._stride)))
        self.decoder = decoders.UNetDecoder(
            self._dims, config.decoder_width, n_steps, self._channels, config.decoder_norm
        )
        n_features = [m.shape[1] for m in maps]
        self.norms = nn.ModuleList(
            decoders.feature_norm(self._dims, n, config.decoder_norm) for n in n_features
        )
        self.mask_tokens = nn.ParameterList(
            nn.init.trunc_normal_(torch.empty(1, n, *(1,) * self._dims), std=0.02)
            for n in n_features
        )
        self.projections = nn.ModuleList(
            Conv[Conv.CONV, self._dims](n, width, 3 if k else 1, padding=1 if k else 0)
            for k, (n, width) in enumerate(zip(n_features, self.decoder.widths, strict=False))
        )

    def predict(self, view: Tensor, seed: int | None = None) -> tuple[Tensor, Tensor, patches.Grid]:
        """Paint a view from its visible patches, as `Painting.predict` says."""
        grid = self.grid(view.shape[2:])
        visible = self._draw(view, grid, seed)
        return patches.split(self._paint(view, visible, grid), grid), visible, grid

    def grid(self, spatial: torch.Size) -> tuple[int, ...]:
        """Return the patches along each axis; a side below the stride (few slices) is one.

        Raises:
            UsageError: A longer side is no multiple of the stride.
        """
        for axis, (size, stride) in enumerate(zip(spatial, self._stride, strict=True)):
            if size > stride and size % stride:
                below = size // stride * stride
                raise UsageError(
                    f"a side of {size} px is no multiple of the encoder's stride of {stride} px",
                    where=patches.setting(axis, len(spatial)),
                    fix=f"use {below} or {below + stride}",
                )
        return tuple(max(1, n // stride) for n, stride in zip(spatial, self._stride, strict=True))

    def _draw(self, view: Tensor, grid: tuple[int, ...], seed: int | None = None) -> Tensor:
        """Return which patches of each image are visible, (B, N) bool."""
        n_patches = math.prod(grid)
        n_kept = patches.n_visible(n_patches, self.config.mask_ratio)
        order = patches.random_order(len(view), n_patches, view.device, seed)
        return patches.is_visible(order, n_kept)

    def _paint(self, view: Tensor, visible: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Return images (B, C, *spatial) made of what is visible, (B, N) bool."""
        mask = sparse.Mask(visible.reshape(len(visible), *grid))
        with sparse.visible_only(_module(self.encoder), mask):
            maps = self.encoder.stages(mask.hide(view))[::-1]
        with sparse.visible_only(self.norms, mask):
            normed = [norm(one) for norm, one in zip(self.norms, maps, strict=True)]
        filled = [
            projection(torch.where(mask.at(one.shape[2:]), one, token.to(one.dtype)))
            for projection, one, token in zip(
                self.projections, normed, self.mask_tokens, strict=True
            )
        ]
        sizes: Sizes = [tuple(one.shape[2:]) for one in maps[1:]]
        for k in reversed(range(len(self.decoder.steps) - len(sizes))):
            strides = (min(2**k, stride) for stride in self._stride)
            sizes.append(tuple(-(-n // s) for n, s in zip(view.shape[2:], strides, strict=True)))
        painted: Tensor = self.decoder(filled, sizes)
        return painted


def _module(encoder: Encoder) -> nn.Module:
    assert isinstance(encoder, nn.Module)
    return encoder


def _probe(encoder: Stages, dims: int, channels: int) -> list[Tensor]:
    """Return maps without values of an image of `_PROBE` px; the encoder is left alone."""
    twin = copy.deepcopy(_module(encoder)).to("meta").eval()
    with torch.no_grad():
        maps: list[Tensor] = twin.stages(  # type: ignore[operator]
            torch.empty(1, channels, *(_PROBE,) * dims, device="meta")
        )
    return maps
