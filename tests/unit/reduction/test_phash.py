"""pHash against the cosine transform written out, and against ImageHash."""

import imagehash
import numpy as np
import pytest
from PIL import Image

from medssl.data.shown import Shown
from medssl.reduction import phash


def scene(seed, side=96):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (7, 7)).astype(np.uint8))
    return np.asarray(small.resize((side, side + 20), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("bits", "side"), [(64, 8), (256, 16)])
def test_the_bits_are_those_of_imagehash(bits, side):
    images = [scene(seed) for seed in range(12)]
    found = phash.describe([Shown(i) for i in images], phash.Config(bits=bits))
    for image, words in zip(images, found[:, :-1], strict=True):
        theirs = imagehash.phash(Image.fromarray(image), side).hash
        assert words.astype(">u8").tobytes() == np.packbits(theirs).tobytes()


def test_the_bits_are_signs_of_low_frequencies():
    image = scene(3)
    small = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.LANCZOS))
    place = (np.arange(32) + 0.5) * np.pi / 32
    waves = np.cos(np.arange(8)[:, None] * place)  # (8, 32)
    low = waves @ small.astype(float) @ waves.T
    expected = np.packbits(low > np.median(low)).tobytes()
    ((word, _),) = phash.describe([Shown(image)], phash.Config())
    assert int(word).to_bytes(8, "big") == expected


def test_distances_are_even_and_gain_is_nothing():
    images = [Shown(scene(seed)) for seed in range(10)]
    config = phash.Config()
    found = phash.describe(images, config)
    distance = (1 - phash.similarity(found, found, config)) * 64
    assert not (distance % 2).any()  # half of the bits of each are set
    faint = phash.describe([Shown(s.image // 2 + 30) for s in images], config)
    assert (phash.exact(found, faint, config) >= phash.THRESHOLD).all()


def test_blank_images_are_alike_and_like_nothing_else():
    rng = np.random.default_rng(0)
    blank = [rng.normal(40, 3, (64, 64)).astype(np.uint8) for _ in range(2)]
    config = phash.Config()
    found = phash.describe([Shown(i) for i in (*blank, scene(0))], config)
    assert phash.similarity(found, found, config).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
