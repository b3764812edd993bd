"""Perceptual hashes: bits packed into words of 64, and how many of them two images share.

A descriptor is the words of the hash and one more that is 1 for a blank image. A blank image has
no gradient but its noise, so its bits are noise too: two blanks count as alike whatever their
bits, a blank and another image as unlike.
"""

import numpy as np
import torch
from numpy.typing import NDArray

WORD = 64  # bits
_SCRATCH = 2**16  # words: half a MiB, which stays in the cache (0.7 ns a pair instead of 3.6)
_COLUMNS = 2**12  # images beside each other in the scratch


def pack(bits: NDArray[np.bool_], *, is_blank: bool) -> NDArray[np.uint64]:
    """Return the descriptor of one image from its bits, row by row, the first bit highest."""
    words = np.frombuffer(np.packbits(bits).tobytes(), dtype=">u8")
    return np.append(words.astype(np.uint64), np.uint64(is_blank))


def stack(descriptors: list[NDArray[np.uint64]], bits: int) -> NDArray[np.uint64]:
    """Return descriptors of hashes of ``bits`` bits as one array, also where there are none."""
    return np.array(descriptors, dtype=np.uint64).reshape(-1, bits // WORD + 1)


def similarity(
    a: NDArray[np.uint64], b: NDArray[np.uint64], device: str = "cpu"
) -> NDArray[np.float32]:
    """Return 1 - Hamming distance / bits, shape (n, m), without rounding.

    Args:
        a: Descriptors, shape (n, F).
        b: Descriptors, shape (m, F).
        device: Where to compute.
    """
    shared = _by_counting(a, b) if device == "cpu" else by_product(a, b, device)
    blank_a, blank_b = a[:, -1] == 1, b[:, -1] == 1
    if blank_a.any() or blank_b.any():
        shared[blank_a] = blank_b
        shared[:, blank_b] = blank_a[:, None]
    return shared


def is_blank(descriptors: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which descriptors are of blank images, shape (N,)."""
    return np.asarray(descriptors[:, -1] == 1)


def exact(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the similarities (n,) of pairs of descriptors (n, F) and (n, F)."""
    bits = WORD * (a.shape[1] - 1)
    distance = np.bitwise_count(a[:, :-1] ^ b[:, :-1]).sum(axis=1, dtype=np.int64)
    blank = (a[:, -1] + b[:, -1]).astype(np.int64)  # of the two
    return np.choose(blank, [1 - distance / bits, 0.0, 1.0])


def by_product(a: NDArray[np.uint64], b: NDArray[np.uint64], device: str) -> NDArray[np.float32]:
    """Return the share of equal bits, shape (n, m), by one matrix product of signs.

    The product counts equal less unequal bits: integers below 2^9, which no format rounds.
    """
    bits = WORD * (a.shape[1] - 1)
    left, right = (
        torch.from_numpy(np.unpackbits(words[:, :-1].copy().view(np.uint8), axis=1))
        .to(device)
        .float()
        .mul_(2)
        .sub_(1)
        for words in (a, b)
    )
    shared = (left @ right.T).mul_(0.5 / bits).add_(0.5)
    return np.asarray(shared.cpu().numpy())


def _by_counting(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return the share of equal bits, shape (n, m), by XOR and population count."""
    words = a.shape[1] - 1
    left, right = (np.ascontiguousarray(d[:, :words].T) for d in (a, b))  # (words, n or m)
    shared = np.empty((len(a), len(b)), dtype=np.float32)
    wide = max(1, min(len(b), _COLUMNS))
    tall = max(1, min(len(a), _SCRATCH // wide))
    differing = np.empty((tall, wide), dtype=np.uint64)
    counts = np.empty((tall, wide), dtype=np.uint8)
    step = np.float32(-1 / (WORD * words))
    for row in range(0, len(a), tall):
        for column in range(0, len(b), wide):
            tile = shared[row : row + tall, column : column + wide]
            xor, count = (
                scratch[: tile.shape[0], : tile.shape[1]] for scratch in (differing, counts)
            )
            for word in range(words):
                np.bitwise_xor(
                    left[word, row : row + tall, None],
                    right[word, None, column : column + wide],
                    out=xor,
                )
                np.bitwise_count(xor, out=count)
                if word:
                    tile += count
                else:
                    tile[...] = count
            tile *= step
            tile += 1
    return shared
