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
from torch import Tensor

from medssl.methods import _projections, _twins
from medssl.models import heads
from medssl.models.encoders._contract import Encoder

ENCODER = "any"
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
    projector_norm: heads.Norm = "batch"


class Method(_twins.Twins):
    """Two views in, one loss out.

    Args:
        encoder: The network to train.
        config: Loss weights and the width of the expander.
    """

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder, (config.projector_dim,) * 3, config.projector_norm)
        self.config = config

    def loss(self, embedded: dict[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
        """Return ``total``, its three unweighted parts and how far projections differ.

        Whose images they are does not matter. ``projection_std`` falls to 0 in a collapse.

        Raises:
            UsageError: There is one image.
        """
        del patients
        a, b = (_projections.widened(embedded[name]) for name in ("a", "b"))
        _projections.require_two(a)
        invariance = F.mse_loss(a, b)
        variance = (_std_hinge(a) + _std_hinge(b)) / 2
        covariance = _off_diagonal(a) + _off_diagonal(b)
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
            "projection_std": _projections.spread(torch.cat([a, b])),
        }


def _std_hinge(z: Tensor) -> Tensor:
    """Return the mean over dimensions of max(0, 1 - std), eq. 1; z: (B, F)."""
    return F.relu(1 - torch.sqrt(z.var(dim=0) + EPS)).mean()


def _off_diagonal(z: Tensor) -> Tensor:
    """Return the sum of squared off-diagonal covariances over F, eq. 3 and 4; z: (B, F)."""
    n, dim = z.shape
    centred = z - z.mean(dim=0)
    with _projections.exact_products(z):
        covariance = centred.T @ centred / (n - 1)  # (F, F), symmetric
    return 2 * covariance.triu(1).square().sum() / dim
