"""MONAI's residual networks an eighth as wide: most of a small test is drawing their weights."""

import pytest
from monai.networks.nets import resnet

from medssl.models.resnet import Options, ResNetEncoder

WIDTHS = [8, 16, 32, 64]


def residual(name="resnet18", in_channels=1, spatial_dims=2, **options):
    """An encoder with the layers of its name, which are all there."""
    dim = WIDTHS[-1] * (4 if name == "resnet50" else 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet, "get_inplanes", lambda: WIDTHS)
        return ResNetEncoder(name, in_channels, spatial_dims, dim, Options(**options))
