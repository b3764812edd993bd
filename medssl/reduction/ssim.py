"""Structural similarity (Wang et al., 2004, doi:10.1109/TIP.2003.819861).

SSIM = mean over windows of (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 +
C2)), with means m and (co)variances s under an 11 x 11 Gaussian of sigma 1.5, C1 = (0.01 * 255)^2
and C2 = (0.03 * 255)^2, on images shrunk to 64 x 64; negative values count as 0. At the threshold
of 0.6 a series of thin slices keeps about as many as with dHash at radius 6.

Large black margins are alike in all images and raise it: mask the body, and take care when
comparing thresholds between archives. It costs about 15 microseconds a pair and core: right within
series; across an archive it wants a GPU.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from medssl.data.shown import Shown, contrast
from medssl.reduction import _cosine
from medssl.reduction._contract import Needs

THRESHOLD = 0.6
SAME = 0.95
OWN_ORDER = False
VECTORS = False
PAIR_NS = 16000
STEP = 0.0
ERROR = 1e-4
_WINDOW, _SIGMA = 11, 1.5  # px
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_BLANK_BELOW = 6.0  # grey levels of contrast: less shows nothing
_MIDDLE = 128.0  # taken off grey values, so that squares lose little to rounding
_TILE = 128  # images filtered at a time
_GPU_ROWS = 16  # images compared at a time with a tile; on a CPU it is one
_PAIRS = 4  # at a time in float64, so that they stay in the cache
_BANDS = 3  # parts in which the filter matrix is applied, as most of it is zero


@dataclass(frozen=True, kw_only=True)
class Config:
    """Side of the images compared, px."""

    side: Annotated[int, Field(ge=_WINDOW, le=256)] = 64


class _Filtered(NamedTuple):
    """Images less `_MIDDLE` (S, N, S) and what each window sees of them (V, N, V)."""

    values: Tensor
    low: Tensor  # mean, less `_MIDDLE`
    mean: Tensor
    square: Tensor  # of the mean, + C1 / 2
    variance: Tensor  # + C2 / 2

    def some(self, first: int, count: int) -> "_Filtered":
        """Return ``count`` images from the ``first`` on."""
        return _Filtered(*(part[:, first : first + count] for part in self))


def needs(config: Config) -> Needs:
    """Return that pixels are needed."""
    del config
    return "pixels"


def describe(source: Iterable[Shown], config: Config) -> NDArray[np.uint8]:
    """Return shrunken images, shape (N, side * side); see `_contract.py`."""
    size = (config.side, config.side)
    rows = [
        np.asarray(Image.fromarray(shown.image).resize(size, Image.Resampling.BOX)).ravel()
        for shown in source
    ]
    return np.array(rows, dtype=np.uint8).reshape(-1, config.side**2)


def similarity(
    a: NDArray[Any], b: NDArray[Any], config: Config, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return SSIM, at least 0, shape (n, m), in float32."""
    result = np.empty((len(a), len(b)), dtype=np.float32)
    bands = _bands(config.side, device)
    with _cosine.full_precision(), _one_thread():  # the products are too small to share out
        for top in range(0, len(a), _TILE):
            left = _filtered(a[top : top + _TILE], config.side, bands, device)
            for start in range(0, len(b), _TILE):
                right = _filtered(b[start : start + _TILE], config.side, bands, device)
                tile = _table(left, right, bands)
                result[top : top + _TILE, start : start + _TILE] = tile.cpu().numpy()
    return result


def exact(a: NDArray[Any], b: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return the same for pairs, shape (n,), in float64 and by sums in a fixed order."""
    parts = [
        _exact(a[start : start + _PAIRS], b[start : start + _PAIRS], config.side)
        for start in range(0, len(a), _PAIRS)
    ]
    return np.concatenate([np.zeros(0), *parts])


def rank(descriptors: NDArray[Any], config: Config) -> NDArray[np.float64]:
    """Return zeros: images are walked in archive order."""
    del config
    return np.zeros(len(descriptors))


def is_blank(descriptors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which thumbnails show nothing."""
    side = math.isqrt(descriptors.shape[1])
    thumbnails = np.asarray(descriptors).reshape(-1, side, side)
    return np.array([contrast(image) < _BLANK_BELOW for image in thumbnails], dtype=bool)


def pair_bytes(descriptors: NDArray[Any]) -> int:
    """Return the bytes of the result; the filtered images are few at a time."""
    del descriptors
    return 4


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weights() -> NDArray[np.float64]:
    """Return the Gaussian window along one axis, its sum 1."""
    place = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(place**2) / (2 * _SIGMA**2))
    return np.asarray(weights / weights.sum())


