import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medssl.ingestion import sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import Header
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


def png(path, samples, colour_type):
    """Write a 16-bit PNG of any colour type; samples (rows, columns, channels)."""
    rows, columns, _ = samples.shape
    head = struct.pack(">IIBBBBB", columns, rows, 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


DEEP = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 1390 + 7).astype(np.uint16)


def test_16_bit_gray_keeps_every_value_and_what_pillow_cuts_to_8_bits_is_rejected(tmp_path):
    gray = png(tmp_path / "gray.png", DEEP[..., None], 0)
    assert np.array_equal(read(gray)[1], DEEP)
    for channels, colour_type in ((3, 2), (2, 4), (4, 6)):
        path = png(tmp_path / "a.png", np.stack([DEEP] * channels, -1), colour_type)
        assert sniff.read_header(path) is Code.UNSUPPORTED_PIXELS


RAW = [
    ("<u2", DEEP), (">u2", DEEP), ("<i2", DEEP.astype(int) - 32768), (">i2", DEEP.astype(int) - 9),
    ("<u4", DEEP.astype(np.int64) * 65537), ("<i4", DEEP.astype(np.int64) * 30000 - 10**9),
    ("<f4", DEEP / 7 - 1000), (">f4", DEEP / 7 - 1000), ("|u1", GRAY),
]  # fmt: skip


def tiff(path, values, dtype, photometric=1):
    """Write an uncompressed TIFF of one strip, tag by tag."""
    pixels = np.asarray(values).astype(dtype)
    order = ">" if dtype[0] == ">" else "<"
    bits, kind = pixels.itemsize * 8, {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    rows, columns = pixels.shape
    start = 8 + 2 + 10 * 12 + 4
    tags = [
        (256, columns), (257, rows), (258, bits), (259, 1), (262, photometric), (273, start),
        (277, 1), (278, rows), (279, pixels.nbytes), (339, kind),
    ]  # fmt: skip
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags]
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8)
    body = struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4)
    path.write_bytes(head + body + pixels.tobytes())
    return path


@pytest.mark.parametrize(("dtype", "values"), RAW, ids=[dtype for dtype, _ in RAW])
def test_a_tiff_keeps_every_value(tmp_path, dtype, values):
    header, pixels = read(tiff(tmp_path / "a.tif", values, dtype))
    assert np.array_equal(pixels, np.asarray(values).astype(dtype))
    kind, bits = dtype[1], int(dtype[2]) * 8
    assert header.bits == (None if kind == "f" else bits)
    assert header.signed is (kind == "i")
    assert header.facts.transfer_syntax == "tiff"
    assert header.spacing is None


def test_white_is_zero_is_turned(tmp_path):
    header, _ = read(tiff(tmp_path / "a.tif", DEEP, "<u2", photometric=0))
    assert header.inverted
    header, pixels = read(tiff(tmp_path / "b.tif", GRAY, "|u1", photometric=0))
    assert not header.inverted
    assert np.array_equal(pixels, 255 - GRAY)


def test_what_would_lose_values_is_rejected(tmp_path):
    """Pillow reads 16 bits per colour as 8, and signed bytes as unsigned."""
    path = tiff(tmp_path / "a.tif", GRAY.astype(int) - 128, "|i1")
    assert sniff.read_header(path) is Code.UNSUPPORTED_PIXELS
    path = colour_tiff(tmp_path / "b.tif", np.stack([DEEP] * 3, -1))
    assert sniff.read_header(path) is Code.UNSUPPORTED_PIXELS


def colour_tiff(path, pixels):
    """Write an uncompressed TIFF of 16 bits per colour."""
    rows, columns, channels = pixels.shape
    depths = 8 + 2 + 10 * 12 + 4
    tags = [
        (256, 4, 1, columns), (257, 4, 1, rows), (258, 3, channels, depths), (259, 4, 1, 1),
        (262, 4, 1, 2), (273, 4, 1, depths + 8), (277, 4, 1, channels), (278, 4, 1, rows),
        (279, 4, 1, 2 * pixels.size), (284, 4, 1, 1),
    ]  # fmt: skip
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II" + struct.pack("<HI", 42, 8) + body + bytes(4) + struct.pack("<4H", *[16] * 4)
    path.write_bytes(head + pixels.astype("<u2").tobytes())
    return path


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"])
@pytest.mark.parametrize("pixels", [GRAY, DEEP], ids=["8 bits", "16 bits"])
def test_a_compressed_tiff_is_read(tmp_path, compression, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression=compression)
    header, found = read(tmp_path / "a.tif")
    assert np.array_equal(found, pixels)
    assert header.facts.lossy is False


def test_a_tiff_of_jpeg_is_lossy(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.tif", compression="jpeg")
    assert read(tmp_path / "a.tif")[0].facts.lossy is True


def test_a_tiff_of_several_pages_is_rejected(tmp_path):
    pages = [Image.fromarray(GRAY + n) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert sniff.read_header(tmp_path / "a.tif") is Code.MULTI_FRAME


def test_a_big_tiff_is_read(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "a.tif", big_tiff=True)
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II+\0"
    assert np.array_equal(read(tmp_path / "a.tif")[1], DEEP)


def test_a_dicom_file_that_begins_like_a_tiff_is_none():
    assert picture.recognises(b"II*\0" + bytes(200))
    assert not picture.recognises(b"II*\0".ljust(128, b"\0") + b"DICM")


def test_a_picture_that_claims_too_much_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(GRAY).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24)
    assert isinstance(sniff.read_header(path), Header)  # twice the limit is where Pillow stops
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 23)
    assert sniff.read_header(path) is Code.TOO_LARGE
