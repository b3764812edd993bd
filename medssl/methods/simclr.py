"""SimCLR: tell the other view of an image from other images (Chen et al., arXiv:2002.05709).

Every other image of the batch is a negative, so a larger batch helps, and images that look alike
(neighbouring slices) are pushed apart although they should not be: thin them with `medssl reduce`
first. The loss is a log-sum-exp in single precision, which stays finite at any temperature.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from pydantic import Field
from torch import Tensor, nn

from medssl.models import heads
from medssl.models.encoders._contract import Encoder


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the paper's projector; 0.5 suits small batches, 0.1 those of a thousand and more."""

    projector_hidden: Annotated[int, Field(ge=1)] = 2048
    projector_dim: Annotated[int, Field(ge=2)] = 128
    temperature: Annotated[float, Field(gt=0)] = 0.5


class Method(nn.Module):
    """Two views in, one loss out.

    Args:
        encoder: The network to train.
        config: Temperature and the sizes of the projector.
    """

    n_views = 2

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        dims = (encoder.dim, config.projector_hidden, config.projector_dim)
        self.projector = heads.projector(dims)
        self.config = config

    def forward(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return ``total`` and how well partners agree.

        ``alignment`` is their mean cosine similarity, ``top1`` the share of views whose most
        similar view in the batch is the partner (1 / (2B - 1) by chance).

        Args:
            views: Two tensors (B, C, *spatial), B >= 2.
        """
        a, b = (self.projector(self.encoder(view)) for view in views)  # type: ignore[operator]
        return nt_xent(a, b, self.config.temperature)


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> dict[str, Tensor]:
    """Return the loss of eq. 1, averaged over all 2B views, with ``alignment`` and ``top1``.

    Args:
        a: Projections of the first views, shape (B, F).
        b: Projections of the second views, shape (B, F); row i belongs to row i of ``a``.
        temperature: Divides the cosine similarities.
    """
    n = len(a)
    with _single_precision(a):
        z = F.normalize(torch.cat([a, b]).float())  # (2B, F)
        similarity = z @ z.T  # (2B, 2B)
    itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    similarity = similarity.masked_fill(itself, -torch.inf)  # a view is not its own negative
    partner = torch.arange(2 * n, device=z.device).roll(n)
    agreement = similarity.gather(1, partner[:, None]).squeeze(1)  # (2B,)
    loss = torch.logsumexp(similarity / temperature, dim=1) - agreement / temperature
    with torch.no_grad():
        top1 = (similarity.argmax(dim=1) == partner).float().mean()
    return {"total": loss.mean(), "alignment": agreement.mean(), "top1": top1}


def _single_precision(like: Tensor) -> torch.autocast:
    """Return a context in which autocast does not take products to half precision."""
    kind = like.device.type
    known = torch.amp.is_autocast_available(kind)  # the meta device has none
    return torch.autocast(kind if known else "cpu", enabled=False)
