"""What paints hidden patches from an encoder's maps or tokens; dropped after pretraining."""

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medssl.models import vit

DecoderNorm = Literal["batch", "group"]  # group: an image's row does not depend on the others
_MOST_GROUPS = 8


class UNetDecoder(nn.Module):
    """The light decoder of SparK (arXiv:2301.03580 §3.2): up, two convolutions, half the width.

    Maps of the encoder, already projected to its widths, are added before each step. Upsampling
    repeats pixels, which fits any size and is the same on every run.

    Args:
        spatial_dims: 2 or 3.
        width: Channels at the lowest resolution, halved at each step.
        n_steps: Doublings of the resolution up to that of the image.
        out_channels: Channels of an image.
        norm: Of the convolutions.
    """

    def __init__(
        self, spatial_dims: int, width: int, n_steps: int, out_channels: int, norm: DecoderNorm
    ) -> None:
        super().__init__()
        self.widths = [max(1, width >> k) for k in range(n_steps + 1)]
        self.steps = nn.ModuleList(
            _two_convolutions(spatial_dims, self.widths[k], self.widths[k + 1], norm)
            for k in range(n_steps)
        )
        self.last = Conv[Conv.CONV, spatial_dims](self.widths[-1], out_channels, 1)

    def forward(self, maps: list[Tensor], sizes: list[tuple[int, ...]]) -> Tensor:
        """Return images (B, C, *spatial).

        Args:
            maps: Lowest resolution first; map k has ``widths[k]`` channels.
            sizes: Spatial size after each step; that after step k is the size of map k + 1.
        """
        x = maps[0]
        for k, (step, size) in enumerate(zip(self.steps, sizes, strict=True)):
            if 0 < k < len(maps):
                x = x + maps[k]
            x = step(F.interpolate(x, size=size, mode="nearest"))
        images: Tensor = self.last(x)
        return images


def feature_norm(spatial_dims: int, channels: int, norm: DecoderNorm) -> nn.Module:
    """Return batch norm, or group norm of at most 8 groups."""
    if norm == "group":
        return nn.GroupNorm(math.gcd(channels, _MOST_GROUPS), channels)
    layer: nn.Module = Norm[Norm.BATCH, spatial_dims](channels)
    return layer


def _two_convolutions(spatial_dims: int, n_in: int, n_out: int, norm: DecoderNorm) -> nn.Sequential:
    convolution = Conv[Conv.CONV, spatial_dims]
    return nn.Sequential(
        convolution(n_in, n_in, 3, padding=1, bias=False),
        feature_norm(spatial_dims, n_in, norm),
        nn.ReLU6(inplace=True),
        convolution(n_in, n_out, 3, padding=1, bias=False),
        feature_norm(spatial_dims, n_out, norm),
    )


class TokenDecoder(nn.Module):
    """The decoder of MAE (arXiv:2111.06377 §3): a few blocks over visible and mask tokens.

    Args:
        in_dim: Features of a token of the encoder.
        width: Of the decoder, a multiple of ``n_heads``.
        depth: Blocks.
        n_heads: Of the attention.
        out_dim: Values of a patch.
    """

    def __init__(self, in_dim: int, width: int, depth: int, n_heads: int, out_dim: int) -> None:
        super().__init__()
        self.enter = nn.Linear(in_dim, width)
        self.blocks = nn.ModuleList(vit.Block(width, n_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, out_dim)
        vit.draw_weights(self)
        self.mask_token = nn.Parameter(
            nn.init.normal_(self.enter.weight.new_empty(width), std=0.02)
        )

    def forward(self, seen: Tensor, order: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Return predictions for all patches, (B, N, P), row by row.

        Args:
            seen: Tokens of the visible patches, (B, kept, F).
            order: All patches of each image, (B, N), the visible ones first, in the order of
                ``seen``.
            grid: Patches along each spatial axis.
        """
        x = self.enter(seen)
        n, n_kept, width = x.shape
        unseen = self.mask_token.to(x.dtype).expand(n, order.shape[1] - n_kept, width)
        x = vit.pick(torch.cat([x, unseen], dim=1), order.argsort(dim=1))
        x = x + vit.position_codes(grid, width, x.device).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        predicted: Tensor = self.leave(self.norm(x))
        return predicted
