"""Barlow Twins: make twin dimensions agree, different ones not (Zbontar et al., arXiv:2103.03230).

The cross-correlation of two views, standardised per dimension with the population standard
deviation, is drawn to the identity. Perfectly decorrelated equal views cost nothing; MONAI 1.6.1
divides by two different counts and leaves D / N^2. No negatives, no momentum encoder: 32 images per
step are enough.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medssl.methods import _projections, _twins
from medssl.models import heads
from medssl.models.encoders._contract import Encoder

ENCODER = "any"
EPS = 1e-5  # added to the variance, as by the batch norm of the authors


@dataclass(frozen=True, kw_only=True)
class Config:
    """The weight is the authors'; their projector has 8192 dimensions and suits a large archive.

    ``scale`` multiplies the loss, which grows with the dimensions; with a plain SGD 0.1 helps a
    wide projector.
    """

    projector_dim: Annotated[int, Field(ge=2)] = 2048
    redundancy: Annotated[float, Field(ge=0)] = 0.0051
    scale: Annotated[float, Field(gt=0)] = 1.0
    projector_norm: heads.Norm = "batch"


class Method(_twins.Twins):
    """Two views in, one loss out.

    Args:
        encoder: The network to train.
        config: Loss weight and the width of the projector.
    """

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder, (config.projector_dim,) * 3, config.projector_norm)
        self.config = config

    def loss(self, embedded: dict[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
        """Return ``total``, its two unweighted parts and how far projections differ.

        Whose images they are does not matter. ``projection_std`` falls to 0 in a collapse.

        Raises:
            UsageError: There is one image.
        """
        del patients
        a, b = (_projections.widened(embedded[name]) for name in ("a", "b"))
        _projections.require_two(a)
        with _projections.exact_products(a):
            correlation = _standardised(a).T @ _standardised(b) / len(a)  # (F, F)
        diagonal = correlation.diagonal()
        invariance = (1 - diagonal).square().sum()
        redundancy = (correlation - torch.diag(diagonal)).square().sum()
        return {
            "total": self.config.scale * (invariance + self.config.redundancy * redundancy),
            "invariance": invariance,
            "redundancy": redundancy,
            "projection_std": _projections.spread(torch.cat([a, b])),
        }


def _standardised(z: Tensor) -> Tensor:
    """Return z (B, F) with mean 0 and population variance 1 per dimension; a constant one is 0."""
    return (z - z.mean(dim=0)) / (z.var(dim=0, correction=0) + EPS).sqrt()
