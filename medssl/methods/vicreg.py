"""VICReg: keep variance, drop covariance (Bardes et al., ICLR 2022, arXiv:2105.04906).

No negatives, no momentum encoder and no large batch are needed, which suits a small site. The
variance term is averaged over the two views and the covariance term summed, as in the authors'
code.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from pydantic import Field
from torch import Tensor, nn

from medssl.models import heads
from medssl.models.encoders._contract import Encoder

EPS = 1e-4  # inside the square root of the standard deviation, as in the paper


@dataclass(frozen=True, kw_only=True)
class Config:
    """Loss weights are the authors'; the expander is narrower than their 8192.

    With fewer images in a batch than dimensions the covariance estimate is noisy, so a small
    batch gains nothing from a wide one.
    """

    projector_dim: Annotated[int, Field(ge=2)] = 1024
    invariance: Annotated[float, Field(ge=0)] = 25.0
    variance: Annotated[float, Field(ge=0)] = 25.0
    covariance: Annotated[float, Field(ge=0)] = 1.0


class Method(nn.Module):
    """Two views in, one loss out.

    Args:
        encoder: The network to train.
        config: Loss weights and the width of the expander.
    """

    n_views = 2

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = heads.projector((encoder.dim, *(config.projector_dim,) * 3))
        self.config = config

    def forward(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return ``total`` and its three unweighted parts.

        Args:
            views: Two tensors (B, C, *spatial), B >= 2.
        """
        a, b = (self.projector(self.encoder(view)) for view in views)  # type: ignore[operator]
        invariance = F.mse_loss(a.float(), b.float())
        variance = (_std_hinge(a.float()) + _std_hinge(b.float())) / 2
        covariance = (_off_diagonal(a.float()) + _off_diagonal(b.float())).float()
        weight = self.config
        total = (
            weight.invariance * invariance
            + weight.variance * variance
            + weight.covariance * covariance
        )
        return {
            "total": total,
            "invariance": invariance,
            "variance": variance,
            "covariance": covariance,
        }


def _std_hinge(z: Tensor) -> Tensor:
    """Return the mean over dimensions of max(0, 1 - std), eq. 1; z: (B, F)."""
    return F.relu(1 - torch.sqrt(z.var(dim=0) + EPS)).mean()


def _off_diagonal(z: Tensor) -> Tensor:
    """Return the sum of squared off-diagonal covariances over F, eq. 3 and 4; z: (B, F)."""
    n, dim = z.shape
    centred = (z - z.mean(dim=0)).double()  # autocast would take a product of floats to half
    covariance = centred.T @ centred / (n - 1)  # (F, F)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / dim
