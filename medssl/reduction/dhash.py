"""Difference hash, the metric of "Less is More" (Wolf et al., 2024, arXiv:2410.14524).

The image is shrunk to 9 x 8 and each of 64 bits says whether the right neighbour is brighter; 256
bits come from 17 x 16. Similarity is 1 - Hamming distance / bits, so the paper's radius 6 is a
threshold of 0.90625: at most 6 of 64 bits differ.

Blank images, the 8 x 8 block means of which have a standard deviation below `blank_below` grey
levels, are alike among themselves only; with 0 their noise is hashed like an
image, as in the paper. Hashes are blind to small lesions: reduce what is pretrained on, not what is
labelled. Across patients 64 bits say little: chest radiographs of two children may share them all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from medssl.data.shown import Shown, contrast
from medssl.reduction import _hashes
from medssl.reduction._contract import Needs

THRESHOLD = 1 - 6 / 64
SAME = 1 - 3 / 256  # of 64 bits all; unrelated radiographs share 63 quite often
OWN_ORDER = False
VECTORS = False
PAIR_NS = 1
STEP = 1 / 256
ERROR = 0.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """How long the hash is, and below which contrast (grey levels of 255) an image is blank."""

    bits: Literal[64, 256] = 64
    blank_below: Annotated[float, Field(ge=0)] = 6.0


def needs(config: Config) -> Needs:
    """Return that pixels are needed."""
    del config
    return "pixels"


def describe(source: Iterable[Shown], config: Config) -> NDArray[np.uint64]:
    """Return hashes, shape (N, 2) or (N, 5); see `_contract.py`."""
    return _hashes.stack([_hash(shown.image, config) for shown in source], config.bits)


def similarity(
    a: NDArray[Any], b: NDArray[Any], config: Config, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return 1 - Hamming distance / bits, shape (n, m)."""
    del config
    return _hashes.similarity(a, b, device)


def exact(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return the same for pairs, shape (n,)."""
    del config
    return _hashes.exact(a, b)


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return zeros: images are walked in archive order, as in the paper."""
    del config
    return np.zeros(len(descriptors))


def is_blank(descriptors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which thumbnails show nothing."""
    return _hashes.is_blank(descriptors)


def pair_bytes(descriptors: NDArray[Any]) -> int:
    """Return the bytes of the result; the scratch has a fixed size."""
    del descriptors
    return 4


def _hash(image: NDArray[np.uint8], config: Config) -> NDArray[np.uint64]:
    side = 8 if config.bits == 64 else 16
    small = Image.fromarray(image).resize((side + 1, side), Image.Resampling.LANCZOS)
    grey = np.asarray(small)  # (side, side + 1)
    bits = grey[:, 1:] > grey[:, :-1]
    return _hashes.pack(bits, is_blank=contrast(image) < config.blank_below)
