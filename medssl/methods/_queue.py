"""Rows of the images seen last, kept from step to step."""

import torch
from torch import Tensor, nn

NOBODY = torch.iinfo(torch.int64).min  # the patient of a place nothing was put in yet


class Queue(nn.Module):
    """A ring of rows; the oldest are overwritten first.

    All of it is buffers: a checkpoint holds them, and as rows of all processes are put in, they
    are the same on every process.

    Args:
        size: Rows kept, at least 1.
        shape: Of one row.
    """

    rows: Tensor  # (size, *shape), zeros where nothing was put in yet
    patients: Tensor  # (size,), whom they show
    place: Tensor  # (), where the next row goes

    def __init__(self, size: int, *shape: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, *shape))
        self.register_buffer("patients", torch.full((size,), NOBODY))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    @property
    def filled(self) -> Tensor:
        """Which places hold a row, (size,)."""
        return self.patients != NOBODY

    @torch.no_grad()
    def put(self, rows: Tensor, patients: Tensor) -> None:
        """Put in rows (B, *shape) of ``patients`` (B,); of more than fit, the last ones."""
        size = len(self.rows)
        rows, patients = rows[-size:], patients[-size:]
        places = (self.place + torch.arange(len(rows), device=rows.device)) % size
        self.rows.index_copy_(0, places, rows.to(self.rows.dtype))
        self.patients.index_copy_(0, places, patients)
        self.place.add_(len(rows)).remainder_(size)


def whole_batches(most: int, batch: int) -> int:
    """Return the largest multiple of ``batch`` that is not above ``most``."""
    return most // batch * batch
