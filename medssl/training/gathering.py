"""Rows of all processes put together, with their gradients."""

import torch
from torch import Tensor, distributed


class _Gather(torch.autograd.Function):
    """All rows on every process; each row's gradient is the sum of what all processes found."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor) -> Tensor:
        del ctx
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        del ctx
        (gradient,) = gradients
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # it may be another's too
        distributed.all_reduce(gradient)
        own = gradient.chunk(distributed.get_world_size())
        return own[distributed.get_rank()]


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of their ranks; alone, the rows themselves.

    Every process computes the loss of all rows, so gradients come back once per process; averaged
    over processes, as `DistributedDataParallel` does, they are those of one process.

    Args:
        rows: Shape (B, ...), the same on every process.

    Returns:
        Shape (processes x B, ...).
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    if distributed.get_world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered
