import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from medssl.ingestion import colour, sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import PLAIN, Header, Reading
from medssl.ingestion.readers import picture

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def read(path, how=PLAIN):
    header = picture.read_header(path, how)
    return header, picture.read_pixels(path, header, how)[0]


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


COLOUR = np.dstack([GRAY, GRAY[::-1], 255 - GRAY])
WEIGHED = colour.luminance(COLOUR)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_is_read_as_asked_for(tmp_path, mode):
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).convert(mode, palette=Image.Palette.ADAPTIVE).save(path)
    with pytest.raises(RejectedFile, match="COLOUR"):
        read(path)
    for how, pixels in (("gray", WEIGHED), ("keep", COLOUR)):
        header, found = read(path, Reading(colour=how))
        assert header.channels == (3 if how == "keep" else 1)
        assert found.shape == pixels.shape
        assert np.array_equal(found, pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "I;16", "F"])
def test_gray_has_one_channel_where_colour_is_kept(tmp_path, mode):
    path = tmp_path / "a.tif"
    Image.fromarray(GRAY).convert(mode).save(path if mode == "F" else path.with_suffix(".png"))
    header, found = read(path if mode == "F" else path.with_suffix(".png"), Reading(colour="keep"))
    assert (header.channels, found.shape) == (1, GRAY.shape)


def test_a_palette_of_grays_with_transparency_is_gray(tmp_path):
    image = Image.fromarray(GRAY).convert("P")
    image.save(tmp_path / "a.png", transparency=7)
    header, found = read(tmp_path / "a.png", Reading(colour="keep"))
    assert header.channels == 1
    assert np.array_equal(found, GRAY)


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "jpg"), ("CMYK", "tif"), ("YCbCr", "tif")])
def test_other_terms_of_colour_are_read_only_if_wanted(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOUR).convert(mode).save(path, quality=100)
    assert sniff.read_header(path) is Code.COLOUR
    for how, pixels in (("gray", WEIGHED), ("keep", COLOUR)):
        found = read(path, Reading(colour=how))[1].astype(int)
        assert found.shape == pixels.shape
        assert np.abs(found - pixels).mean() < 8  # JPEG and 8-bit YCbCr round


# How the corner F of the EXIF standard lies in the file for each orientation, and as shown.
SHOWN = np.array([[9, 9, 9], [9, 0, 0], [9, 9, 0], [9, 0, 0]], np.uint8)
LIES = {
    1: SHOWN, 2: SHOWN[:, ::-1], 3: SHOWN[::-1, ::-1], 4: SHOWN[::-1],
    5: SHOWN.T, 6: np.rot90(SHOWN), 7: SHOWN.T[::-1, ::-1], 8: np.rot90(SHOWN, -1),
}  # fmt: skip


@pytest.mark.parametrize("orientation", LIES)
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_an_image_is_turned_as_it_is_to_be_shown(tmp_path, orientation, suffix):
    lies = np.ascontiguousarray(LIES[orientation])
    shown = SHOWN
    if suffix == "jpg":  # lossy: whole blocks of one gray
        lies, shown = (np.kron(part, np.full((8, 8), 28, np.uint8)) for part in (lies, SHOWN))
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(lies).save(path, exif=exif)
    header, found = read(path)
    assert (header.rows, header.columns) == shown.shape
    assert np.abs(found.astype(int) - shown).max() <= (2 if suffix == "jpg" else 0)
    if suffix != "tif":  # which Pillow turns when it is loaded
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), found)


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("png", np.uint16), ("tif", np.uint16), ("tif", np.float32)]
)
def test_deep_images_are_turned_too(tmp_path, suffix, dtype):
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.rot90(SHOWN).astype(dtype)).save(path, exif=exif)
    header, found = read(path)
    assert (header.rows, header.columns) == SHOWN.shape
    assert np.array_equal(found, SHOWN)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("note", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", bytes(99)])
def test_a_damaged_note_does_not_spoil_an_image(tmp_path, note):
    Image.fromarray(GRAY).save(tmp_path / "a.png", exif=note)
    assert np.array_equal(read(tmp_path / "a.png")[1], GRAY)


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


def blank_png(path, columns, rows, size):
    """Write a PNG of these measures, filled up to ``size`` bytes."""
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    body = struct.pack(">I", size) + b"IDAT" + bytes(size)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + body)
    return path


@pytest.mark.parametrize(
    ("side", "size", "code"), [(30_000, 10**6, Code.BOMB), (30_000, 10**7, Code.TOO_LARGE),
                               (16_384, 10**7, None), (16_385, 10**7, Code.TOO_LARGE),
                               (9_000, 10**6, Code.BOMB), (9_000, 2 * 10**6, None),
                               (8_000, 10**4, None)]
)  # fmt: skip
def test_what_packs_too_well_is_a_bomb_unless_it_is_small(tmp_path, side, size, code):
    found = sniff.read_header(blank_png(tmp_path / "a.png", side, side, size))
    assert found is code if code else (found.rows, found.columns) == (side, side)


def test_a_tile_much_larger_than_its_image_is_a_bomb(tmp_path):
    for side, is_read in ((4096, True), (4097, False)):
        info = ImageFileDirectory_v2()
        for tag in (65000, 65001):  # as Pillow writes no tiles, these become their measures
            info[tag], info.tagtype[tag] = side, 4
        Image.fromarray(GRAY).save(tmp_path / "a.tif", tiffinfo=info)
        content = (tmp_path / "a.tif").read_bytes()
        for tag, tile in ((65000, 322), (65001, 323)):
            content = content.replace(struct.pack("<HH", tag, 4), struct.pack("<HH", tile, 4))
        (tmp_path / "a.tif").write_bytes(content)
        found = sniff.read_header(tmp_path / "a.tif")
        assert isinstance(found, Header) if is_read else found is Code.BOMB


def test_the_second_of_a_million_pages_is_enough(tmp_path, monkeypatch):
    """Counting pages would read them all."""
    pages = [Image.fromarray(GRAY)] * 3
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    monkeypatch.setattr(TiffImageFile, "n_frames", property(lambda _: 1 / 0))
    assert sniff.read_header(tmp_path / "a.tif") is Code.MULTI_FRAME


def test_a_picture_in_a_zip_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "a.tif", "b.tif"):
            more = {"compression": "tiff_lzw"} if name == "b.tif" else {}
            Image.fromarray(GRAY).save(tmp_path / name, **more)
            archive.write(tmp_path / name, name)
    for name in ("a.png", "a.tif", "b.tif"):
        assert np.array_equal(read(tmp_path / "a.zip" / name)[1], GRAY)
