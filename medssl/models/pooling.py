"""One row of features of the slices of a series: their mean, their maximum, or by attention.

Attention is gated (Ilse et al., arXiv:1802.04712). It judges each slice by its features and by
where it lies: a network that sees a set of slices would not notice their order (RadCLIP,
arXiv:2403.09948, adds positions for the same reason; the modes of MONAI's MILModel have none).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor, nn

Kind = Literal["mean", "max", "attention"]
_GATES = 64  # 128 in the paper, for cohorts of hundreds
_SHORTEST_MM, _WAVES = 8.0, 8  # wavelengths 8, 16, … 1,024 mm
_SMALL = 0.02  # spread of the weights that positions begin with


def build(kind: str, dim: int) -> nn.Module | None:
    """Return the pooling called ``kind`` of features of ``dim`` numbers; None for ``none``."""
    if kind == "none":
        return None
    return Attention(dim) if kind == "attention" else Plain(dim, kind)


class Plain(nn.Module):
    """Mean or maximum over the slices; no weights, and order does not matter.

    Args:
        dim: Features of a slice.
        kind: ``mean`` or ``max``.
    """

    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        self.dim, self.kind = dim, kind

    def forward(self, features: Tensor, mask: Tensor, position_mm: Tensor) -> Tensor:
        """Return (B, F) of features (B, S, F); ``mask`` (B, S) is true where there is a slice.

        Args:
            features: Of each slice.
            mask: True at least once in each row.
            position_mm: Not used.
        """
        del position_mm
        there = mask[..., None]
        if self.kind == "max":
            return features.masked_fill(~there, -torch.inf).amax(dim=1)
        return features.masked_fill(~there, 0).sum(dim=1) / there.sum(dim=1)


class Attention(nn.Module):
    """Gated attention over slices that know where they lie (arXiv:1802.04712, equation 9).

    With h = features + position, the weight of a slice is the softmax over the series of
    w . (tanh(V h) * sigmoid(U h)), and the result is the mean of h by these weights. Two things are
    not in the paper: the position, and that h is standardised for the gates alone, so that they are
    not saturated by an encoder with large features.

    Args:
        dim: Features of a slice.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.place = nn.Linear(2 * _WAVES, dim, bias=False)
        nn.init.normal_(self.place.weight, std=_SMALL)
        self.what, self.whether = nn.Linear(dim, _GATES), nn.Linear(dim, _GATES)
        self.score = nn.Linear(_GATES, 1, bias=False)  # a bias would change no softmax
        lengths = _SHORTEST_MM * 2.0 ** torch.arange(_WAVES)
        self.turns_per_mm = nn.Buffer(2 * math.pi / lengths, persistent=False)

    def forward(self, features: Tensor, mask: Tensor, position_mm: Tensor) -> Tensor:
        """Return (B, F) of features (B, S, F).

        Args:
            features: Of each slice.
            mask: Shape (B, S), true where there is a slice; at least once in each row.
            position_mm: Shape (B, S), from the middle of the series.
        """
        placed = self._placed(features, position_mm)
        return (self._shares(placed, mask)[..., None] * placed).sum(dim=1)

    def weights(self, features: Tensor, mask: Tensor, position_mm: Tensor) -> Tensor:
        """Return how much each slice counts, (B, S): 1 in sum, and 0 where there is none."""
        return self._shares(self._placed(features, position_mm), mask)

    def _placed(self, features: Tensor, position_mm: Tensor) -> Tensor:
        angle = position_mm[..., None].float() * self.turns_per_mm
        placed: Tensor = features + self.place(torch.cat([angle.sin(), angle.cos()], dim=-1))
        return placed

    def _shares(self, placed: Tensor, mask: Tensor) -> Tensor:
        even = F.layer_norm(placed, (self.dim,))
        scores = self.score(self.what(even).tanh() * self.whether(even).sigmoid())[..., 0]
        shares: Tensor = scores.float().masked_fill(~mask, -torch.inf).softmax(dim=1)
        return shares
