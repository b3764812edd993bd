"""Vision transformers as encoders (Dosovitskiy et al., arXiv:2010.11929).

The weights have the names and shapes of MONAI's `ViT` and load into it. The network is built here,
as MONAI's needs another library for rearranging, fixes the size of the images and cannot leave
patches out. Positions are sines and cosines of a patch's place in the grid, as in MAE
(arXiv:2111.06377), computed for the image at hand: any side that is a multiple of the patch works,
and nothing is learnt.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from monai.networks.blocks import MLPBlock
from monai.networks.layers.factories import Conv
from pydantic import Field
from torch import Tensor, nn

from medssl.foundation.errors import UsageError
from medssl.models import patches

_SLOWEST = 10_000.0  # of the sines, in radians per patch: 1 / this
_N_LAYERS = 4  # groups of blocks, as many as a residual network has
_AtLeast1 = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Smaller patches see more and take more time; a side of a view is a multiple of them."""

    patch_size: _AtLeast1 | None = None  # px; None: 16 in 2D, 8 in 3D
    patch_depth: _AtLeast1 | None = None  # 3D: slices of a patch; None: as many as patch_size
    depth: _AtLeast1 = 12  # blocks
    image_size: _AtLeast1 | None = None  # px, of the images the export is built for


class ViTEncoder(nn.Module):
    """Blocks without a class token; features are the mean of all tokens after the last norm.

    Args:
        in_channels: Channels of an image.
        patch: Sides of a patch, px (3D: slices first); as many as spatial dimensions.
        dim: Width, a multiple of ``n_heads``.
        depth: Blocks.
        n_heads: Of the attention.
        image_size: Sides of the images for which the exported weights contain positions, px.
    """

    def __init__(
        self,
        in_channels: int,
        patch: tuple[int, ...],
        dim: int,
        depth: int,
        n_heads: int,
        image_size: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.dim = dim
        self.patch = patch
        options = {
            "in_channels": in_channels,
            "img_size": image_size,
            "patch_size": patch,
            "hidden_size": dim,
            "mlp_dim": 4 * dim,
            "num_layers": depth,
            "num_heads": n_heads,
            "spatial_dims": len(patch),
            "qkv_bias": True,
        }
        positions = position_codes(self.grid(torch.Size(image_size)), dim, torch.device("cpu"))
        self.net = _Network(in_channels, patch, dim, depth, n_heads)
        self.net.patch_embedding.register_buffer("position_embeddings", positions[None])
        draw_weights(self.net)
        arguments = ", ".join(f"{key}={value}" for key, value in options.items())
        self._constructor = f"monai.networks.nets.ViT({arguments}, pos_embed_type='sincos')"

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, F) of images (B, C, *spatial)."""
        return self.tokens(images).mean(dim=1)

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return one token per patch after the last norm, (B, N, F).

        Args:
            images: Shape (B, C, *spatial).
            keep: Shape (B, kept), int64, from 0, row by row. The others are not looked at, and
                the result is (B, kept, F). None: all patches.

        Raises:
            UsageError: A side is no multiple of the patch.
        """
        grid = self.grid(images.shape[2:])
        x = self.net.patch_embedding.patch_embeddings(images).flatten(2).transpose(1, 2)
        x = x + position_codes(grid, self.dim, x.device).to(x.dtype)
        if keep is not None:
            x = pick(x, keep)
        for block in self.net.blocks:
            x = block(x)
        found: Tensor = self.net.norm(x)
        return found

    def grid(self, spatial: torch.Size) -> tuple[int, ...]:
        """Return the number of patches along each axis.

        Raises:
            UsageError: A side is no multiple of the patch.
        """
        for axis, (size, side) in enumerate(zip(spatial, self.patch, strict=True)):
            if size % side:
                below, above = (max(1, size // side) * side, -(-size // side) * side)
                raise UsageError(
                    f"a side of {size} px cannot be cut into patches of {side} px",
                    where=patches.setting(axis, len(spatial)),
                    fix=f"use {' or '.join(str(s) for s in sorted({below, above}))}",
                )
        return tuple(size // side for size, side in zip(spatial, self.patch, strict=True))

    def groups(self) -> dict[str, list[nn.Module]]:
        """Return stem and layer1 to layer4, a quarter of the blocks each; the norm is in the last.

        With fewer than four blocks there are as many layers as blocks.
        """
        blocks = list(self.net.blocks)
        n = min(_N_LAYERS, len(blocks))
        cuts = [len(blocks) * k // n for k in range(n + 1)]
        layers = {f"layer{k + 1}": blocks[cuts[k] : cuts[k + 1]] for k in range(n)}
        layers[f"layer{n}"].append(self.net.norm)
        return {"stem": [self.net.patch_embedding], **layers}

    def constructor(self) -> str:
        """Return the MONAI call that builds the same network.

        It needs the library einops. The features are the mean over tokens of its first output.
        For images of another size, build it with their ``img_size`` and load all weights but
        ``patch_embedding.position_embeddings``, which it computes.
        """
        return self._constructor


class _Network(nn.Module):
    """The modules of MONAI's `ViT` under its names."""

    def __init__(
        self, in_channels: int, patch: tuple[int, ...], dim: int, depth: int, n_heads: int
    ) -> None:
        super().__init__()
        self.patch_embedding = _PatchEmbedding(in_channels, patch, dim)
        self.blocks = nn.ModuleList(Block(dim, n_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)


class _PatchEmbedding(nn.Module):
    def __init__(self, in_channels: int, patch: tuple[int, ...], dim: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, len(patch)]
        self.patch_embeddings = convolution(in_channels, dim, kernel_size=patch, stride=patch)


class Block(nn.Module):
    """Attention and a perceptron of four times the width, each behind a norm.

    Args:
        dim: Width, a multiple of ``n_heads``.
        n_heads: Of the attention.
    """

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.mlp = MLPBlock(dim, 4 * dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = _Attention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim)
        # MONAI's blocks have a norm that is used with cross attention only; its weights are here
        # so that a file fits, and no parameters, as no gradient ever reaches them.
        self.norm_cross_attn = nn.Module()
        self.norm_cross_attn.register_buffer("weight", torch.ones(dim))
        self.norm_cross_attn.register_buffer("bias", torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, N, F) of tokens (B, N, F)."""
        x = x + self.attn(self.norm1(x))
        found: Tensor = x + self.mlp(self.norm2(x))
        return found


class _Attention(nn.Module):
    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.out_proj = nn.Linear(dim, dim)
        self.qkv = nn.Linear(dim, 3 * dim)

    def forward(self, x: Tensor) -> Tensor:
        n, n_tokens, dim = x.shape
        parts = self.qkv(x).reshape(n, n_tokens, 3, self.n_heads, dim // self.n_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, heads, N, F / heads) each
        attended = F.scaled_dot_product_attention(query, key, value)
        joined: Tensor = self.out_proj(attended.transpose(1, 2).reshape(n, n_tokens, dim))
        return joined


def build(
    in_channels: int, spatial_dims: int, options: Options, *, dim: int, n_heads: int
) -> ViTEncoder:
    """Return the encoder of an encoder file.

    Args:
        in_channels: Channels of an image.
        spatial_dims: 2 or 3.
        options: Patches, blocks and the images the export is built for: of 224 px where nothing
            is said, in 3D, where views are smaller, of 96.
        dim: Width.
        n_heads: Of the attention.

    Raises:
        UsageError: The patches do not fit the image size.
    """
    side = options.patch_size or (16 if spatial_dims == 2 else 8)
    nominal = options.image_size or (224 if spatial_dims == 2 else 96)
    sides = (side, side) if spatial_dims == 2 else (options.patch_depth or side, side, side)
    if options.image_size is None:  # whatever the patch, a whole number of them
        extent = tuple(max(1, nominal // one) * one for one in sides)
    else:
        extent = (nominal,) * spatial_dims
    return ViTEncoder(in_channels, sides, dim, options.depth, n_heads, extent)


def position_codes(grid: tuple[int, ...], dim: int, device: torch.device) -> Tensor:
    """Return one code per patch of a grid, (N, dim): sines and cosines of its place.

    Axes 1, 0 and 2 follow each other, as in MONAI. Where ``dim`` is no multiple of two numbers
    per axis, the rest is zero.
    """
    n_waves = dim // (2 * len(grid))
    rates = _SLOWEST ** -(torch.arange(n_waves, device=device, dtype=torch.float32) / n_waves)
    places = torch.meshgrid(
        *(torch.arange(size, device=device, dtype=torch.float32) for size in grid), indexing="ij"
    )
    parts = []
    for axis in (1, 0, *range(2, len(grid))):
        angles = places[axis].flatten()[:, None] * rates
        parts += [angles.sin(), angles.cos()]
    codes = torch.cat(parts, dim=1)
    return F.pad(codes, (0, dim - codes.shape[1]))


def pick(tokens: Tensor, which: Tensor) -> Tensor:
    """Return tokens (B, K, F) out of (B, N, F) by their numbers (B, K)."""
    return tokens.gather(1, which[:, :, None].expand(-1, -1, tokens.shape[2]))


def draw_weights(network: nn.Module) -> None:
    """Draw linear layers and patch embeddings Xavier-uniformly with biases 0, as MAE does."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
