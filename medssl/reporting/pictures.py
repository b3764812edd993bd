"""Pixels as a page holds them: 8 bits, inline, from nowhere else."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRETCH = (0.5, 99.5)  # percentiles between which images without a window are shown
_SMALLEST = 1e-6


def grey(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Return values as 8 bits: ``low`` and what is below as 0, ``high`` and above as 255."""
    scaled = (values - low) / max(high - low, _SMALLEST)
    return np.asarray(np.rint(scaled.clip(0, 1) * 255).astype(np.uint8))


def data_uri(picture: Image.Image) -> str:
    """Return a picture as a PNG that stands in the page itself."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
