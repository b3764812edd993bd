"""What stands behind an encoder: the projector of a method, the classifier of a cohort."""

import itertools
from typing import Literal

from torch import nn

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


def classifier(dim: int, n_outputs: int, dropout: float) -> nn.Sequential:
    """Return dropout and one linear layer, drawn as in arXiv:2507.12269.

    Weights are Xavier-uniform, biases 0.01.

    Args:
        dim: Features of the encoder.
        n_outputs: 1 for a binary target, else the number of classes.
        dropout: Probability of dropping a feature.
    """
    linear = nn.Linear(dim, n_outputs)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.constant_(linear.bias, 0.01)
    return nn.Sequential(nn.Dropout(dropout), linear)