def _bands(side: int, device: str) -> list[tuple[int, Tensor]]:
    """Return the filter matrix as parts (V / 3, side / 3 or so), each with its first column."""
    weights = torch.tensor(_weights(), dtype=torch.float32)
    windows = side - _WINDOW + 1
    height = math.ceil(windows / _BANDS)
    bands = []
    for first in range(0, windows, height):
        rows = min(height, windows - first)
        band = torch.zeros(rows, rows + _WINDOW - 1)
        for row in range(rows):
            band[row, row : row + _WINDOW] = weights
        bands.append((first, band.to(device)))
    return bands


def _blurred(images: Tensor, bands: list[tuple[int, Tensor]]) -> Tensor:
    """Return the means (V, N, V) of images (S, N, S) under the window: G x G^T of each."""
    side, n, _ = images.shape
    flat = images.reshape(side, n * side)
    down = torch.cat([band @ flat[top : top + band.shape[1]] for top, band in bands])
    rows = down.reshape(-1, side)  # (V * N, S)
    across = [rows[:, left : left + band.shape[1]] @ band.T for left, band in bands]
    return torch.cat(across, dim=1).reshape(len(down), n, -1)


def _filtered(
    images: NDArray[np.uint8], side: int, bands: list[tuple[int, Tensor]], device: str
) -> _Filtered:
    stored = torch.from_numpy(np.array(images)).to(device)
    values = stored.reshape(-1, side, side).float().sub_(_MIDDLE).transpose(0, 1).contiguous()
    low = _blurred(values, bands)
    mean = low + _MIDDLE
    variance = _blurred(values * values, bands) - low * low
    return _Filtered(values, low, mean, mean * mean + _C1 / 2, variance + _C2 / 2)


def _table(a: _Filtered, b: _Filtered, bands: list[tuple[int, Tensor]]) -> Tensor:
    """Return SSIM, at least 0, shape (n, m)."""
    n, step = a.values.shape[1], 1 if a.values.device.type == "cpu" else _GPU_ROWS
    rows = [_means(a.some(first, step), b, bands) for first in range(0, n, step)]
    return torch.cat(rows).clamp_(0, 1)


def _means(a: _Filtered, b: _Filtered, bands: list[tuple[int, Tensor]]) -> Tensor:
    """Return means over windows, shape (n, m), of a few images."""
    n, m = a.values.shape[1], b.values.shape[1]

    def pairs(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :, None], y[:, None]

    def product(x: Tensor, y: Tensor) -> Tensor:
        left, right = pairs(x, y)
        return (left * right).flatten(1, 2)  # (S or V, n * m, S or V)

    def total(x: Tensor, y: Tensor) -> Tensor:
        left, right = pairs(x, y)
        return (left + right).flatten(1, 2)

    similar = _blurred(product(a.values, b.values), bands)
    similar -= product(a.low, b.low)  # covariance
    similar.mul_(2).add_(_C2)
    similar *= product(a.mean, b.mean).mul_(2).add_(_C1)
    similar /= total(a.square, b.square)
    similar /= total(a.variance, b.variance)
    return similar.mean(dim=(0, 2)).reshape(n, m)


def _exact(a: NDArray[np.uint8], b: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    left, right = (x.reshape(-1, side, side).astype(np.float64) - _MIDDLE for x in (a, b))
    low_a, low_b = _windowed(left), _windowed(right)
    mean_a, mean_b = low_a + _MIDDLE, low_b + _MIDDLE
    variances = _windowed(left * left) - low_a**2, _windowed(right * right) - low_b**2
    covariance = _windowed(left * right) - low_a * low_b
    above = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    below = (mean_a**2 + mean_b**2 + _C1) * (variances[0] + variances[1] + _C2)
    return np.asarray((above / below).reshape(len(a), -1).mean(axis=1).clip(0, 1))


def _windowed(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means (N, V, V) of images (N, S, S), added up tap by tap."""
    windows = images.shape[1] - _WINDOW + 1
    rows = _taps([images[:, tap : tap + windows] for tap in range(_WINDOW)])
    return _taps([rows[:, :, tap : tap + windows] for tap in range(_WINDOW)])


def _taps(shifted: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the weighted sum of an array seen at every place of the window."""
    total, part = np.zeros(shifted[0].shape), np.empty(shifted[0].shape)
    for weight, values in zip(_weights(), shifted, strict=True):
        total += np.multiply(values, weight, out=part)
    return total
