"""dHash against the definition the paper's code used, and what it must not fall for."""

import numpy as np
from PIL import Image

from medssl.reduction import _leader, dhash


def naive_hash(image):
    """The definition: 9 x 8 Lanczos, a bit where the right neighbour is brighter."""
    small = np.asarray(Image.fromarray(image).resize((9, 8), Image.Resampling.LANCZOS)).tolist()
    return [small[r][c + 1] > small[r][c] for r in range(8) for c in range(8)]


def naive_hash6(images):
    """The paper's loop: keep the first that is left, delete all within distance 6, repeat."""
    hashes = [naive_hash(image) for image in images]
    left, kept = list(range(len(images))), []
    while left:
        kept.append(left[0])
        distance = {i: sum(a != b for a, b in zip(hashes[i], hashes[kept[-1]], strict=True))
                    for i in left}  # fmt: skip
        left = [i for i in left if distance[i] > 6]
    return kept


def volume(n=60, seed=0):
    """A smooth stack: neighbours alike, far slices not."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, size=(n // 10 + 2, 9, 9))
    place = np.linspace(0, len(coarse) - 1.001, n)
    low, part = place.astype(int), (place % 1)[:, None, None]
    blend = coarse[low] * (1 - part) + coarse[low + 1] * part
    return [np.kron(s, np.ones((7, 7))).astype(np.uint8) for s in blend]


def test_similarity_counts_equal_bits():
    images = volume(12)
    config = dhash.Config()
    described = dhash.describe(images, [""] * 12, config)
    found = dhash.similarity(described, described, config)
    bits = [naive_hash(image) for image in images]
    expected = [
        [1 - sum(x != y for x, y in zip(a, b, strict=True)) / 64 for b in bits] for a in bits
    ]
    assert np.array_equal(found, expected)


def test_hash6_equals_the_naive_definition():
    images = volume()
    described = dhash.describe(images, [""] * len(images), dhash.Config())
    thinned = _leader.select(dhash, described, dhash.THRESHOLD, dhash.Config())
    assert thinned.kept.tolist() == naive_hash6(images)
    assert 1 < len(thinned.kept) < len(images)


def test_threshold_is_radius_six():
    a = np.array([[0]], dtype=np.uint64)
    near, far = (np.array([[2**k - 1]], dtype=np.uint64) for k in (6, 7))
    assert dhash.similarity(a, near, dhash.Config())[0, 0] >= dhash.THRESHOLD
    assert dhash.similarity(a, far, dhash.Config())[0, 0] < dhash.THRESHOLD


def test_brightness_and_gain_do_not_change_the_hash():
    image = volume(1)[0] // 3
    other = image * 2 + 20
    a, b = dhash.describe([image, other], ["a", "b"], dhash.Config())[:, 0]
    assert int(a ^ b).bit_count() <= 2
