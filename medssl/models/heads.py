"""What stands behind an encoder: the projector of a method, the classifier of a cohort."""

import itertools
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor, nn

Norm = Literal["batch", "layer"]  # layer: an image's row does not depend on the others of the batch
_NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def projector(dims: tuple[int, ...], norm: Norm = "batch") -> nn.Sequential:
    """Return linear layers with a norm and ReLU between them; the last one is bare.

    Args:
        dims: Input size, hidden sizes, output size.
        norm: Of the hidden layers.
    """
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(dims[:-1]):
        layers += [nn.Linear(n_in, n_out, bias=False), _NORMS[norm](n_out), nn.ReLU(inplace=True)]
    layers.append(nn.Linear(dims[-2], dims[-1], bias=False))
    return nn.Sequential(*layers)


def classifier(dim: int, n_outputs: int, dropout: float, *, ordinal: bool = False) -> nn.Sequential:
    """Return dropout and one linear layer, drawn as in arXiv:2507.12269.

    Weights are Xavier-uniform, biases 0.01.

    Args:
        dim: Features of the encoder.
        n_outputs: Outputs of the task.
        dropout: Probability of dropping a feature.
        ordinal: Ordered classes share one direction; see `Ordinal`.
    """
    if ordinal:
        return nn.Sequential(nn.Dropout(dropout), Ordinal(dim, n_outputs))
    linear = nn.Linear(dim, n_outputs)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.constant_(linear.bias, 0.01)
    return nn.Sequential(nn.Dropout(dropout), linear)


class Ordinal(nn.Module):
    """One direction and K - 1 thresholds in descending order (arXiv:1901.07884).

    Output k is the logit of "above class k". It falls with k by construction, so class
    probabilities are never negative.

    Args:
        dim: Features.
        n_outputs: K - 1.
    """

    def __init__(self, dim: int, n_outputs: int) -> None:
        super().__init__()
        self.direction = nn.Linear(dim, 1, bias=False)
        nn.init.xavier_uniform_(self.direction.weight)
        self.first = nn.Parameter(torch.zeros(1))
        self.gaps = nn.Parameter(torch.zeros(n_outputs - 1))  # softplus of it lies between two

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K - 1) of features (B, F)."""
        lower = F.softplus(self.gaps).cumsum(dim=0)
        thresholds = torch.cat([self.first, self.first - lower])
        logits: Tensor = self.direction(features) + thresholds
        return logits
