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

from medssl.config.training import Views
from medssl.reporting.figures import STYLE

Picture = NDArray[np.floating]  # (C, *spatial), 2D or 3D
Pictures = Sequence[Picture] | Picture  # of several images, (N, C, *spatial) if in one array
_STRETCH = (0.5, 99.5)  # percentiles of the whole image that are black and white
_SIDE = 1.5  # of one picture, inches
_DPI = 110
_LETTERS = 11  # of the title, an inch
_LETTERS_OF_A_CAPTION = 22  # a line
_SMALLEST = 1e-6
_TITLE = "Each row: an image and random views of it"
_OF_PARTNER = {
    "slice": ("near slice", "another slice nearby in its series"),
    "patient": ("other image", "another image of the same patient"),
}


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
    width = _SIDE * len(columns)
    volumes = np.ndim(images[0]) == len("CDHW")
    title += ". Of each volume the middle slice" if volumes else ""
    above = wrap(title, int(width * _LETTERS))
    size = (width, (_SIDE + 0.05) * len(images) + 0.6 + 0.17 * len(above))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle("\n".join(above), x=0.01, ha="left", fontsize=10)
        grid = figure.subplots(len(images), len(columns), squeeze=False)
        for across, name, column in zip(grid.T, names, columns, strict=True):
            lines = [*wrap(name, _LETTERS_OF_A_CAPTION), _size(column[0])]
            across[0].set_title("\n".join(lines), fontsize=8.5)
            for axes, image, picture in zip(across, images, column, strict=True):
                low, high = _stretch(image) if span is None else span
                scaled = (_flat(picture) - low) / max(high - low, _SMALLEST)
                axes.imshow(scaled.clip(0, 1), cmap="gray", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def wording(
    views: Views, n_full: int, n_local: int = 0, *, positives: str = "view", masked: bool = False
) -> tuple[str, list[str]]:
    """Return the title of a sheet and a caption for each view.

    Args:
        views: What varies.
        n_full: Views of full size.
        n_local: Smaller views.
        positives: What the views after the first show: view, slice or patient.
        masked: Whether the method hides parts of a view.
    """
    captions = [f"view {k + 1}" for k in range(n_full)]
    captions += [f"small view {k + 1}" for k in range(n_local)]
    title = f"Each row: an image and what is made of it by chance ({', '.join(_varied(views))})."
    if positives in _OF_PARTNER:
        name, other = _OF_PARTNER[positives]
        captions[1:] = [f"{caption}, {name}" for caption in captions[1:]]
        title += (
            f" View 1 is of the image, the others are of {other}: the image itself if there is none"
        )
    elif masked:
        captions = [f"{caption}, before hiding" for caption in captions]
        title += " The method hides parts of the view and paints them: that is not shown here"
    elif len(captions) > 1:
        title += " The method learns what the views of a row have in common"
    return title, captions


def _varied(views: Views) -> list[str]:
    """Return what differs from view to view."""
    kinds = {
        "crop": True,
        "angle": views.rotation_deg > 0,
        "left-right flip": views.flip > 0,
        "contrast": views.contrast > 0 or views.gamma > 0,
        "sharpness": views.blur > 0,
        "noise": views.noise > 0,
        "missing pixels": views.mask > 0,
    }
    return [kind for kind, varies in kinds.items() if varies]


def _stretch(image: Picture) -> tuple[float, float]:
    low, high = np.percentile(_flat(image), _STRETCH)
    return float(low), float(high)


def _flat(picture: Picture) -> Picture:
    """Return what is shown of an image or volume: (rows, columns) or (rows, columns, 3)."""
    plane = picture[:, picture.shape[1] // 2] if picture.ndim == 4 else picture
    return np.moveaxis(plane, 0, 2) if len(plane) == 3 else plane[0]


def _size(picture: Picture) -> str:
    return " × ".join(map(str, picture.shape[1:]))
