"""From stored pixels to the archive's pixels, without losing what the numbers mean.

CT becomes int16 Hounsfield units. Everything else keeps the source's integers where a series shares
one slope and intercept and they fit (uint8 for 8-bit sources, else uint16); what does not fit is
spread over the 65,535 steps of uint16. stored * slope + intercept is the value in the unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.ingestion.header import Frame, Header

LARGEST = float(np.finfo(np.float32).max)  # images are shrunk and wait in single precision
AIR_HU = -1024.0  # what padding becomes in CT, and what surrounds a stored slice
_INT16 = np.iinfo(np.int16)
_STEPS = 65535
_FEW_STEPS = 256  # that 99 % of the values must have, or a flag says so


@dataclass(frozen=True, slots=True)
class Policy:
    """How the images of one series are stored, decided from their headers."""

    dtype: str  # int16, uint8 or uint16
    keeps_integers: bool  # one slope and intercept for all, to be noted beside the images


@dataclass(frozen=True, slots=True)
class Stored:
    """Images of one series as the archive holds them."""

    images: list[NDArray[Any]]  # (rows, columns) each
    slope: float
    intercept: float
    flags: tuple[str, ...] = ()


def policy(headers: Sequence[Header]) -> Policy:
    """Return how a series is stored; images of one file share its header."""
    headers = list({id(header): header for header in headers}.values())
    if headers[0].unit == "HU":
        return Policy("int16", keeps_integers=False)
    scales = {(frame.slope, frame.intercept) for header in headers for frame in header.frames}
    is_byte = all(
        header.bits is not None and header.bits <= 8 and not header.signed for header in headers
    )
    shared = len(scales) == 1
    return Policy("uint8" if is_byte and shared else "uint16", keeps_integers=shared)


def fill(dtype: str) -> int:
    """Return the stored value around an image that does not fill its square."""
    return int(AIR_HU) if dtype == "int16" else 0


def prepare(
    pixels: NDArray[Any], header: Header, frame: Frame, how: Policy
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return one image ready to be shrunk, and flags.

    Values that are not finite, or too large for single precision, become 0, MONOCHROME1 is turned
    so that high is bright, and padding gets the lowest value of the image (air in CT). Unless the
    series keeps its integers, the values are in the header's unit.

    Args:
        pixels: Shape (rows, columns), as stored in the file.
        header: Of the file.
        frame: Of this image.
        how: See `policy`.
    """
    pixels, flags = _finite(pixels, header, frame)
    padded = _padded(pixels, header)
    values = _upright(pixels, header) if header.inverted else pixels
    if not how.keeps_integers:
        values = values * np.float64(frame.slope) + frame.intercept
    if padded is not None:
        values = values.copy()
        values[padded] = AIR_HU if how.dtype == "int16" else values[~padded].min()
    return values, flags


def encode(images: list[NDArray[Any]], header: Header, how: Policy) -> Stored:
    """Return the prepared and shrunk images of one series in the archive's dtype.

    Args:
        images: Shape (rows, columns) each; values as `prepare` returned them.
        header: Of the first file of the series.
        how: See `policy`.
    """
    if how.dtype == "int16":
        return _hounsfield(images)
    slope, intercept = header.frames[0].slope, header.frames[0].intercept
    if how.dtype == "uint8":
        return Stored([_byte(image) for image in images], slope, intercept)
    if how.keeps_integers:
        rounded = images if header.bits is None else [np.rint(image) for image in images]
        low = min(0.0, min(float(image.min()) for image in rounded))
        high = max(float(image.max()) for image in rounded)
        if high - low <= _STEPS and all(_is_whole(image) for image in rounded):
            kept = [(image - low).astype(np.uint16) for image in rounded]
            return Stored(kept, slope, intercept + slope * low)
        images = [image * np.float64(slope) + intercept for image in images]
    return _spread(images)


def _finite(
    pixels: NDArray[Any], header: Header, frame: Frame
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Set to 0 what is too large as it is, or as a value in the unit."""
    slope, intercept = abs(frame.slope), abs(frame.intercept)
    if header.bits is not None and slope * 2.0**header.bits + intercept <= LARGEST:
        return pixels, ()
    with np.errstate(all="ignore"):
        size = np.abs(pixels.astype(np.float64))
        fits = (size <= LARGEST) & (size * slope + intercept <= LARGEST)
    return (
        (pixels, ())
        if fits.all()
        else (np.where(fits, pixels, pixels.dtype.type(0)), ("not_finite",))
    )


def _padded(pixels: NDArray[Any], header: Header) -> NDArray[np.bool_] | None:
    if header.padding is None:
        return None
    low, high = header.padding
    mask = (pixels >= low) & (pixels <= high)
    return mask if mask.any() and not mask.all() else None


def _upright(pixels: NDArray[Any], header: Header) -> NDArray[Any]:
    """Turn MONOCHROME1 over the range of its bit depth, alike for all images of a series."""
    assert header.bits is not None
    wide = pixels.astype(np.int32 if header.bits <= 16 else np.int64)
    turned = (-1 if header.signed else 2**header.bits - 1) - wide
    return np.asarray(turned)


def _byte(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    return np.asarray(np.rint(image).clip(0, 255).astype(np.uint8))


def _hounsfield(images: list[NDArray[Any]]) -> Stored:
    rounded = [np.rint(image) for image in images]
    is_clipped = any(image.min() < _INT16.min or image.max() > _INT16.max for image in rounded)
    whole = [image.clip(_INT16.min, _INT16.max).astype(np.int16) for image in rounded]
    return Stored(whole, 1.0, 0.0, ("clipped",) if is_clipped else ())


def _spread(images: list[NDArray[Any]]) -> Stored:
    low = min(float(image.min()) for image in images)
    high = max(float(image.max()) for image in images)
    slope = (high - low) / _STEPS or 1.0
    steps = [np.rint((image.astype(np.float64) - low) / slope) for image in images]
    stored = [image.clip(0, _STEPS).astype(np.uint16) for image in steps]
    return Stored(stored, slope, low, ("coarse",) if _is_coarse(stored) else ())


def _is_coarse(stored: Sequence[NDArray[np.uint16]]) -> bool:
    """Return whether outliers take so many steps that few are left for all else."""
    most = [np.percentile(image, (0.5, 99.5)) for image in stored]
    used = max(high for _, high in most) - min(low for low, _ in most)
    is_constant = all(image.min() == image.max() for image in stored)
    return not is_constant and used < _FEW_STEPS


def _is_whole(image: NDArray[Any]) -> bool:
    return image.dtype.kind in "iu" or bool(np.array_equal(image, np.rint(image)))
