"""Gathering: the right pixels with the right facts, whatever the shards look like."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.artifacts import archive, pixels, tables
from medssl.data.store import ImageStore, averaged
from medssl.foundation.errors import ArtifactError


@pytest.fixture(scope="module")
def store(tiny_archive):
    return ImageStore(tiny_archive, archive.read_images(tiny_archive))


def test_it_gathers_across_shards_in_the_order_asked_for(store, tiny_archive):
    batch = store.gather(np.array([20, 3, 16]))
    shards = [pixels.read(tiny_archive, s) for s in (0, 1)]
    assert np.array_equal(batch["image"][0].numpy(), shards[1][4].astype(np.float32))
    assert np.array_equal(batch["image"][1].numpy(), shards[0][3].astype(np.float32))
    assert batch["hu"].tolist() == [True, False, True]
    assert batch["extent"].tolist() == [[48, 40], [48, 48], [48, 40]]


def test_it_knows_its_size(store):
    assert (len(store), store.channels, store.side) == (24, 1, 48)


def test_shapes_may_differ_between_shards(tmp_path):
    (tmp_path / "pixels").mkdir()
    small, large = np.full((1, 1, 4, 6), 5, np.uint8), np.full((1, 1, 9, 3), 7, np.int16)
    pixels.write(tmp_path, 0, small)
    pixels.write(tmp_path, 1, large)
    rows = [
        {"shard": 0, "row": 0, "rows": 4, "columns": 6, "slope": 1.0, "intercept": 0.0},
        {"shard": 1, "row": 0, "rows": 9, "columns": 3, "slope": 1.0, "intercept": 0.0},
    ]
    store = ImageStore(tmp_path, tables.build(rows, archive.IMAGES))
    batch = store.gather(np.array([0, 1]))
    assert batch["image"].shape == (2, 1, 9, 6)
    assert batch["image"][0].sum() == 5 * 24
    assert batch["image"][1].sum() == 7 * 27


def test_a_missing_shard_is_an_error_that_names_it(tmp_path):
    row = {"shard": 3, "row": 0, "rows": 1, "columns": 1, "slope": 1.0, "intercept": 0.0}
    with pytest.raises(ArtifactError, match="no such pixel shard"):
        ImageStore(tmp_path, tables.build([row], archive.IMAGES))


def test_shrinking_averages_whole_blocks_and_counts_whole_cells(tmp_path):
    image = np.arange(20 * 20).reshape(1, 1, 20, 20).astype(np.int16)
    image[..., 15:] = 9999  # padding
    pixels.write(tmp_path, 0, image)
    row = {"shard": 0, "row": 0, "rows": 20, "columns": 15, "slope": 1.0, "intercept": 0.0}
    store = ImageStore(tmp_path, tables.build([row], archive.IMAGES))
    batch = store.gather(np.array([0]), shape=(4, 4))  # sqrt(20 * 15) / 4 = 4.3 stored px each
    assert batch["extent"].tolist() == [[5, 3]]
    seen = batch["image"][0, 0, :5, :3].numpy()
    expected = [[image[0, 0, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].mean() for c in range(3)]
                for r in range(5)]  # fmt: skip
    assert np.array_equal(seen, expected)


def test_what_an_image_becomes_does_not_depend_on_its_neighbours(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 1000, (1, 1, 64, 48)).astype(np.int16)
    large = rng.integers(0, 1000, (1, 1, 512, 512)).astype(np.int16)
    pixels.write(tmp_path, 0, small)
    pixels.write(tmp_path, 1, large)
    same = {"row": 0, "slope": 1.0, "intercept": 0.0}
    rows = [
        {**same, "shard": 0, "rows": 64, "columns": 48},
        {**same, "shard": 1, "rows": 512, "columns": 512},
    ]
    together = ImageStore(tmp_path, tables.build(rows, archive.IMAGES))
    alone = ImageStore(tmp_path, tables.build(rows[:1], archive.IMAGES))
    beside = together.gather(np.array([0, 1]), shape=(32, 32))
    by_itself = alone.gather(np.array([0]), shape=(32, 32))
    assert torch.equal(beside["extent"][0], by_itself["extent"][0])
    height, width = by_itself["image"].shape[2:]
    assert torch.equal(beside["image"][0, :, :height, :width], by_itself["image"][0])


def test_the_smallest_crop_still_has_enough_pixels(tmp_path):
    pixels.write(tmp_path, 0, np.zeros((1, 1, 256, 256), np.uint8))
    row = {"shard": 0, "row": 0, "rows": 256, "columns": 256, "slope": 1.0, "intercept": 0.0}
    store = ImageStore(tmp_path, tables.build([row], archive.IMAGES))
    for size, crop, side in ((64, 1.0, 64), (64, 0.5, 128), (224, 0.5, 256), (400, 1.0, 256)):
        batch = store.gather(np.array([0]), shape=(size, size), smallest_crop=crop)
        assert batch["image"].shape[2] == side
        assert side * crop**0.5 >= min(size, 256 * crop**0.5)


@settings(max_examples=40)
@given(data=st.data(), dims=st.integers(2, 3), dtype=st.sampled_from(["uint8", "int16", "float32"]))
def test_block_means_are_those_of_the_blocks(data, dims, dtype):
    spatial = data.draw(st.tuples(*[st.integers(1, 7)] * dims))
    factors = data.draw(st.tuples(*[st.integers(1, 9)] * dims))
    images = np.random.default_rng(0).integers(0, 100, (2, 3, *spatial)).astype(dtype)
    before = images.copy()
    steps = [min(side, factor) for side, factor in zip(spatial, factors, strict=True)]
    cells = [side // step for side, step in zip(spatial, steps, strict=True)]
    found = averaged(images, factors)
    assert found.shape == (2, 3, *cells)
    assert found.dtype == np.float32
    for cell in np.ndindex(*cells):
        block = tuple(slice(k * step, k * step + step) for k, step in zip(cell, steps, strict=True))
        means = images[(..., *block)].astype(float).mean(axis=tuple(range(2, 2 + dims)))
        assert np.allclose(found[(..., *cell)], means, rtol=1e-6)
    assert np.array_equal(images, before)  # the store is not written to


def test_wide_views_keep_the_pixels_of_as_many_squares(tmp_path):
    pixels.write(tmp_path, 0, np.zeros((1, 1, 256, 256), np.uint8))
    row = {"shard": 0, "row": 0, "rows": 256, "columns": 256, "slope": 1.0, "intercept": 0.0}
    store = ImageStore(tmp_path, tables.build([row], archive.IMAGES))
    wide, square = (store.gather(np.array([0]), shape=s)["image"] for s in ((32, 128), (64, 64)))
    assert wide.shape == square.shape == (1, 1, 64, 64)
