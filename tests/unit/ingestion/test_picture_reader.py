import numpy as np
import pytest
from PIL import Image

from medssl.ingestion import sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.readers import picture

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def read(path):
    header = picture.read_header(path)
    return header, picture.read_pixels(path, header)[0]


def test_8_bit_gray_is_read_as_it_is(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    header, pixels = read(tmp_path / "a.png")
    assert np.array_equal(pixels, GRAY)
    assert (header.rows, header.columns, header.bits) == (6, 8, 8)
    assert header.facts.transfer_syntax == "png"
    assert header.facts.lossy is False


def test_16_bit_gray_does_not_saturate(tmp_path):
    deep = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 1390).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    header, pixels = read(tmp_path / "a.png")
    assert np.array_equal(pixels, deep)
    assert header.bits == 16
    assert pixels.max() > 65000


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_gray_in_other_modes_is_read(tmp_path, mode):
    black_and_white = (GRAY > 100).astype(np.uint8) * 255
    Image.fromarray(black_and_white).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png")[1], black_and_white)


def test_colour_is_rejected(tmp_path):
    colour = np.dstack([GRAY, GRAY, 255 - GRAY])
    Image.fromarray(colour).save(tmp_path / "a.png")
    header = picture.read_header(tmp_path / "a.png")
    with pytest.raises(RejectedFile, match="COLOUR"):
        picture.read_pixels(tmp_path / "a.png", header)
    Image.fromarray(colour).convert("CMYK").save(tmp_path / "b.jpg")
    assert sniff.read_header(tmp_path / "b.jpg") is Code.COLOUR


def test_jpeg_is_lossy(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png", format="JPEG", quality=95)
    header, pixels = read(tmp_path / "a.png")
    assert header.facts.transfer_syntax == "jpeg"
    assert header.facts.lossy is True
    assert np.abs(pixels.astype(int) - GRAY).max() < 20
