"""Bring decoded volumes to the voxels that all volumes of an archive are to have.

What interpolates is handed in: it needs torch, which nothing here loads. Processes decode, and the
one that writes resamples what they give back. Images that are no volume stay as they are.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from medssl.config.ingest import IngestSettings
from medssl.foundation.errors import DataError
from medssl.ingestion import geometry, storing
from medssl.ingestion.decoding import Job, Opened
from medssl.ingestion.geometry import Plane, triple
from medssl.ingestion.grouping import Series
from medssl.ingestion.joining import Joined
from medssl.ingestion.storing import Decoded, Grid, Ready, Volume
from medssl.ingestion.workers import Lost, Pool, Task, Work

Item = TypeVar("Item")
Result = TypeVar("Result")
Matrix = NDArray[np.float64]

LARGEST = 2**29  # voxels of a result; a volume of more stays as it is


class Resample(Protocol):
    """Turns and interpolates one volume."""

    def __call__(
        self,
        volume: NDArray[np.float32],
        affine: Matrix,
        *,
        spacing: Sequence[float] | None,
        orientation: str | None,
    ) -> tuple[NDArray[np.float32], Matrix]:
        """Return a volume (C, columns, rows, slices) on another grid, and its affine (4, 4)."""
        ...


@dataclass(frozen=True, slots=True)
class Resampling:
    """A pool whose decoded volumes are resampled here as they come.

    Args:
        pool: Where series are decoded.
        resample: What interpolates.
    """

    pool: Pool
    resample: Resample

    def run(
        self, task: Task[Item, Result], items: Sequence[Item], how: Work[Item]
    ) -> Iterator[Result | Lost]:
        """Yield ``task(item, at)`` for every item, in order."""
        results: Iterator[Any] = self.pool.run(task, items, how)
        for item, found in zip(items, results, strict=True):
            if isinstance(found, Opened):
                yield cast("Result", finish(cast("Job", item), found, self.resample))
            else:
                yield found


def grid(settings: IngestSettings) -> Grid | None:
    """Return the voxels that volumes are to have; None where they stay as they are."""
    if not settings.resamples:
        return None
    return Grid(spacing=settings.spacing, orientation=settings.orientation)


def check_labels(series: Iterable[Series], joined: Joined) -> None:
    """Check that, where volumes are resampled, all slices of one have the same labels.

    Args:
        series: All of them.
        joined: Which labels there are.

    Raises:
        DataError: Slices of one volume have different labels.
    """
    if not joined.settings.resamples:
        return
    volumes = [one for one in series if storing.is_even(one.stack)]
    for name in joined.targets:
        values = [{piece.entry.row.get(name) or None for piece in one.slices} for one in volumes]
        differing = sum(len(found) > 1 for found in values)
        if differing:
            raise DataError(
                f"labels called {name} differ between slices of {differing} series that are to be "
                "resampled",
                where="labels",
                fix="label whole series, or leave out --spacing and --orientation",
            )


def finish(job: Job, opened: Opened, resample: Resample) -> Decoded:
    """Return series on their new grid, in the archive's dtype and shape.

    Args:
        job: Which series, with their grid.
        opened: As they were decoded.
        resample: What interpolates.
    """
    assert job.grid is not None
    volumes = [_on_grid(volume, job, job.grid, resample) for volume in opened.volumes]
    shape = job.shape
    if job.side is None:  # series of one file may differ by now
        sizes = [image.values.shape[:2] for volume in volumes for image in volume.images]
        rows, columns = np.max(sizes, axis=0).tolist()
        shape = (job.channels, rows, columns)
    return storing.stored(volumes, opened.rejected, shape, job.grid)


def _on_grid(volume: Volume, job: Job, new: Grid, resample: Resample) -> Volume:
    if not volume.can_be_resampled:
        return storing.unturned(volume, job.largest)
    before = _matrix(volume)
    values = _values(volume)
    if new.spacing is not None:
        growth = abs(np.linalg.det(before[:3, :3])) / np.prod(new.spacing)
        if values.size * growth > LARGEST:
            return storing.unturned(volume, job.largest)
    found, after = resample(values, before, spacing=new.spacing, orientation=new.orientation)
    found, after = _upwards(found, after)
    images = [storing.shrunk(image, job.largest) for image in _slices(volume, before, found, after)]
    distance = float(np.linalg.norm(after[:3, 2]))
    return replace(volume, header=replace(volume.header, thickness=distance), images=images)


def _matrix(volume: Volume) -> Matrix:
    stack, plane = volume.stack, volume.images[0].plane
    assert stack is not None
    assert stack.step is not None
    assert plane is not None
    numbers = geometry.affine(plane, stack.step)
    return np.vstack([np.reshape(numbers, (3, 4)), [0, 0, 0, 1]])


def _values(volume: Volume) -> NDArray[np.float32]:
    """Return what will be encoded, (C, columns, rows, slices)."""
    stacked = np.stack([image.values for image in volume.images], axis=-1, dtype=np.float32)
    rows, columns, *_, slices = stacked.shape
    return stacked.reshape(rows, columns, -1, slices).transpose(2, 1, 0, 3)


def _upwards(values: NDArray[np.float32], matrix: Matrix) -> tuple[NDArray[np.float32], Matrix]:
    """Return a volume with its slices ascending along the nearest RAS+ axis, as all are stored."""
    if matrix[:3, 2] @ geometry.normal(_plane(matrix, 0)) > 0:
        return values, matrix
    turned = matrix.copy()
    turned[:3, 3] += matrix[:3, 2] * (values.shape[3] - 1)
    turned[:3, 2] *= -1
    return values[..., ::-1], turned


def _slices(
    volume: Volume, before: Matrix, values: NDArray[np.float32], after: Matrix
) -> Iterator[Ready]:
    """Yield the images of a result (C, columns, rows, slices), with what lies nearest to each."""
    places = _places(volume, before, after)
    nearest = np.floor(places + 0.5).clip(0, values.shape[3] - 1).astype(int)
    flags = tuple(sorted({flag for image in volume.images for flag in image.flags}))
    is_gray = volume.images[0].values.ndim == 2
    for number in range(values.shape[3]):
        image = values[..., number].transpose(2, 1, 0)
        closest = volume.images[int(np.abs(places - number).argmin())]
        plane = _plane(after, number)
        origins = [volume.images[n] for n in np.flatnonzero(nearest == number).tolist()]
        yield Ready(
            source=closest.source,
            file=closest.file,
            values=image[..., 0] if is_gray else image,
            plane=plane,
            spacing=geometry.spacing(plane),
            flags=(*flags, "resampled"),
            nearest=tuple((one.source, one.file) for one in origins),
        )


def _places(volume: Volume, before: Matrix, after: Matrix) -> Matrix:
    """Return at which slice of the result the centre of each image lies, (N,)."""
    rows, columns = volume.images[0].values.shape[:2]
    count = len(volume.images)
    ones = np.ones(count)
    middle = [ones * (columns - 1) / 2, ones * (rows - 1) / 2, np.arange(count), ones]
    places: Matrix = (np.linalg.solve(after, before) @ middle)[2]
    return places.round(6)


def _plane(matrix: Matrix, number: int) -> Plane:
    """Return where slice ``number`` of a volume lies."""
    origin = matrix[:3, 3] + number * matrix[:3, 2]
    return Plane(triple(origin), triple(matrix[:3, 0]), triple(matrix[:3, 1]))
