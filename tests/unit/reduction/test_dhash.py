"""dHash against the definition the paper's code used, and what it must not fall for."""

import imagehash
import numpy as np
import pytest
from PIL import Image

from medssl.data.shown import Shown
from medssl.reduction import dhash

PLAIN = dhash.Config(blank_below=0)


def naive_hash(image, side=8):
    """The definition: Lanczos to one column more than rows, a bit where the right is brighter."""
    size = (side + 1, side)
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)).tolist()
    return [small[r][c + 1] > small[r][c] for r in range(side) for c in range(side)]


def volume(n=60, seed=0):
    """A smooth stack: neighbours alike, far slices not."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, size=(n // 10 + 2, 9, 9))
    place = np.linspace(0, len(coarse) - 1.001, n)
    low, part = place.astype(int), (place % 1)[:, None, None]
    blend = coarse[low] * (1 - part) + coarse[low + 1] * part
    return [np.kron(s, np.ones((7, 7))).astype(np.uint8) for s in blend]


def described(images, config=PLAIN):
    return dhash.describe([Shown(image) for image in images], config)


@pytest.mark.parametrize(("bits", "side"), [(64, 8), (256, 16)])
def test_similarity_counts_equal_bits(bits, side):
    images = volume(12)
    config = dhash.Config(bits=bits)
    found = described(images, config)
    hashes = [naive_hash(image, side) for image in images]
    expected = [
        [1 - sum(x != y for x, y in zip(a, b, strict=True)) / bits for b in hashes] for a in hashes
    ]
    assert found.shape == (12, bits // 64 + 1)
    assert np.array_equal(dhash.similarity(found, found, config), expected)


@pytest.mark.parametrize(("bits", "side"), [(64, 8), (256, 16)])
def test_the_bits_are_those_of_imagehash(bits, side):
    images = volume(12)
    words = described(images, dhash.Config(bits=bits))[:, :-1]
    for image, found in zip(images, words, strict=True):
        theirs = imagehash.dhash(Image.fromarray(image), side).hash
        assert found.astype(">u8").tobytes() == np.packbits(theirs).tobytes()


def test_threshold_is_radius_six():
    a = np.array([[0, 0]], dtype=np.uint64)
    near, far = (np.array([[2**k - 1, 0]], dtype=np.uint64) for k in (6, 7))
    assert dhash.similarity(a, near, PLAIN)[0, 0] >= dhash.THRESHOLD
    assert dhash.similarity(a, far, PLAIN)[0, 0] < dhash.THRESHOLD


def test_brightness_and_gain_do_not_change_the_hash():
    image = volume(1)[0] // 3
    a, b = described([image, image * 2 + 20])[:, 0]
    assert int(a ^ b).bit_count() <= 2


def test_blank_images_are_alike_and_like_nothing_else():
    rng = np.random.default_rng(0)
    blank = [rng.normal(40, 3, (64, 64)).clip(0, 255).astype(np.uint8) for _ in range(3)]
    images = [blank[0], volume(1)[0], blank[1], np.full((9, 30), 255, np.uint8)]
    table = dhash.similarity(*[described(images, dhash.Config())] * 2, dhash.Config())
    expected = np.array([[1, 0, 1, 1], [0, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]])
    assert np.array_equal(table, expected)
    plain = described(images)
    assert not plain[:, -1].any()
    assert 0.2 < dhash.similarity(plain, plain, PLAIN)[0, 2] < 0.8  # noise


def test_unrelated_sixteen_bit_images_do_not_collapse(tmp_path):
    """Pillow's own conversion saturates 16 bits: all hashes of such images are one."""
    from medssl.artifacts import archive, pixels, tables
    from medssl.data.shown import ShownImages

    rng = np.random.default_rng(0)
    coarse = rng.integers(2000, 30000, (20, 1, 9, 9)).astype(np.uint16)
    images = np.kron(coarse, np.ones((8, 8), np.uint16))
    pixels.write(tmp_path, 0, images)
    facts = {"shard": 0, "rows": 72, "columns": 72, "slope": 1.0, "intercept": 0.0}
    rows = tables.build([{**facts, "row": k} for k in range(20)], archive.IMAGES)
    found = dhash.describe(ShownImages(tmp_path, rows, (0, 1)).of(range(20)), dhash.Config())
    table = dhash.similarity(found, found, dhash.Config())[np.triu_indices(20, 1)]
    assert not found[:, -1].any()
    assert table.max() < dhash.THRESHOLD
    assert 0.4 < np.median(table) < 0.6
    saturated = [np.asarray(Image.fromarray(i[0].clip(0, 255).astype(np.uint8))) for i in images]
    assert len(np.unique(described(saturated), axis=0)) == 1
