"""MONAI's residual networks as encoders with named layer groups (He et al., arXiv:1512.03385)."""

from dataclasses import dataclass
from typing import Literal

from monai.networks.nets import resnet
from torch import Tensor, nn

from medssl.models import norms

GROUPS = {
    "stem": ("conv1", "bn1"),
    "layer1": ("layer1",),
    "layer2": ("layer2",),
    "layer3": ("layer3",),
    "layer4": ("layer4",),
}
_KEEP_LINES = """
for part in network.modules():
    if isinstance(part, torch.nn.Conv3d):
        part.stride = (1, *part.stride[1:])
network.maxpool = torch.nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be chosen about a residual network."""

    norm: norms.Norm = "batch"  # group, bcn: for batches of a few images
    weight_standardisation: bool | None = None  # of all filters; None: with bcn
    depth: Literal["halve", "keep"] = "halve"  # 3D: keep leaves all slices, at 32 times the memory
    # in the last maps; then weights of a 2D network work as they do slice by slice


class ResNetEncoder(nn.Module):
    """A MONAI ResNet without its last linear layer; features are the pooled output of layer4.

    Args:
        name: Function of `monai.networks.nets` that builds it, for example ``resnet18``.
        in_channels: Channels of an image.
        spatial_dims: 2 or 3.
        dim: Features it ends in.
        options: Norms, filters and strides.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        spatial_dims: int,
        dim: int,
        options: Options = Options(),
    ) -> None:
        super().__init__()
        # MONAI's first convolution has stride 1 by default, which costs three to four times the
        # work and is not the published network.
        arguments = {
            "spatial_dims": spatial_dims,
            "n_input_channels": in_channels,
            "conv1_t_stride": 2,
            "feed_forward": False,
        }
        self.net = getattr(resnet, name)(pretrained=False, **arguments)
        self.dim = dim
        self.layers = {f"layer{n}": dim // 2 ** (4 - n) for n in (1, 2, 3, 4)}
        given = ", ".join(f"{key}={value}" for key, value in arguments.items())
        self._constructor = f"monai.networks.nets.{name}({given})"
        self._constructor += self._change(options, spatial_dims)

    def _change(self, options: Options, spatial_dims: int) -> str:
        """Do what MONAI has no argument for, and return it as Python."""
        standardise = options.weight_standardisation
        if standardise is None:
            standardise = options.norm == "bcn"
        norms.exchange(self.net, options.norm)
        if standardise:
            norms.standardise(self.net)
        lines = norms.lines(
            options.norm, weight_standardisation=standardise, spatial_dims=spatial_dims
        )
        if spatial_dims == 3 and options.depth == "keep":
            _keep_depth(self.net)
            lines += _KEEP_LINES
        return lines

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, F) of images (B, C, *spatial)."""
        features: Tensor = self.net(images)
        return features

    def stages(self, images: Tensor, last: str = "layer4") -> list[Tensor]:
        """Return the maps of layer1 to ``last``, (B, F, *spatial), of falling resolution.

        The mean of those of layer4 over space is what `forward` returns.
        """
        x = self.net.maxpool(self.net.act(self.net.bn1(self.net.conv1(images))))
        maps = []
        for layer in self.layers:
            x = getattr(self.net, layer)(x)
            maps.append(x)
            if layer == last:
                break
        return maps

    def features_at(self, images: Tensor, layer: str) -> Tensor:
        """Return the pooled output of ``layer``, one of `layers`: shape (B, layers[layer])."""
        pooled: Tensor = self.net.avgpool(self.stages(images, layer)[-1])
        return pooled.flatten(1)

    def groups(self) -> dict[str, list[nn.Module]]:
        """Return stem and layer1 to layer4."""
        return {
            group: [getattr(self.net, name) for name in names] for group, names in GROUPS.items()
        }

    def constructor(self) -> str:
        """Return the MONAI call that builds the network, then lines that change it, if any."""
        return self._constructor


def _keep_depth(network: nn.Module) -> None:
    """Move along the slices (the first spatial axis) one by one."""
    for part in network.modules():
        if isinstance(part, nn.Conv3d):
            part.stride = (1, *part.stride[1:])
    network.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
