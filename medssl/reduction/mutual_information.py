"""Normalised mutual information (Studholme et al., 1999, doi:10.1016/S0031-3203(98)00091-0).

NMI = 2 (H(x) + H(y) - H(x, y)) / (H(x) + H(y)) of grey values in 64 bins at 64 x 64 px, from 0
(knowing one image says nothing of the other) to 1 (each follows from the other); their mean is
taken as the norm, which keeps it there. It does not mind gain, offset or inversion, so one
threshold works across scanners. Two constant images have 1, a constant and another image 0.

It compares place by place: a shift of a few pixels costs it more than a change of texture. Short
histograms overstate it: 4,096 pixels of pure noise in 64 x 64 bins have about 0.1. It runs on the
CPU, some 100,000 pairs a second and core: right within series, slow across an archive.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medssl.data.shown import Shown
from medssl.reduction._contract import Needs

THRESHOLD = 0.45
SAME = 0.6
OWN_ORDER = False
VECTORS = False
PAIR_NS = 11000
STEP = 0.0
ERROR = 0.0
_SIDE = 64  # px
_BINS = 64
_SHIFT = 2  # of 8 bits to 64 bins
_CELLS = _BINS * _BINS
_TOGETHER = 8  # pairs counted at a time: their histograms stay in the cache
_TILE = 256  # images widened to the type of indices at a time

# c ln c as whole numbers of 2^-32: sums of them are exact, whatever the order.
_COUNTS = np.arange(_SIDE * _SIDE + 1)
_C_LOG_C = np.rint(_COUNTS * np.log(np.maximum(_COUNTS, 1)) * 2**32).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no options."""


def needs(config: Config) -> Needs:
    """Return that pixels are needed."""
    del config
    return "pixels"


def describe(source: Iterable[Shown], config: Config) -> NDArray[np.uint8]:
    """Return bin numbers, shape (N, 4096); see `_contract.py`."""
    del config
    rows = [_binned(shown.image) for shown in source]
    return np.array(rows, dtype=np.uint8).reshape(-1, _SIDE * _SIDE)


def similarity(
    a: NDArray[Any], b: NDArray[Any], config: Config, device: str = "cpu"
) -> NDArray[np.float64]:
    """Return normalised mutual information, shape (n, m)."""
    del config, device
    result = np.empty((len(a), len(b)))
    alone_a, alone_b = _alone(a), _alone(b)
    for first in range(0, len(b), _TILE):
        columns = slice(first, first + _TILE)
        right = b[columns].astype(np.intp)
        for row, image in enumerate(a.astype(np.uint16)):
            joint = _joint(image[None] * np.uint16(_BINS), right)
            result[row, columns] = _normalised(joint, alone_a[row], alone_b[columns])
    return result


def exact(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return the same for pairs, shape (n,)."""
    del config
    parts = [
        _joint(
            a[first : first + _TOGETHER].astype(np.intp) * _BINS,
            b[first : first + _TOGETHER].astype(np.intp),
        )
        for first in range(0, len(a), _TOGETHER)
    ]
    joint = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
    return _normalised(joint, _alone(a), _alone(b))


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return zeros: images are walked in archive order."""
    del config
    return np.zeros(len(descriptors))


def is_blank(descriptors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which thumbnails show nothing."""
    return np.asarray((descriptors == descriptors[:, :1]).all(axis=1))


def pair_bytes(descriptors: NDArray[Any]) -> int:
    """Return the bytes of the result; the histograms are few at a time."""
    del descriptors
    return 8


def _binned(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(np.asarray(small).ravel() >> _SHIFT, dtype=np.uint8)


def _joint(left: NDArray[Any], right: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return sums of c ln c over the joint histograms (m,) of images (1 or m, P) and (m, P).

    Args:
        left: Bin numbers times `_BINS`.
        right: Bin numbers.
    """
    sums = np.empty(len(right), dtype=np.int64)
    offset = np.arange(_TOGETHER)[:, None] * _CELLS
    for first in range(0, len(right), _TOGETHER):
        some = right[first : first + _TOGETHER]
        cells = some + (left if len(left) == 1 else left[first : first + _TOGETHER])
        cells += offset[: len(some)]
        counts = np.bincount(cells.ravel(), minlength=_CELLS * len(some))
        sums[first : first + len(some)] = _C_LOG_C.take(counts).reshape(len(some), -1).sum(axis=1)
    return sums


def _alone(images: NDArray[Any]) -> NDArray[np.int64]:
    """Return sums of c ln c over the histogram of each image, shape (N,)."""
    counts = (np.bincount(image, minlength=_BINS) for image in images)
    return np.array([_C_LOG_C[count].sum() for count in counts], dtype=np.int64)


def _normalised(
    joint: NDArray[np.int64], a: NDArray[np.int64] | np.int64, b: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return NMI from sums of c ln c; `_C_LOG_C[-1]` less such a sum is P times an entropy."""
    whole = _C_LOG_C[-1]
    both = (whole - a) + (whole - b)
    return np.where(both == 0, 1.0, 2 - 2 * (whole - joint) / np.maximum(both, 1)).clip(0, 1)
