"""What a masked method makes of images: each as it is, as it was shown and as it was painted.

Pixels can tell who a patient is: such a picture is to be handled like the images themselves.
"""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medssl.reporting.figures import FAINT, QUIET, STYLE

MOST = 8  # images
_TITLES = {"image": "View of an image", "masked": "Shown to the encoder", "painted": "Painted"}
_EXPLAINED = (
    "Blue-grey is hidden. What was shown is kept in the\n"
    "painting; each hidden patch is painted with the\n"
    "brightness and contrast that it has in truth."
)
_TILE = 1.9  # inches
_DPI = 120
_FLAT = 1e-6  # the least range of grey values


def draw(pictures: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a PNG with a row per image: itself, what was shown of it, and the painting.

    All three have the grey values of the image; hidden pixels are blue-grey. Of volumes the
    middle slice is shown, of many channels the first.

    Args:
        pictures: ``image``, ``masked``, ``painted`` and ``hidden`` (bool), (B, C, *spatial)
            each; the first `MOST` images are drawn.
    """
    tiles = {name: [_slice(one) for one in values[:MOST]] for name, values in pictures.items()}
    n = len(tiles["image"])
    tall, wide = tiles["image"][0].shape[1:]
    size = (_TILE * len(_TITLES), _TILE * tall / wide * n + 1.0)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(_EXPLAINED, x=0.01, ha="left", fontsize=9, color=QUIET)
        grid = figure.subplots(n, len(_TITLES), squeeze=False)
        for row in range(n):
            image = tiles["image"][row]
            low, high = float(image.min()), float(image.max())
            for axes, name in zip(grid[row], _TITLES, strict=True):
                shown = _coloured(tiles[name][row], low, high)
                if name == "masked":
                    shown[tiles["hidden"][row].any(axis=0)] = to_rgb(FAINT)
                axes.imshow(shown, interpolation="nearest")
                axes.set_axis_off()
                if row == 0:
                    axes.set_title(_TITLES[name], fontsize=10)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _slice(image: NDArray[Any]) -> NDArray[Any]:
    """Return (C, H, W): an image, or the middle slice of a volume (C, D, H, W)."""
    return image if image.ndim == 3 else image[:, image.shape[1] // 2]


def _coloured(image: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Return (H, W, 3) in 0..1, where ``low`` is black and ``high`` white."""
    channels = image if len(image) == 3 else np.repeat(image[:1], 3, axis=0)
    scaled = (channels.astype(np.float64) - low) / max(high - low, _FLAT)
    return np.moveaxis(scaled.clip(0, 1), 0, 2).copy()
