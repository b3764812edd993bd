"""ViT-S: 22 million parameters, 384 features (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929)."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from medssl.models import vit

_AtLeast1 = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Smaller patches see more and take more time; a side of a view is a multiple of them."""

    patch_size: _AtLeast1 | None = None  # px; None: 16 in 2D, 8 in 3D
    patch_depth: _AtLeast1 | None = None  # 3D: slices of a patch; None: as many as patch_size
    depth: _AtLeast1 = 12  # blocks
    image_size: _AtLeast1 | None = None  # px, of the images the export is built for


def build(in_channels: int, spatial_dims: int, config: Config) -> vit.ViTEncoder:
    """Return a ViT-S with random weights, 2D or 3D.

    Raises:
        UsageError: The patches do not fit the image size.
    """
    return vit.build(
        in_channels,
        spatial_dims,
        patch=(config.patch_size, config.patch_depth),
        size=(384, config.depth, 6),
        image_size=config.image_size,
    )
