"""BYOL: predict what a slower copy of the network sees (Grill et al., arXiv:2006.07733).

There are no negatives: what keeps the projections apart is the predictor and the slowness of the
copy. Small batches with batch norm are where it gets unstable; watch ``projection_std``.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medssl.methods import _momentum, _projections
from medssl.models import heads
from medssl.models.encoders._contract import Encoder

ENCODER = "any"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and momentum are the paper's; a run of few steps does better with 0.99."""

    projector_hidden: Annotated[int, Field(ge=1)] = 4096
    projector_dim: Annotated[int, Field(ge=2)] = 256
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.996  # at first; it rises to 1
    projector_norm: heads.Norm = "batch"


class Method(nn.Module):
    """Two views in, one loss out.

    Args:
        encoder: The network to train.
        config: Momentum and the sizes of projector and predictor.
    """

    n_views = 2
    n_local_views = 0

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__()
        dim, hidden = config.projector_dim, config.projector_hidden
        self.encoder = encoder
        self.projector = heads.projector((encoder.dim, hidden, dim), config.projector_norm)
        self.predictor = heads.projector((dim, hidden, dim), config.projector_norm)
        self.target_encoder = _momentum.follower(encoder)  # type: ignore[arg-type]
        self.target_projector = _momentum.follower(self.projector)
        self.config = config

    def embed(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return predictions and targets of two views (B, C, *spatial), (B, F) each.

        The prediction of one view is to meet the target of the other.
        """
        rows = {}
        for name, view in zip("ab", views, strict=True):
            projected = self.projector(self.encoder(view))  # type: ignore[operator]
            rows[f"projection_{name}"] = projected.detach()
            rows[f"prediction_{name}"] = self.predictor(projected)
            with torch.no_grad():
                rows[f"target_{name}"] = self.target_projector(self.target_encoder(view))
        return rows

    def loss(self, embedded: dict[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
        """Return ``total`` of eq. 2 in both directions, from 0 to 8, and how projections differ.

        Whose images they are does not matter. ``agreement`` is the mean cosine similarity of
        predictions and targets; ``projection_std`` falls to 0 in a collapse, in which the loss is
        low too.
        """
        del patients
        forth = distance(embedded["prediction_a"], embedded["target_b"])
        back = distance(embedded["prediction_b"], embedded["target_a"])
        projected = torch.cat([embedded["projection_a"], embedded["projection_b"]])
        return {
            "total": forth + back,
            "agreement": 1 - (forth + back) / 4,
            "projection_std": _projections.spread(projected),
        }

    def before_step(self, progress: float) -> None:
        """Move the target; its momentum rises along a cosine from the option to 1 at the end."""
        slowness = 1 - (1 - self.config.momentum) * (math.cos(math.pi * progress) + 1) / 2
        _momentum.follow(
            [self.target_encoder, self.target_projector],
            [self.encoder, self.projector],  # type: ignore[list-item]
            slowness,
        )


def distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Return 2 - 2 cos of predictions and targets (B, F), averaged: 0 for equal directions, to 4.

    Args:
        prediction: It gets the gradient.
        target: It gets none.
    """
    target = _projections.directions(target.detach())
    cosine = (_projections.directions(prediction) * target).sum(dim=1)
    return (2 - 2 * cosine).mean()
