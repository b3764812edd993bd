"""MONAI's residual networks as encoders with named layer groups (He et al., arXiv:1512.03385)."""

from monai.networks.nets import resnet
from torch import Tensor, nn

GROUPS = {
    "stem": ("conv1", "bn1"),
    "layer1": ("layer1",),
    "layer2": ("layer2",),
    "layer3": ("layer3",),
    "layer4": ("layer4",),
}


class ResNetEncoder(nn.Module):
    """A MONAI ResNet without its last linear layer; features are the pooled output of layer4.

    Args:
        name: Function of `monai.networks.nets` that builds it, for example ``resnet18``.
        in_channels: Channels of an image.
        spatial_dims: 2 or 3.
        dim: Features it ends in.
    """

    def __init__(self, name: str, in_channels: int, spatial_dims: int, dim: int) -> None:
        super().__init__()
        # MONAI's first convolution has stride 1 by default, which costs three to four times the
        # work and is not the published network.
        options = {
            "spatial_dims": spatial_dims,
            "n_input_channels": in_channels,
            "conv1_t_stride": 2,
            "feed_forward": False,
        }
        self.net = getattr(resnet, name)(pretrained=False, **options)
        self.dim = dim
        arguments = ", ".join(f"{key}={value}" for key, value in options.items())
        self._constructor = f"monai.networks.nets.{name}({arguments})"

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, F) of images (B, C, *spatial)."""
        features: Tensor = self.net(images)
        return features

    def groups(self) -> dict[str, list[nn.Module]]:
        """Return stem and layer1 to layer4."""
        return {
            group: [getattr(self.net, name) for name in names] for group, names in GROUPS.items()
        }

    def constructor(self) -> str:
        """Return the MONAI call that builds the same network."""
        return self._constructor
