"""Exact copies: images with the same SHA-256 of their pixels.

Similarity is 1 for equal digests and 0 for all others, so any threshold above 0 means the same.
A copy that was cropped, turned, windowed or compressed again is another image here; `dhash` or
`embedding` find those.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.reduction._contract import Needs

THRESHOLD = 1.0
SAME = 1.0
OWN_ORDER = False
VECTORS = False
PAIR_NS = 1
STEP = 1.0
ERROR = 0.0
_WORDS = 4  # of 64 bits


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no options."""


def needs(config: Config) -> Needs:
    """Return that digests are needed."""
    del config
    return "digests"


def describe(source: Iterable[str], config: Config) -> NDArray[np.uint64]:
    """Return the digests as numbers, shape (N, 4); see `_contract.py`."""
    del config
    digests = b"".join(bytes.fromhex(digest) for digest in source)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, _WORDS)


def similarity(
    a: NDArray[Any], b: NDArray[Any], config: Config, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return 1 where digests are equal and 0 elsewhere, shape (n, m)."""
    del config, device
    is_same = a[:, None, 0] == b[None, :, 0]  # all but decides already
    for word in range(1, _WORDS):
        if not is_same.any():
            break
        is_same &= a[:, None, word] == b[None, :, word]
    return np.asarray(is_same, dtype=np.float32)


def exact(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return the same for pairs, shape (n,)."""
    del config
    return np.asarray((a == b).all(axis=1), dtype=np.float64)


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return zeros: the first of several copies stays."""
    del config
    return np.zeros(len(descriptors))


def is_blank(descriptors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return that none is known to be: pixels are not looked at."""
    return np.zeros(len(descriptors), dtype=bool)


def pair_bytes(descriptors: NDArray[Any]) -> int:
    """Return the bytes of the result and of two comparisons."""
    del descriptors
    return 6
