"""What becomes of colour: refused, its luminance, or kept. Equal channels are gray in any case."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.config.reading import Colour
from medssl.ingestion.codes import Code, RejectedFile

CHANNELS = 3
_WEIGHTS = (299, 587, 114)  # of red, green and blue in the luminance, in thousandths (ITU-R BT.601)
_WHOLE = 1000


def settled(images: NDArray[Any], how: Colour) -> NDArray[Any]:
    """Return images as the user wants colour to be read.

    Args:
        images: Shape (N, rows, columns, 3), red, green and blue as unsigned integers.
        how: ``keep`` returns them as they are.

    Returns:
        Shape (N, rows, columns) unless they are kept, in the same dtype.

    Raises:
        RejectedFile: There is colour, and none is wanted; or it is kept, and not of 8 bits.
    """
    if how == "keep":
        check_kept(images.dtype)
        return images
    gray = np.ascontiguousarray(images[..., 0])
    if all((image == image[..., :1]).all() for image in images):
        return gray
    if how == "reject":
        raise RejectedFile(Code.COLOUR)
    for number, image in enumerate(images):  # one by one, as the sums take four times the memory
        gray[number] = luminance(image)
    return gray


def check_kept(dtype: np.dtype[Any]) -> None:
    """Reject colour of another depth than the archive keeps.

    Raises:
        RejectedFile: It is not of 8 bits.
    """
    if dtype != np.uint8:
        raise RejectedFile(Code.UNSUPPORTED_PIXELS)


def luminance(image: NDArray[Any]) -> NDArray[Any]:
    """Return the luminance of an image (rows, columns, 3), rounded, in its dtype."""
    wide: type[np.unsignedinteger[Any]] = np.uint32 if image.dtype.itemsize < 3 else np.uint64
    total = np.full(image.shape[:-1], _WHOLE // 2, dtype=wide)
    for channel, weight in enumerate(_WEIGHTS):
        total += image[..., channel] * wide(weight)
    return np.asarray((total // _WHOLE).astype(image.dtype))
