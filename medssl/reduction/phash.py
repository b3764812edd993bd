"""Perceptual hash: signs of low frequencies (Zauner, 2010, "Perceptual image hash functions").

The image is shrunk to 32 x 32, and each of 64 bits says whether one of the 8 x 8 lowest
coefficients of its cosine transform exceeds their median; 256 bits are the lowest 16 x 16 of
64 x 64. Similarity is 1 - Hamming distance / bits: at the default threshold at most 6 of 64 differ.

It sees the large shapes only and, unlike dHash, all of them at once, so it is less upset by noise
and more by a shift. Blank images, the 8 x 8 block means of which have a standard deviation below
`blank_below` grey levels, are alike among themselves only. Hashes are blind to small lesions:
reduce what is pretrained on, not what is labelled.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from scipy import fft

from medssl.data.shown import Shown, contrast
from medssl.reduction import _hashes
from medssl.reduction._contract import Needs

THRESHOLD = 1 - 6 / 64
SAME = 1 - 2 / 64  # distances are even: half of the bits are set
OWN_ORDER = False
VECTORS = False
PAIR_NS = 1
STEP = 1 / 256
ERROR = 0.0
_OVERSAMPLING = 4  # pixels per coefficient kept, in each direction


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
    """Return zeros: images are walked in archive order."""
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
    size = (_OVERSAMPLING * side, _OVERSAMPLING * side)
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    # One image at a time: in a stack the last bits of a transform depend on its neighbours.
    low = fft.dctn(small.astype(np.float64))[:side, :side]
    return _hashes.pack(low > np.median(low), is_blank=contrast(image) < config.blank_below)
