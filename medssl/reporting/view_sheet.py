"""A contact sheet of views: what an encoder is shown of an image, beside the image.

Pixels can tell who a patient is: such a sheet is to be handled like the images themselves.
"""

import io
from collections.abc import Sequence
from textwrap import wrap

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medssl.reporting.figures import STYLE

Picture = NDArray[np.floating]  # (C, *spatial), 2D or 3D
Pictures = Sequence[Picture] | Picture  # of several images, (N, C, *spatial) if in one array
_STRETCH = (0.5, 99.5)  # percentiles of the whole image that are black and white
_SIDE = 1.5  # of one picture, inches
_DPI = 110
_LETTERS = 11  # of the title, an inch
_SMALLEST = 1e-6
_TITLE = "Each image and random views of it: other crops, angles, contrast, sharpness and noise"


def draw(
    images: Pictures,
    views: Sequence[Pictures],
    captions: Sequence[str],
    *,
    title: str = _TITLE,
    span: tuple[float, float] | None = None,
) -> bytes:
    """Return a PNG with a row for each image: the whole of it, then its views.

    Args:
        images: Shape (C, *spatial) each. A volume is shown by its middle slice; three channels are
            colours, of any other number the first is shown.
        views: One entry per view: that view of each image. Their shapes may differ.
        captions: What each view is called; its shape is added.
        title: Says what varies.
        span: What is black and what is white. None: percentiles of each whole image, for its views
            too, so that another contrast is seen as such.
    """
    columns = [images, *views]
    names = ["whole image", *captions]
    size = (_SIDE * len(columns), (_SIDE + 0.05) * len(images) + 0.8)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        lines = wrap(title, int(size[0] * _LETTERS))
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=10)
        grid = figure.subplots(len(images), len(columns), squeeze=False)
        for across, name, column in zip(grid.T, names, columns, strict=True):
            across[0].set_title(f"{name}\n{_size(column[0])}", fontsize=8.5)
            for axes, image, picture in zip(across, images, column, strict=True):
                low, high = _stretch(image) if span is None else span
                scaled = (_flat(picture) - low) / max(high - low, _SMALLEST)
                axes.imshow(scaled.clip(0, 1), cmap="gray", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _stretch(image: Picture) -> tuple[float, float]:
    low, high = np.percentile(_flat(image), _STRETCH)
    return float(low), float(high)


def _flat(picture: Picture) -> Picture:
    """Return what is shown of an image or volume: (rows, columns) or (rows, columns, 3)."""
    plane = picture[:, picture.shape[1] // 2] if picture.ndim == 4 else picture
    return np.moveaxis(plane, 0, 2) if len(plane) == 3 else plane[0]


def _size(picture: Picture) -> str:
    return " × ".join(map(str, picture.shape[1:]))
