"""From 2D weights to 3D: every filter goes into the middle slice, with zeros beside it.

A 3D convolution with such filters is the 2D one slice by slice, exactly and at the border too,
which is not true of filters repeated along the slices. A whole network does the same where it keeps
all slices (`depth: keep`) and has batch norm; its features are then the mean over slices of the 2D
features. Standardised filters are others once there are zeros among them.
"""

import numpy as np
from numpy.typing import NDArray


def centre(weight: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """Return filters (O, I, size, kh, kw) of 2D filters (O, I, kh, kw); ``size`` is odd."""
    if size % 2 == 0:
        raise ValueError(f"filters over {size} slices have no middle")
    shape = (*weight.shape[:2], size, *weight.shape[2:])
    inflated = np.zeros(shape, weight.dtype)
    inflated[:, :, size // 2] = weight
    return inflated
