"""How what is labelled becomes the input of a site model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from medssl.config.training import Intensity
from medssl.data.batches import plain_batches
from medssl.data.opening import Store, open_store

_BATCH = 128  # images scored at once
_BATCH_3D = 8  # volumes


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a site model is fed with: images, or volumes."""

    spatial_dims: int
    shape: tuple[int, ...]  # px: (rows, columns) or (slices, rows, columns)
    intensity: Intensity

    def open(self, archive: Path, table: pa.Table) -> Store:
        """Return random access to the rows of a table."""
        return open_store(archive, table, self.spatial_dims)

    def plain(self, archive: Path, table: pa.Table, device: torch.device) -> Iterator[Tensor]:
        """Yield what a model judges, every row once and in order, without random views."""
        yield from plain_batches(
            self.open(archive, table),
            device=device,
            intensity=self.intensity,
            shape=self.shape,
            batch_size=_BATCH if self.spatial_dims == 2 else _BATCH_3D,
        )
