"""Information filter: images of low entropy go (Shannon, 1948), such as slices of air.

H = -sum p log2 p over 64 bins of grey inside the body, 0 to 6 bits. It compares no two images, so
it is put as a similarity that makes thinning filter: images are walked from the most informative
on, and two are 1 - min(H) / 6 similar. At a threshold t an image goes where H <= (1 - t) * 6 bits,
and the most informative image of a scope always stays: it is the one named as the representative,
which says nothing about likeness. The default of 1.5 bits takes CT slices of air, and of air and
the table, and no slice of a body we measured (1.8 bits and more).

Noise is information to it: an empty MR slice, stretched to all its grey levels, stays. So it is
best followed by another strategy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.data.shown import Shown
from medssl.reduction._contract import Needs

THRESHOLD = 0.75
SAME = None
OWN_ORDER = True
VECTORS = False
PAIR_NS = 1
STEP = 0.0
ERROR = 0.0
_BITS = 6  # of the bin number; the most an image can have
_SHIFT = 8 - _BITS


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no options."""


def needs(config: Config) -> Needs:
    """Return that pixels are needed."""
    del config
    return "pixels"


def describe(source: Iterable[Shown], config: Config) -> NDArray[np.float64]:
    """Return entropies in bits, shape (N, 1); see `_contract.py`."""
    del config
    return np.array([_entropy(shown) for shown in source], dtype=np.float64).reshape(-1, 1)


def similarity(
    a: NDArray[Any], b: NDArray[Any], config: Config, device: str = "cpu"
) -> NDArray[np.float64]:
    """Return 1 - the smaller entropy / 6, shape (n, m)."""
    del config, device
    return _poverty(np.minimum(a[:, None, 0], b[None, :, 0]))


def exact(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return the same for pairs, shape (n,)."""
    del config
    return _poverty(np.minimum(a[:, 0], b[:, 0]))


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return minus the entropy: the most informative image comes first."""
    del config
    return -np.asarray(descriptors[:, 0], dtype=np.float64)


def is_blank(descriptors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return that none is: how much an image holds is its similarity."""
    return np.zeros(len(descriptors), dtype=bool)


def pair_bytes(descriptors: NDArray[Any]) -> int:
    """Return the bytes of the result."""
    del descriptors
    return 8


def _entropy(shown: Shown) -> float:
    seen = shown.image if shown.body is None else shown.image[shown.body]
    counts = np.bincount((seen >> _SHIFT).ravel(), minlength=2**_BITS)
    share = counts[counts > 0] / seen.size
    return float(np.clip(-(share * np.log2(share)).sum(), 0, _BITS))


def _poverty(bits: NDArray[np.float64]) -> NDArray[np.float64]:
    bits /= -_BITS
    bits += 1
    return bits
