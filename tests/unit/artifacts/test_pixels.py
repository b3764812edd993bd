"""Pixel shards read back bit for bit, by memory map, and damage is named."""

import tempfile
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medssl.artifacts import pixels
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError, ResourceError

stacks = st.sampled_from([np.uint8, np.uint16, np.int16]).flatmap(
    lambda dtype: arrays.arrays(
        dtype, arrays.array_shapes(min_dims=4, max_dims=4, max_side=4), fill=st.nothing()
    )
)


@given(stack=stacks)
def test_what_is_written_is_read(stack):
    with tempfile.TemporaryDirectory() as name:
        pixels.write(Path(name), 7, iter(stack))
        found = pixels.read(Path(name), 7)
        assert found.dtype == stack.dtype
        assert np.array_equal(found, stack)
        del found


def test_a_shard_is_a_plain_npy_file_mapped_read_only(tmp_path):
    stack = np.arange(24, dtype=np.int16).reshape(2, 1, 3, 4)
    pixels.write(tmp_path, 0, stack)
    assert (tmp_path / "pixels" / "00000.npy").is_file()
    assert np.array_equal(np.load(tmp_path / "pixels" / "00000.npy"), stack)
    found = pixels.read(tmp_path, 0)
    assert isinstance(found, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_images_are_written_as_they_come_and_not_kept(tmp_path):
    made = []

    def images():
        for n in range(5):
            image = np.full((1, 2, 2), n, np.uint8)
            made.append(weakref.ref(image))
            yield image
            del image
            assert [one() for one in made[:-1]] == [None] * n  # all but the last

    pixels.write(tmp_path, 0, images())
    assert pixels.read(tmp_path, 0)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 9, 10, 12_345])
def test_a_shard_is_what_numpy_saves_whatever_their_number(tmp_path, count):
    stack = np.arange(count, dtype=np.uint16)[:, None, None, None]
    np.save(tmp_path / "stack.npy", stack)
    pixels.write(tmp_path, 0, iter(stack))
    saved = (tmp_path / "stack.npy").read_bytes()
    assert pixels.shard_path(tmp_path, 0).read_bytes() == saved


@pytest.mark.parametrize(
    "images",
    [
        [np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.uint8)],
        [np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2), np.int8)],
        [],
    ],
)
def test_images_that_make_no_shard_are_our_mistake_and_leave_none(tmp_path, images):
    with pytest.raises(AssertionError, match=r"must be alike|a shard holds images"):
        pixels.write(tmp_path, 0, iter(images))
    assert list((tmp_path / "pixels").iterdir()) == []


def test_an_absent_shard_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such pixel shard") as caught:
        pixels.read(tmp_path, 3)
    assert caught.value.where.endswith("00003.npy")


@pytest.mark.parametrize("keep", [0, 5, 40, 200])
def test_a_damaged_shard_is_refused(tmp_path, keep):
    pixels.write(tmp_path, 0, np.zeros((2, 1, 32, 32), np.uint16))
    path = pixels.shard_path(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="the pixel shard is damaged"):
        pixels.read(tmp_path, 0)


def test_a_pickle_in_place_of_a_shard_is_not_opened(tmp_path):
    (tmp_path / "pixels").mkdir()
    np.save(pixels.shard_path(tmp_path, 0), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="the pixel shard is damaged"):
        pixels.read(tmp_path, 0)


def test_a_full_disk_leaves_no_half_shard(tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        pixels.write(tmp_path, 0, np.zeros((1, 1, 2, 2), np.uint8))
    assert not list((tmp_path / "pixels").glob(f"*{files.TEMP_PREFIX}*"))
    assert not pixels.shard_path(tmp_path, 0).exists()
