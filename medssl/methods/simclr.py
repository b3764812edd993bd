"""SimCLR: tell the other view of an image from other images (Chen et al., arXiv:2002.05709).

Every image of another patient in the batch is a negative, so a larger batch helps. The paper has
no patients: there, neighbouring slices are pushed apart although they look alike. The loss is a
log-sum-exp in single precision, which stays finite at any temperature.
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


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the paper's projector; 0.5 suits small batches, 0.1 those of a thousand and more."""

    projector_hidden: Annotated[int, Field(ge=1)] = 2048
    projector_dim: Annotated[int, Field(ge=2)] = 128
    temperature: Annotated[float, Field(gt=0)] = 0.5
    projector_norm: heads.Norm = "batch"


class Method(_twins.Twins):
    """Two views in, one loss out.

    Args:
        encoder: The network to train.
        config: Temperature and the sizes of the projector.
    """

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(
            encoder, (config.projector_hidden, config.projector_dim), config.projector_norm
        )
        self.config = config

    def loss(self, embedded: dict[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
        """Return ``total``, how well partners agree and how far projections differ.

        ``agreement`` is the mean cosine similarity of partners, ``top1`` the share of views whose
        most similar view among partner and negatives is the partner; ``projection_std`` falls to 0
        in a collapse.
        """
        a, b = embedded["a"], embedded["b"]
        losses = nt_xent(a, b, self.config.temperature, patients)
        return losses | {"projection_std": _projections.spread(torch.cat([a, b]))}


def nt_xent(a: Tensor, b: Tensor, temperature: float, patients: Tensor) -> dict[str, Tensor]:
    """Return the loss of eq. 1, averaged over all 2B views, with ``agreement`` and ``top1``.

    Args:
        a: Projections of the first views, shape (B, F).
        b: Projections of the second views, shape (B, F); row i belongs to row i of ``a``.
        temperature: Divides the cosine similarities.
        patients: Shape (B,). Other images of the same patient are no negatives; with every number
            different the loss is the paper's.
    """
    n = len(a)
    z = _projections.directions(torch.cat([a, b]))  # (2B, F)
    with _projections.exact_products(z):
        similarity = z @ z.T  # (2B, 2B)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    agreement = similarity.gather(1, partner[:, None]).squeeze(1)  # (2B,)
    whose = patients.repeat(2)
    left_out = whose[:, None] == whose[None, :]  # itself and the patient's other images
    left_out = left_out.scatter(1, partner[:, None], value=False)
    similarity = similarity.masked_fill(left_out, -torch.inf)
    loss = torch.logsumexp(similarity / temperature, dim=1) - agreement / temperature
    with torch.no_grad():
        top1 = (similarity.argmax(dim=1) == partner).float().mean()
    return {"total": loss.mean(), "agreement": agreement.mean(), "top1": top1}
