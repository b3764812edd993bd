"""Colour is refused, weighed or kept; equal channels are gray whatever is asked for."""

from fractions import Fraction

import numpy as np
import pytest

from medssl.ingestion import colour
from medssl.ingestion.codes import RejectedFile

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
GRAY = np.stack([IMAGES[..., 1]] * 3, -1)


def exact(red, green, blue):
    """Luminance of ITU-R BT.601 in exact arithmetic, halves rounded up."""
    weighed = Fraction(299) * red + Fraction(587) * green + Fraction(114) * blue
    return int(weighed / 1000 + Fraction(1, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_luminance_is_exact_and_never_overflows(dtype):
    most = np.iinfo(dtype).max
    image = RNG.integers(0, most, (6, 5, 3), dtype=dtype, endpoint=True)
    image[0] = most
    image[1] = 0
    found = colour.luminance(image)
    assert found.dtype == dtype
    expected = [[exact(*(int(value) for value in pixel)) for pixel in row] for row in image]
    assert found.tolist() == expected
    assert found[0].tolist() == [most] * 5


def test_equal_channels_are_gray_and_colour_is_what_was_asked_for():
    for how in ("reject", "gray"):
        assert np.array_equal(colour.settled(GRAY, how), IMAGES[..., 1])
    assert colour.settled(GRAY, "keep").shape == (3, 4, 5, 3)
    assert np.array_equal(colour.settled(IMAGES, "keep"), IMAGES)
    expected = np.stack([colour.luminance(image) for image in IMAGES])
    assert np.array_equal(colour.settled(IMAGES, "gray"), expected)
    with pytest.raises(RejectedFile, match="COLOUR"):
        colour.settled(IMAGES, "reject")


def test_one_coloured_pixel_is_colour():
    image = GRAY.copy()
    image[2, 3, 4, 2] ^= 1
    with pytest.raises(RejectedFile, match="COLOUR"):
        colour.settled(image, "reject")


def test_only_8_bits_are_kept():
    with pytest.raises(RejectedFile, match="UNSUPPORTED_PIXELS"):
        colour.settled(IMAGES.astype(np.uint16), "keep")
    assert colour.settled(IMAGES.astype(np.uint16), "gray").dtype == np.uint16
