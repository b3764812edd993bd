"""Maps of evidence in a report: their record, and their pictures, which stand in the page alone.

Pixels can tell who a patient is: a page with these is to be handled like the images themselves.
"""

from dataclasses import asdict
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medssl.evaluation.saliency import BOUND, DRAWS, Alike, Frame, Map, Picture, Saliency
from medssl.reporting import pictures

SIDE = 160  # longest side of a picture, px
COLOURS = "cividis"  # perceptually even, the same to colour-blind readers, and monotone in grey
SCALE = "map-scale"  # name of the picture of the colour scale
_STEPS = 64  # of it


def record(found: Saliency | None) -> dict[str, Any] | None:
    """Return the maps in numbers, as JSON values; None where they were not asked for."""
    if found is None:
        return None
    return {
        "reason": found.reason,
        "most": found.most,
        "frame": _frame(found.frame) if found.frame else None,
        "shows": dict(found.shows),
        "kinds": list(found.kinds),
        "scale": found.scale,
        "draws": DRAWS,
        "bound": BOUND,
        "verdict": found.verdict,
        "said": found.said,
        "repeatability": found.repeatability,
        "checks": [asdict(row) for row in found.checks],
        "maps": [_row(one) for one in found.maps],
    }


def _frame(frame: Frame) -> dict[str, Any]:
    cell = [side / cells for side, cells in zip(frame.input, frame.grid, strict=True)]
    return {**asdict(frame), "input": list(frame.input), "grid": list(frame.grid), "cell_px": cell}


def _row(one: Map) -> dict[str, Any]:
    chosen = {key: value for key, value in asdict(one.chosen).items() if key != "others"}
    own = {name: getattr(one, name) for name in ("low", "high", "blank", "slice")}
    return {**chosen, **own, **_alike("random", one.random), **_alike("other", one.other)}


def _alike(name: str, found: Alike | None) -> dict[str, float | None]:
    return {
        f"{name}_ssim": found.ssim if found else None,
        f"{name}_rank": found.rank if found else None,
    }


def draw(found: Saliency | None) -> dict[str, str]:
    """Return an image and its map as HTML, by the number of the map, and the colour scale.

    All maps share one scale, from 0 to the largest value of them all.
    """
    if found is None or not found.pictures:
        return {}
    drawn = {
        f"map-{n}": _pair(picture, found.scale, one.chosen.kind)
        for n, (one, picture) in enumerate(zip(found.maps, found.pictures, strict=True))
    }
    steps = np.linspace(0, 1, _STEPS)[None]
    return drawn | {SCALE: _image(_coloured(steps), "colour scale, from dark to light")}


def _pair(picture: Picture, scale: float, kind: str) -> str:
    """Return an image as the model is given it, and beside it the cells of its map."""
    low, high = np.percentile(picture.image, pictures.STRETCH)
    shown = Image.fromarray(pictures.grey(picture.image, float(low), float(high)))
    size = _size(shown)
    coloured = _coloured(picture.cells / scale if scale > 0 else picture.cells)
    return _image(shown.resize(size, _how(shown, size)), f"{kind}, the image") + _image(
        coloured.resize(size, Image.Resampling.NEAREST), f"{kind}, its map"
    )


def _size(image: Image.Image) -> tuple[int, int]:
    """Return width and height, px: small images get larger by whole pixels."""
    longer = max(image.size)
    times = SIDE // longer if longer <= SIDE else SIDE / longer
    width, height = (max(1, round(times * side)) for side in image.size)
    return width, height


def _how(image: Image.Image, size: tuple[int, int]) -> Image.Resampling:
    return Image.Resampling.NEAREST if size[0] >= image.width else Image.Resampling.BOX


def _coloured(shares: NDArray[np.float64]) -> Image.Image:
    """Return values from 0 to 1 as colours."""
    return Image.fromarray(mpl.colormaps[COLOURS](shares, bytes=True)[..., :3].copy())


def _image(picture: Image.Image, told: str) -> str:
    return (
        f'<img alt="{escape(told)}" width="{picture.width}" height="{picture.height}" '
        f'src="{pictures.data_uri(picture)}">'
    )
