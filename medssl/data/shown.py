"""Images of an archive as an eye would see them: 8 bits, grey, the body alone where asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from medssl.artifacts import pixels

STRETCH = (0.5, 99.5)  # percentiles between which images without units are shown
BODY_HU = -300.0  # halfway between air and fat, roughly: what is denser is body
_MASK_SIDE = 64  # px; of the copy on which the body is looked for
_AIR = 0.15  # of the mean of the bright part: a brighter dark part is tissue, not air
_PART = 0.25  # of the largest piece of a body: smaller pieces are table, tubes and noise
_LEAST_BODY = 0.02  # of an image: less is no body
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue, by Rec. 601


@dataclass(frozen=True)
class Shown:
    """One image: its valid area (rows, columns), 0 to 255, and where in it the body is."""

    image: NDArray[np.uint8]
    body: NDArray[np.bool_] | None = None  # None: not asked for, or not found


class ShownImages:
    """Random access to the images of an archive, or of some rows of it, from any thread.

    CT is windowed, 8-bit sources stay as they are, and everything else is stretched between its
    0.5 and 99.5 percentiles: a plain 16-to-8-bit conversion would saturate. Colour is shown by its
    luminance.

    Args:
        archive: Archive folder.
        table: Rows of `images.parquet`, in the order they are to be numbered.
        window_hu: What is shown black and what white of CT, HU.
        mask: Whether to look for the body in CT and MR and to blacken what lies outside it.

    Raises:
        ArtifactError: A pixel shard is missing or damaged.
    """

    def __init__(
        self, archive: Path, table: pa.Table, window_hu: tuple[float, float], *, mask: bool = False
    ) -> None:
        self._window_hu = window_hu
        self._mask = mask
        self._shards = {s: pixels.read(archive, s) for s in np.unique(table["shard"]).tolist()}
        self._shard = table["shard"].to_pylist()
        self._row = table["row"].to_pylist()
        self._extent = list(zip(table["rows"].to_pylist(), table["columns"].to_pylist(),
                                strict=True))  # fmt: skip
        self._slope = table["slope"].to_numpy()
        self._intercept = table["intercept"].to_numpy()
        self._hu = [unit == "HU" for unit in table["unit"].to_pylist()]
        self._modality = table["modality"].to_pylist()

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._row)

    def __getitem__(self, number: int) -> Shown:
        """Return one image by its number in the table."""
        rows, columns = self._extent[number]
        stored = self._shards[self._shard[number]][self._row[number], :, :rows, :columns]
        grey = _grey(np.asarray(stored))
        if not self._hu[number]:
            image = grey if grey.dtype == np.uint8 else _scaled(grey, *percentiles(grey))
            image = np.ascontiguousarray(image)
            wanted = self._mask and self._modality[number] == "MR"
            return _masked(image, otsu_body(image)) if wanted else Shown(image)
        values = grey * np.float32(self._slope[number]) + np.float32(self._intercept[number])
        image = _scaled(values, *self._window_hu)
        wanted = self._mask and self._modality[number] == "CT"
        return _masked(image, ct_body(values)) if wanted else Shown(image)

    def of(self, numbers: Iterable[int]) -> Iterator[Shown]:
        """Yield the images called ``numbers``, in that order."""
        return (self[int(number)] for number in numbers)


def contrast(image: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the means of 8 x 8 blocks, grey levels.

    Air and noise have 0 to 5, the tip of a head in an otherwise empty slice 10.
    """
    blocks = Image.fromarray(image).resize((8, 8), Image.Resampling.BOX)
    return float(np.asarray(blocks).std())


def percentiles(values: NDArray[np.integer[Any]]) -> tuple[float, float]:
    """Return what `np.percentile` does at `STRETCH`, by counting; of 8 or 16-bit integers."""
    lowest = int(values.min())
    counts = np.bincount(values.ravel().astype(np.intp) - lowest)
    places = np.array(STRETCH) / 100 * (values.size - 1)
    below = np.floor(places).astype(np.intp)
    beside = np.stack([below, np.minimum(below + 1, values.size - 1)])  # (2, 2)
    low, high = np.searchsorted(counts.cumsum(), beside, side="right") + lowest
    first, second = low + (high - low) * (places - below)
    return float(first), float(second)


def ct_body(hu: NDArray[np.floating[Any]]) -> NDArray[np.bool_] | None:
    """Return where in a CT slice (rows, columns) the body is; None where there is none."""
    small = np.asarray(_shrunk(np.asarray(hu, dtype=np.float32)))
    return _body(small > BODY_HU, hu.shape)


def otsu_body(image: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Return where in an MR slice (rows, columns) the body is, as seen against dark air.

    None where there is no body, or no air: a crop from inside the body is left alone.
    """
    small = np.asarray(_shrunk(image))
    level = _otsu(small)
    bright = small > level
    if not bright.any() or small[~bright].mean() > _AIR * small[bright].mean():
        return None
    return _body(bright, image.shape)


def _grey(image: NDArray[Any]) -> NDArray[Any]:
    """Return the luminance of an image (C, H, W) of one or three channels."""
    if len(image) == 1:
        return np.asarray(image[0])
    grey: NDArray[Any] = np.rint(np.tensordot(_LUMINANCE, image, axes=1)).astype(image.dtype)
    return grey


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return ``low`` as 0, ``high`` as 255 and what lies between in between."""
    scaled = values - np.float32(low)
    scaled *= np.float32(255 / max(high - low, 1e-6))
    np.clip(scaled, 0, 255, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _shrunk(image: NDArray[Any]) -> Image.Image:
    """Return the means of blocks of an image, at most `_MASK_SIDE` on each side."""
    rows, columns = image.shape
    size = (min(columns, _MASK_SIDE), min(rows, _MASK_SIDE))
    return Image.fromarray(image).resize(size, Image.Resampling.BOX)


def _otsu(image: NDArray[np.uint8]) -> int:
    """Return the grey level that parts air from tissue.

    Otsu's rule on the logarithm: on the values themselves it parts bright tissue from dim.
    """
    counts = np.bincount(image.ravel(), minlength=256)
    levels = np.log1p(np.arange(256))
    below = counts.cumsum()[:-1]
    sums = (counts * levels).cumsum()
    above = image.size - below
    difference = sums[:-1] * image.size - sums[-1] * below  # of the means, times all three sizes
    spread = difference**2 / np.maximum(1, below * above)
    return int(spread.argmax())


def _body(dense: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return the large pieces of what is dense, their holes filled, at the size ``shape``."""
    pieces, n = ndimage.label(dense)
    if not n:
        return None
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    outside, _ = ndimage.label(~(sizes >= _PART * sizes.max())[pieces])
    border = np.concatenate([outside[[0, -1]].ravel(), outside[:, [0, -1]].ravel()])
    is_air = np.zeros(int(outside.max()) + 1, dtype=bool)
    is_air[border] = True
    is_air[0] = False
    body = ~is_air[outside]
    if body.mean() < _LEAST_BODY:
        return None
    grey = Image.fromarray(body.astype(np.uint8) * 255)
    large = grey.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(large) >= 128


def _masked(image: NDArray[np.uint8], body: NDArray[np.bool_] | None) -> Shown:
    return Shown(image) if body is None else Shown(image * body, body)
