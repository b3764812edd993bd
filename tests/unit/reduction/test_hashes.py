"""Hamming distances, counted in tiles and by product, against counting bit by bit."""

import numpy as np
import pytest

from medssl.reduction import _hashes


def words(n, words, seed=0, blank=0.0):
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 2**64, (n, words + 1), dtype=np.uint64)
    found[:, -1] = rng.random(n) < blank
    return found


def naive(a, b):
    result = np.empty((len(a), len(b)))
    for i, x in enumerate(a.tolist()):
        for j, y in enumerate(b.tolist()):
            distance = sum((p ^ q).bit_count() for p, q in zip(x[:-1], y[:-1], strict=True))
            result[i, j] = 1 - distance / (64 * (len(x) - 1))
            if x[-1] or y[-1]:
                result[i, j] = x[-1] and y[-1]
    return result


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("blank", [0.0, 0.3, 1.0])
def test_tables_count_bits(size, blank):
    a, b = words(40, size, 1, blank), words(70, size, 2, blank)
    b[:5] = a[:5]
    expected = naive(a, b)
    found = _hashes.similarity(a, b)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert np.array_equal(_hashes.similarity(b, a), expected.T)
    assert np.array_equal(_hashes.exact(a, b[:40]), np.diag(expected))


@pytest.mark.parametrize("size", [1, 4])
def test_a_matrix_product_counts_the_same(size):
    a, b = words(30, size, 3), words(20, size, 4)
    assert np.array_equal(_hashes.by_product(a, b, "cpu"), naive(a, b))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (5, 9000), (300, 300)])
def test_tiles_cover_every_shape(shape):
    a, b = words(shape[0], 1, 5), words(shape[1], 1, 6)
    found = _hashes.similarity(a, b)
    assert found.shape == shape
    expected = 1 - np.bitwise_count(a[:, None, 0] ^ b[None, :, 0]) / 64
    assert np.array_equal(found, expected)


def test_extremes_do_not_overflow():
    none, every = np.zeros((1, 5), np.uint64), np.full((1, 5), 2**64 - 1, np.uint64)
    every[:, -1] = 0
    assert _hashes.similarity(none, every)[0, 0] == _hashes.exact(none, every)[0] == 0
    assert _hashes.by_product(none, every, "cpu")[0, 0] == 0


def test_the_first_bit_is_the_highest():
    bits = np.zeros((8, 8), bool)
    bits[0, 0] = bits[7, 7] = True
    assert _hashes.pack(bits, is_blank=True).tolist() == [2**63 + 1, 1]
    assert _hashes.stack([], 256).shape == (0, 5)


@pytest.mark.gpu
def test_a_gpu_counts_the_same():
    a, b = words(300, 4, 7, 0.1), words(200, 4, 8, 0.1)
    assert np.array_equal(_hashes.similarity(a, b, "cuda"), _hashes.similarity(a, b))
