"""A network that follows another one: an exponential moving average of its parameters."""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def follower(leader: nn.Module) -> nn.Module:
    """Return a copy of ``leader`` that no gradient moves.

    Its norms keep running statistics of their own, of what it is shown itself.
    """
    return copy.deepcopy(leader).requires_grad_(requires_grad=False)


def follow(followers: Sequence[nn.Module], leaders: Sequence[nn.Module], momentum: float) -> None:
    """Set each parameter to ``momentum`` x itself + (1 - ``momentum``) x that of its leader.

    Args:
        followers: As `follower` made them; changed in place.
        leaders: What each was copied from.
        momentum: From 0 to 1; 1 changes nothing.
    """
    behind = [p for module in followers for p in module.parameters()]
    ahead = [p for module in leaders for p in module.parameters()]
    with torch.no_grad():
        get_ema_multi_avg_fn(momentum)(behind, ahead, None)  # type: ignore[no-untyped-call]
