"""Difference hash, the metric of "Less is More" (Wolf et al., 2024, arXiv:2410.14524).

64 bits as in that paper: the image is shrunk to 9 x 8 and a bit says whether the right neighbour
is brighter. Similarity is 1 - Hamming distance / 64, so its radius 6 is a threshold of 0.90625.
Hashes are blind to small lesions: reduce what is pretrained on, not what is labelled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THRESHOLD = 1 - 6 / 64
NEEDS_PIXELS = True
BITS = 64
_SIDE = 8


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no options yet."""


def describe(
    images: Iterable[NDArray[np.uint8]], ids: Sequence[str], config: Config
) -> NDArray[np.uint64]:
    """Return hashes, shape (N, 1); see `_contract.py`."""
    del ids, config
    hashes = [_hash(image) for image in images]
    return np.array(hashes, dtype=np.uint64).reshape(-1, 1)


def similarity(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return 1 - Hamming distance / 64, shape (n, m)."""
    del config
    distance = np.bitwise_count(a[:, None, 0] ^ b[None, :, 0])  # (n, m)
    return np.asarray(1.0 - distance / BITS, dtype=np.float64)


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return zeros: images are walked in archive order, as in the paper."""
    del config
    return np.zeros(len(descriptors))


def _hash(image: NDArray[np.uint8]) -> int:
    small = Image.fromarray(image).resize((_SIDE + 1, _SIDE), Image.Resampling.LANCZOS)
    grey = np.asarray(small)  # (8, 9)
    bits = grey[:, 1:] > grey[:, :-1]  # (8, 8)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
