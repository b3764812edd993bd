"""How what is labelled becomes the input of a site model."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from medssl.config.training import Intensity
from medssl.data.bags import BagStore, plain_bags
from medssl.data.batches import plain_batches
from medssl.data.opening import Store, open_store

_BATCH = 128  # images scored at once
_BATCH_3D = 8  # volumes
_VOXELS = 8 * 64**3  # of them together


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a site model is fed with: images, volumes, or slices that are pooled."""

    spatial_dims: int
    shape: tuple[int, ...]  # px: (rows, columns) or (slices, rows, columns)
    intensity: Intensity
    pooling: str = "none"  # of the slices of a series; see `models/pooling.py`
    slices: int = 0  # of a series, where they are pooled

    @property
    def batch_size(self) -> int:
        """Rows judged at once: memory does not grow with the slices of a series or the voxels."""
        if self.spatial_dims == 3:
            return max(1, min(_BATCH_3D, _VOXELS // prod(self.shape)))
        return max(1, _BATCH // self.slices) if self.pooling != "none" else _BATCH

    def open(self, archive: Path, table: pa.Table) -> Store:
        """Return random access to the rows of a table."""
        slices = self.slices if self.pooling != "none" else 0
        return open_store(archive, table, self.spatial_dims, slices=slices)

    def plain(
        self, archive: Path, table: pa.Table, device: torch.device
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield what a model judges, every row once and in order, without random views.

        Yields:
            Images (B, C, *spatial), or the slices of series as channels, and what
            `SiteModel.features` takes besides: ``mask`` and ``position_mm`` of slices.
        """
        store = self.open(archive, table)
        if isinstance(store, BagStore):
            yield from plain_bags(
                store,
                device=device,
                intensity=self.intensity,
                shape=self.shape,
                batch_size=self.batch_size,
            )
            return
        for images in plain_batches(
            store,
            device=device,
            intensity=self.intensity,
            shape=self.shape,
            batch_size=self.batch_size,
        ):
            yield images, {}
