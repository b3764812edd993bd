"""ViT-B: 86 million parameters, 768 features (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929)."""

from dataclasses import dataclass

from medssl.models import vit


@dataclass(frozen=True, kw_only=True)
class Config(vit.Options):
    """Those of all transformers."""


def build(in_channels: int, spatial_dims: int, config: Config) -> vit.ViTEncoder:
    """Return a ViT-B with random weights, 2D or 3D.

    Raises:
        UsageError: The patches do not fit the image size.
    """
    return vit.build(in_channels, spatial_dims, config, dim=768, n_heads=12)
