"""Shrink images by area averaging and pad them to a common square."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def fit(rows: int, columns: int, side: int | None) -> tuple[int, int]:
    """Return rows and columns after shrinking: the longer side at most ``side``, never enlarged.

    >>> fit(512, 256, 256), fit(100, 90, 256), fit(512, 256, None)
    ((256, 128), (100, 90), (512, 256))
    """
    longer = max(rows, columns)
    if side is None or longer <= side:
        return rows, columns
    return max(1, round(rows * side / longer)), max(1, round(columns * side / longer))


def shrink(image: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Return the averages over the area that each new pixel covers, in float; a copy at no change.

    Args:
        image: Shape (H, W) or (H, W, C), any number type.
        rows: New rows, 1 <= rows <= H.
        columns: New columns, 1 <= columns <= W.
    """
    if image.shape[:2] == (rows, columns):
        return image
    if image.ndim == 3:
        return np.stack([shrink(layer, rows, columns) for layer in np.moveaxis(image, 2, 0)], 2)
    if image.shape[0] % rows == 0 and image.shape[1] % columns == 0:
        return _average_of_blocks(image, image.shape[0] // rows, image.shape[1] // columns)
    return _average(_average(image, rows).T, columns).T


def pad(image: NDArray[Any], rows: int, columns: int, value: int) -> NDArray[Any]:
    """Return the image with rows below and columns to the right of it set to ``value``."""
    if image.shape[:2] == (rows, columns):
        return image
    padded = np.full((rows, columns, *image.shape[2:]), value, dtype=image.dtype)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def _average_of_blocks(image: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
    """Average whole pixels, which is many times faster."""
    sums = np.zeros((image.shape[0] // height, image.shape[1] // width))
    for row in range(height):
        for column in range(width):
            sums += image[row::height, column::width]
    return sums / (height * width)


def _average(image: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Average along the first axis with the exact share of every pixel, by differences of sums."""
    length = image.shape[0]
    if length == count:
        return image.astype(np.float64)
    sums = np.zeros((length + 1, image.shape[1]))
    np.cumsum(image, axis=0, out=sums[1:])
    edges = np.arange(count + 1) * (length / count)
    lower = np.minimum(edges.astype(np.int64), length - 1)
    share = (edges - lower)[:, None]
    at_edges = sums[lower] * (1 - share) + sums[lower + 1] * share
    averages: NDArray[np.float64] = np.diff(at_edges, axis=0) * (count / length)
    return averages
