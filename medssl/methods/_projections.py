"""What methods do with projections, in single precision whatever the encoder computes in."""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor

from medssl.foundation.errors import UsageError


def widened(z: Tensor) -> Tensor:
    """Return ``z`` in single precision, or in double precision if it is so already."""
    return z if z.dtype == torch.float64 else z.float()


def directions(z: Tensor) -> Tensor:
    """Return projections (..., F) scaled to length 1."""
    return F.normalize(widened(z), dim=-1)


def exact_products(like: Tensor) -> torch.autocast:
    """Return a context in which autocast does not take products to half precision."""
    kind = like.device.type
    known = torch.amp.is_autocast_available(kind)  # the meta device has none
    return torch.autocast(kind if known else "cpu", enabled=False)


def spread(z: Tensor) -> Tensor:
    """Return how far the directions of projections differ: 0 once they have collapsed to one.

    It is the standard deviation per dimension that arXiv:2011.10566 watches, averaged and times
    the square root of F: about 1 where directions are even on the sphere.

    Args:
        z: Shape (B, F).
    """
    with torch.no_grad():
        std: Tensor = directions(z).std(dim=0, correction=0).mean()
        return std * math.sqrt(z.shape[1])


def require_two(z: Tensor) -> None:
    """Refuse to take statistics of a single image.

    Raises:
        UsageError: ``z`` (B, F) has one row.
    """
    if len(z) < 2:
        raise UsageError(
            "the loss compares images, and a batch of one has no other",
            where="batch_size",
            fix="take 2 images or more",
        )
