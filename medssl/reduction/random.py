"""Random subset: the control every reduction has to beat.

Each image draws a number from its id and the seed; images are interchangeable, and of two the one
with the larger draw goes. So a threshold of 0.3 keeps about 30 % of a scope, and at least one
image. The representative it names says nothing about likeness.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.reduction._contract import Needs

THRESHOLD = 0.5
SAME = None
OWN_ORDER = True
VECTORS = False
PAIR_NS = 2
STEP = 0.0
ERROR = 0.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the draws depend on besides the image ids."""

    seed: int = 0


def needs(config: Config) -> Needs:
    """Return that ids are needed."""
    del config
    return "ids"


def describe(source: Iterable[str], config: Config) -> NDArray[np.float64]:
    """Return one uniform draw per image, shape (N, 1); see `_contract.py`."""
    digests = (
        hashlib.sha256(f"{config.seed}\0{image_id}".encode()).digest() for image_id in source
    )
    draws = [int.from_bytes(digest[:6], "big") / 2**48 for digest in digests]
    return np.array(draws, dtype=np.float64).reshape(-1, 1)


def similarity(
    a: NDArray[Any], b: NDArray[Any], config: Config, device: str = "cpu"
) -> NDArray[np.float64]:
    """Return the larger of the two draws, shape (n, m)."""
    del config, device
    return np.asarray(np.maximum(a[:, None, 0], b[None, :, 0]), dtype=np.float64)


def exact(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return the same for pairs, shape (n,)."""
    del config
    return np.asarray(np.maximum(a[:, 0], b[:, 0]), dtype=np.float64)


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return the draws: the smallest comes first."""
    del config
    return np.asarray(descriptors[:, 0], dtype=np.float64)


def is_blank(descriptors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return that none is known to be: pixels are not looked at."""
    return np.zeros(len(descriptors), dtype=bool)


def pair_bytes(descriptors: NDArray[Any]) -> int:
    """Return the bytes of the result."""
    del descriptors
    return 8
