"""Volumes: whole series, lying alike whatever way they were scanned, with their millimetres."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch

from medssl.artifacts import archive, pixels, tables
from medssl.data import volumes
from medssl.data.volumes import VolumeStore
from medssl.foundation.errors import DataError

EVERY_ORIENTATION = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def rows_of(key, n, *, shard=0, row=0, **facts):
    """Rows of `images.parquet` for one series."""
    known = {"rows": 4, "columns": 4, "slope": 1.0, "intercept": 0.0, "unit": "HU", **facts}
    return [
        {**known, "image_id": f"{key}-{k}", "series_key": key, "patient_key": f"p-{key}",
         "shard": shard, "row": row + k, "slice_index": k}
        for k in range(n)
    ]  # fmt: skip


def images(*series):
    return tables.build([row for rows in series for row in rows], archive.IMAGES)


def write(folder, shard, *arrays):
    pixels.write(folder, shard, np.concatenate(arrays))


def store_of(folder, *series):
    return VolumeStore(folder, volumes.table(images(*series)))


def test_a_volume_is_its_slices_in_order(tmp_path):
    pixels_of = np.arange(7 * 4 * 4).reshape(7, 1, 4, 4).astype(np.int16)
    write(tmp_path, 0, pixels_of)
    store = store_of(tmp_path, rows_of("a", 2), rows_of("b", 5, row=2, slope=2.0, intercept=-9.0))
    batch = store.gather(np.array([1, 0]))
    assert (len(store), store.channels, store.side) == (2, 1, 4)
    assert batch["image"].shape == (2, 1, 5, 4, 4)
    assert np.array_equal(batch["image"][0, 0], pixels_of[2:, 0])
    assert np.array_equal(batch["image"][1, 0, :2], pixels_of[:2, 0])
    assert not batch["image"][1, 0, 2:].any()
    assert batch["extent"].tolist() == [[5, 4, 4], [2, 4, 4]]
    assert (batch["slope"].tolist(), batch["intercept"].tolist()) == ([2, 1], [-9, 0])
    assert batch["hu"].tolist() == [True, True]
    assert batch["image"].dtype == torch.float32


def test_the_table_has_one_row_per_series_with_what_else_is_known_of_it():
    series = [rows_of("x", 3, row=1), rows_of("lone", 1, shard=1), rows_of("y", 2, row=4)]
    found = volumes.table(images(*series))
    assert found["image_id"].to_pylist() == ["x-0", "y-0"]  # one slice is no volume
    assert found["patient_key"].to_pylist() == ["p-x", "p-y"]
    assert found["n_slices"].to_pylist() == [3, 2]
    assert found["row"].to_pylist() == [1, 4]
    assert found["axes"].to_pylist() == [[1, 2, 3]] * 2
    shuffled = images(*series[::-1])
    assert volumes.table(shuffled.take([4, 5, 2, 1, 3, 0])).select(["n_slices"]).num_rows == 2


@pytest.mark.parametrize("left_out", [[0], [2], [1, 2]])
def test_parts_of_a_series_are_refused(left_out):
    table = images(rows_of("a", 4), rows_of("b", 2, row=4))
    kept = [k for k in range(6) if k not in left_out]
    with pytest.raises(DataError, match="slices of series a are missing"):
        volumes.table(table.take(kept))


@pytest.mark.parametrize("column", ["rows", "slope", "shard"])
def test_slices_that_differ_are_refused(column):
    rows = rows_of("a", 3)
    rows[2][column] = 3
    with pytest.raises(DataError, match="do not belong together"):
        volumes.table(images(rows))


@pytest.mark.parametrize("series", [[], [rows_of("a", 1), rows_of("b", 1, row=1)]])
def test_an_archive_without_volumes_is_refused(series):
    with pytest.raises(DataError, match="no series has 2 slices or more"):
        volumes.table(images(*series))


@pytest.mark.parametrize(("order", "signs"), EVERY_ORIENTATION)
def test_volumes_lie_alike_whatever_way_they_were_scanned(tmp_path, order, signs):
    """Voxels hold where they are in the patient, in tenths of a mm; the scan is a little oblique.

    ``order`` and ``signs`` say which patient axis stored slices, rows and columns run along.
    """
    stored, steps = (5, 6, 7), np.array([3.0, 1.0, 2.0])  # mm between slices, rows, columns
    tilt = 0.2 * np.array([[0, 1, 0], [-1, 0, 1], [0, -1, 0]])
    axes = (np.eye(3) + tilt)[list(order)] * np.array(signs)[:, None]  # of each stored axis, RAS+
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True) * steps[:, None]
    index = np.stack(np.meshgrid(*map(np.arange, stored), indexing="ij"), axis=-1)
    where = index @ axes + [-30.0, 12.0, 5.0]  # (slices, rows, columns, 3)
    padded = np.full((5, 3, 8, 8), 9999, np.int16)
    padded[:, :, :6, :7] = np.rint(10 * np.moveaxis(where, 3, 1))
    write(tmp_path, 0, padded)
    affine = np.column_stack([axes[2], axes[1], axes[0], where[0, 0, 0]]).ravel().tolist()
    facts = {"rows": 6, "columns": 7, "affine": affine, "spacing": [1.0, 2.0, 3.0]}
    batch = store_of(tmp_path, rows_of("a", 5, **facts)).gather(np.array([0]))
    right, front, head = batch["image"][0]
    assert (head.diff(dim=0) > 0).all()  # slices ascend
    assert (front.diff(dim=1) < 0).all()  # rows go to the back
    assert (right.diff(dim=2) < 0).all()  # columns go to the patient's left
    sides = [order.index(axis) for axis in (2, 1, 0)]  # the stored axes along head, front, right
    assert batch["extent"].tolist() == [[stored[k] for k in sides]]
    assert batch["spacing"].tolist() == [[steps[k] for k in sides]]
    between = torch.stack([x[1:, 0, 0] - x[:-1, 0, 0] for x in (right, front, head)])
    assert between.norm(dim=0) / 10 == pytest.approx([steps[sides[0]]] * len(between[0]), abs=0.2)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ([0.5, 0.5, 5.0], [5.0, 0.5, 0.5]),
        ([0.5, 0.6, None], [0.5, 0.5, 0.6]),
        (None, [1.0, 1.0, 1.0]),
    ],
)
def test_what_is_not_known_of_the_spacing_is_taken_to_be_even(tmp_path, spacing, expected):
    write(tmp_path, 0, np.zeros((3, 1, 4, 4), np.int16))
    batch = store_of(tmp_path, rows_of("a", 3, spacing=spacing)).gather(np.array([0]))
    assert batch["spacing"].tolist()[0] == pytest.approx(expected)


def test_thick_slices_are_not_averaged(tmp_path):
    """128 x 128 x 12 mm in voxels of 1 x 1 x 4 mm, for views of 3 x 32 x 32 voxels."""
    rng = np.random.default_rng(0)
    stored = rng.integers(-1000, 1000, (3, 1, 128, 128)).astype(np.int16)
    write(tmp_path, 0, stored)
    facts = {"rows": 128, "columns": 128, "spacing": [1.0, 1.0, 4.0]}
    store = store_of(tmp_path, rows_of("a", 3, **facts))
    batch = store.gather(np.array([0]), shape=(3, 32, 32))  # voxels of a view: 4 mm
    assert batch["image"].shape == (1, 1, 3, 32, 32)
    assert batch["spacing"].tolist() == [[4, 4, 4]]
    block = stored[1, 0, 4:8, 8:12].mean()
    assert batch["image"][0, 0, 1, 1, 2].item() == pytest.approx(block, abs=1e-3)
    small = store.gather(np.array([0]), shape=(3, 32, 32), smallest_crop=0.125)  # 2 mm
    assert small["spacing"].tolist() == [[4, 2, 2]]
    assert small["image"].shape == (1, 1, 3, 64, 64)


def test_a_volume_thinner_than_a_block_is_averaged_as_a_whole(tmp_path):
    stored = np.arange(2 * 64 * 64).reshape(2, 1, 64, 64).astype(np.int16)
    write(tmp_path, 0, stored)
    store = store_of(tmp_path, rows_of("a", 2, rows=64, columns=64))
    batch = store.gather(np.array([0]), shape=(4, 4, 4))  # voxels of a view: 5 mm
    assert batch["extent"].tolist() == [[1, 12, 12]]
    assert batch["spacing"].tolist() == [[2, 5, 5]]
    assert batch["image"][0, 0, 0, 0, 0].item() == pytest.approx(stored[:, 0, :5, :5].mean())


def test_what_a_volume_becomes_does_not_depend_on_its_neighbours(tmp_path):
    rng = np.random.default_rng(0)
    write(tmp_path, 0, rng.integers(0, 1000, (40, 1, 64, 64)).astype(np.int16))
    write(tmp_path, 1, rng.integers(0, 1000, (6, 1, 16, 24)).astype(np.int16))
    even = {"spacing": [1.0, 1.0, 1.0]}
    store = store_of(
        tmp_path,
        rows_of("large", 40, rows=64, columns=64, **even),
        rows_of("small", 6, shard=1, rows=16, columns=24, **even),
    )
    both = store.gather(np.array([0, 1]), shape=(8, 16, 16))
    alone = store.gather(np.array([1]), shape=(8, 16, 16))
    extent = alone["extent"][0].int().tolist()
    assert both["extent"][1].int().tolist() == extent
    inside = (1, slice(None), *map(slice, extent))
    assert torch.equal(both["image"][inside], alone["image"][0])
    assert not torch.equal(both["extent"][0], both["extent"][1])


def test_depth_is_known_as_a_share_of_the_width(tmp_path):
    write(tmp_path, 0, np.zeros((24, 1, 4, 4), np.int16))
    flat, deep = [1.0, 1.0, 0.5], [2.0, 1.0, 4.0]
    store = store_of(
        tmp_path,
        rows_of("a", 8, spacing=flat),  # 4 mm of 4
        rows_of("b", 4, row=8, spacing=deep),  # 16 mm of 8
        rows_of("c", 4, row=12, spacing=flat),  # 2 mm of 4
    )
    assert store.depth_share == pytest.approx(1.0)


@pytest.mark.slow
def test_it_reads_what_ingest_wrote(ingested):
    folder, table = ingested
    found = volumes.table(table)
    batch = VolumeStore(folder, found).gather(np.arange(len(found)))
    for volume, extent, series in zip(
        batch["image"], batch["extent"].int().tolist(), found.to_pylist(), strict=True
    ):
        here = pa.compute.equal(table["series_key"], series["series_key"])
        stored = sorted(
            float(np.sum(pixels.read(folder, row["shard"])[row["row"]][:, :r, :c], dtype=float))
            for row in table.filter(here).to_pylist()
            for r, c in [(row["rows"], row["columns"])]
        )
        assert np.prod(extent) == len(stored) * series["rows"] * series["columns"]
        assert volume.double().sum().item() == pytest.approx(sum(stored), rel=1e-6)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """Phantoms of CT and MR, ingested."""
    from medssl.config.ingest import IngestSettings
    from medssl.foundation.reporting import Silent
    from medssl.ingestion import phantoms
    from medssl.stages import ingest

    root = tmp_path_factory.mktemp("volumes")
    scans = phantoms.generate(root / "in", n_patients=2, image_size=16, ct_slices=6, rejects=False)
    ingest.run(IngestSettings(sources=(scans.out,)), root / "archive", Silent())
    return root / "archive", archive.read_images(root / "archive")
