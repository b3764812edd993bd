"""The slices of a resampled volume, with the function that really resamples."""

import numpy as np
import pytest

from medssl.data import resampling
from medssl.ingestion import decoding, geometry, intensity, resampled
from medssl.ingestion.codes import Code
from medssl.ingestion.decoding import Job, Opened, Source
from medssl.ingestion.geometry import Plane, triple
from medssl.ingestion.header import Frame, Header
from medssl.ingestion.storing import Grid, Ready, Volume
from medssl.ingestion.workers import Lost, Work

SHAPE = (6, 5, 4)  # columns, rows, slices


def volume(matrix: np.ndarray, values: np.ndarray, flags=()) -> Volume:
    """A series of slices (columns, rows) or (columns, rows, 3)."""
    header = Header(reader="test", rows=5, columns=6, frames=(Frame(),), bits=16)
    images = [
        Ready(
            source=number,
            file=10 + number,
            values=np.swapaxes(values[:, :, number], 0, 1),
            plane=Plane(
                triple(matrix[:3] @ [0, 0, number, 1]), triple(matrix[:3, 0]), triple(matrix[:3, 1])
            ),
            spacing=None,
            flags=flags if number else (),
        )
        for number in range(values.shape[2])
    ]
    how = intensity.Policy("uint16", keeps_integers=True)
    return Volume(header=header, how=how, images=images, is_even=True)


def job(grid: Grid, header: Header, **how) -> Job:
    source = Source(path=None, header=header, number=0)
    return Job(volumes=((source,),), dtype="uint16", side=None, largest=None, grid=grid, **how)


def finish(grid: Grid, *volumes: Volume, channels: int = 1):
    made = job(grid, volumes[0].header, channels=channels)
    opened = Opened(volumes=volumes, rejected={3: Code.TRUNCATED})
    return resampled.finish(made, opened, resampling.resample)


def turned(rng: np.random.Generator) -> np.ndarray:
    """An affine turned any way, with slices upwards as they are stored."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * [1, 2, 3]
    plane = Plane((0, 0, 0), triple(matrix[:3, 0]), triple(matrix[:3, 1]))
    matrix[:3, 2] *= np.sign(matrix[:3, 2] @ geometry.normal(plane))
    return matrix


@pytest.mark.parametrize("orientation", ["RAS", "LIA", "PSR", None])
@pytest.mark.parametrize("seed", range(8))
def test_slices_ascend_however_a_volume_lies_and_values_stay_where_they_are(seed, orientation):
    rng = np.random.default_rng(seed)
    matrix = turned(rng)
    values = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    spacing = None if orientation else (1, 2, 3)
    decoded = finish(Grid(spacing=spacing, orientation=orientation), volume(matrix, values))
    images = decoded.outcome.images
    positions = [image.position_mm for image in images]
    assert (np.diff(positions) > 0).all()
    found = {}
    for image, stored in zip(images, decoded.pixels, strict=True):
        own = np.reshape(image.affine, (3, 4))
        for row, column in np.ndindex(image.rows, image.columns):
            place = tuple((own @ [column, row, 0, 1]).round(4) + 0.0)
            found[place] = int(stored[0, row, column]) * image.slope + image.intercept
    expected = {
        tuple((matrix[:3] @ [*index, 1]).round(4) + 0.0): values[index]
        for index in np.ndindex(SHAPE)
    }
    assert found == expected


def test_some_oblique_volume_is_turned_round_to_ascend():
    """The letter of the slices is not always that of the axis nearest to them."""
    downwards = 0
    for seed in range(200):
        matrix = turned(np.random.default_rng(seed))
        values = np.zeros((1, *SHAPE), np.float32)
        _, after = resampling.resample(values, matrix, orientation="RAS")
        first = Plane((0, 0, 0), triple(after[:3, 0]), triple(after[:3, 1]))
        downwards += after[:3, 2] @ geometry.normal(first) < 0
    assert downwards


def test_every_source_counts_once_and_flags_are_those_of_all():
    values = np.zeros(SHAPE, np.uint16)
    grid = Grid(spacing=(1, 1, 0.75), orientation=None)
    found = finish(grid, volume(np.diag([-1, -1, 3, 1.0]), values, flags=("clipped",))).outcome
    assert len(found.images) == 13
    assert [image.nearest for image in found.images[::4]] == [((k, 10 + k),) for k in range(4)]
    assert [image.source for image in found.images[::4]] == [0, 1, 2, 3]
    assert sum(len(image.nearest) for image in found.images) == 4
    assert {image.flags for image in found.images} == {("clipped", "resampled")}
    assert (found.rejected, found.grid) == (((3, Code.TRUNCATED),), grid)
    coarse = finish(Grid(spacing=(1, 1, 9), orientation=None), volume(np.eye(4) * 3, values))
    assert [len(image.origins) for image in coarse.outcome.images] == [2, 2]


def test_one_slice_that_is_left_keeps_the_distance_to_the_next():
    values = np.zeros(SHAPE, np.uint16)
    matrix = np.diag([-1, -1, 3, 1.0])
    (image,) = finish(Grid(spacing=(1, 1, 30)), volume(matrix, values)).outcome.images
    assert image.spacing == (1, 1, 30)
    assert len(image.nearest) == 4


def test_series_of_one_file_may_have_different_shapes_afterwards():
    values = np.ones(SHAPE, np.uint16)
    flat, upright = np.diag([1, 1, 1, 1.0]), np.eye(4)[:, [0, 2, 1, 3]]
    decoded = finish(Grid(orientation="RAS"), volume(flat, values), volume(upright, values))
    sizes = [(image.rows, image.columns) for image in decoded.outcome.images]
    assert sizes == [(5, 6)] * 4 + [(4, 6)] * 5
    assert decoded.pixels.shape == (9, 1, 5, 6)
    assert decoded.pixels.sum() == 2 * values.size


def test_each_colour_is_turned_by_itself_and_gray_stands_for_all_three():
    values = np.random.default_rng(0).integers(0, 9, (*SHAPE, 3)).astype(np.uint16)
    matrix = np.diag([-1, -1, 3, 1.0])
    colour = finish(Grid(orientation="RAS"), volume(matrix, values), channels=3).pixels
    assert np.array_equal(colour, values[::-1, ::-1].transpose(2, 3, 1, 0))
    gray = finish(Grid(orientation="RAS"), volume(matrix, values[..., 0]), channels=3).pixels
    assert np.array_equal(gray, np.repeat(colour[:, :1], 3, axis=1))


def test_a_pool_resamples_what_needs_it_and_passes_on_the_rest():
    grid = Grid(orientation="RAS")
    one = volume(np.diag([-1, -1, 3, 1.0]), np.zeros(SHAPE, np.uint16))
    opened, lost = Opened(volumes=[one], rejected={}), Lost(0, Code.TIMED_OUT)

    class Here:
        def run(self, *_):
            yield from (opened, lost)

    pool = resampled.Resampling(Here(), resampling.resample)
    items = [job(grid, one.header)] * 2
    found, other = pool.run(decoding.decode, items, Work())
    assert found.outcome.grid == grid
    assert other is lost
