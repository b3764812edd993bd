"""ResNet-18: 11 million parameters, 512 features (He et al., CVPR 2016, arXiv:1512.03385)."""

from dataclasses import dataclass

from medssl.models.resnet import Options, ResNetEncoder


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Those of all residual networks."""


def build(in_channels: int, spatial_dims: int, config: Config) -> ResNetEncoder:
    """Return a ResNet-18 with random weights, 2D or 3D."""
    return ResNetEncoder("resnet18", in_channels, spatial_dims, 512, config)
