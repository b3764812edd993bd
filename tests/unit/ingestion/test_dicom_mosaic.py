import struct

import numpy as np
import pytest

from medssl.ingestion import sniff
from medssl.ingestion.codes import Code
from medssl.ingestion.dicom import mosaic as mosaics
from medssl.ingestion.readers import dicom

from .conftest import dataset

SLICES = np.arange(5 * 6 * 8, dtype=np.uint16).reshape(5, 6, 8)
OBLIQUE = [0.8, 0.6, 0, 0, 0, -1]


def csa(**values):
    """Return a CSA header of version 2; each value is a list of texts."""
    content = b"SV10\4\3\2\1" + struct.pack("<2L", len(values), 77)
    for name, texts in values.items():
        content += struct.pack("<64sl4s3l", name.encode(), len(texts), b"LO", 0, len(texts), 77)
        for text in texts:
            told = text.encode() + b"\0"
            content += struct.pack("<4l", len(told), len(told), 77, len(told))
            content += told + bytes(-len(told) % 4)
    return content


def first_csa(n_items=6, **values):
    """Return a CSA header of version 1: no name, and lengths counted from the number of items."""
    content = struct.pack("<2L", len(values), 77)
    for name, texts in values.items():
        head = (name.encode(), len(texts), b"IS", 6, n_items, 205)
        content += struct.pack("<64sl4s3l", *head)
        for text in [*texts, *[""] * (n_items - len(texts))]:
            told = text.encode() + b"\0" if text else b""
            content += struct.pack("<4l", len(told) + n_items, n_items, 77, n_items)
            content += told + bytes(-len(told) % 4)
    return content


def protocol(centres):
    """Return a scan protocol with these slice centres, L P S mm; zeros are left out."""
    lines = ["### ASCCONV BEGIN ###", f"sSliceArray.lSize\t = \t{len(centres)}"]
    for n, centre in enumerate(centres):
        for axis, value in zip(("Sag", "Cor", "Tra"), centre, strict=True):
            if value:
                lines.append(f"sSliceArray.asSlice[{n}].sPosition.d{axis}\t = \t{value}")
    return "\n".join(lines)


def tiled(slices, side=3):
    rows, columns = slices.shape[1:]
    image = np.zeros((side * rows, side * columns), slices.dtype)
    for n, one in enumerate(slices):
        top, left = n // side * rows, n % side * columns
        image[top : top + rows, left : left + columns] = one
    return image


def mosaic(path, image, *, image_header=None, series_header=None, count=None, **tags):
    made = dataset(image, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], **tags)
    block = made.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    if image_header is not None:
        block.add_new(0x10, "OB", image_header)
    if series_header is not None:
        block.add_new(0x20, "OB", series_header)
    if count is not None:
        made.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    made.save_as(path, enforce_file_format=True)
    return path


PLACE = {"ImagePositionPatient": [-10, -20, 30], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
         "PixelSpacing": [2, 3], "SpacingBetweenSlices": 4}  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        {"image_header": csa(NumberOfImagesInMosaic=["5"])},
        {"image_header": first_csa(EchoLinePosition=["32"], NumberOfImagesInMosaic=["5"])},
        {"count": 5},
    ],
    ids=["csa", "first csa", "tag"],
)
def test_a_mosaic_is_cut_into_its_slices(tmp_path, told):
    path = mosaic(tmp_path / "a", tiled(SLICES), **told, **PLACE)
    header = dicom.read_header(path)
    assert (header.rows, header.columns, len(header.frames)) == (6, 8, 5)
    assert np.array_equal(dicom.read_pixels(path, header), SLICES)
    origins = np.array([frame.plane.origin for frame in header.frames])
    # The corner moves by (18 - 6) / 2 rows of 2 mm and (24 - 8) / 2 columns of 3 mm.
    assert origins.tolist() == [[10 - 24, 20 - 12, 30 + 4 * n] for n in range(5)]


@pytest.mark.parametrize("number", [1, 4, 9])
def test_the_grid_is_as_small_as_it_can_be(tmp_path, number):
    side = {1: 1, 4: 2, 9: 3}[number]
    slices = np.arange(number * 12, dtype=np.uint16).reshape(number, 3, 4)
    path = mosaic(tmp_path / "a", tiled(slices, side), count=number)
    header = dicom.read_header(path)
    assert np.array_equal(dicom.read_pixels(path, header), slices)
    assert [frame.instance for frame in header.frames] == list(range(1, number + 1))
    assert {frame.plane for frame in header.frames} == {None}


CENTRES = [(5.0, 0, 30.0 + 4 * n) for n in range(5)]


@pytest.mark.parametrize(
    ("normal", "centres", "step"),
    [
        (["0", "0", "1"], None, 4),
        (["0", "0", "-1"], None, -4),
        (["0", "0", "1"], CENTRES, 4),
        (["0", "0", "1"], CENTRES[::-1], 4),  # numbered from the other end
        (["0", "0", "1"], [(5.0, 0, 30.0 - 4 * n) for n in range(5)], -4),
        (["0", "0", "-1"], [(0, 0, 900.0 + n) for n in range(5)], -4),  # elsewhere: the table moved
        (["x", "0", "1"], CENTRES[:3], 4),  # not this volume
    ],
)
@pytest.mark.parametrize("of", [csa, first_csa], ids=["second", "first"])
def test_the_slices_run_as_the_protocol_or_the_normal_says(tmp_path, of, normal, centres, step):
    series_header = of(MrPhoenixProtocol=[protocol(centres)]) if centres else None
    image_header = of(NumberOfImagesInMosaic=["5"], SliceNormalVector=normal)
    path = mosaic(tmp_path / "a", tiled(SLICES), image_header=image_header,
                  series_header=series_header, **PLACE)  # fmt: skip
    planes = [frame.plane for frame in dicom.read_header(path).frames]
    assert np.diff([plane.origin[2] for plane in planes]).tolist() == [step] * 4


def test_the_distance_may_come_from_the_protocol_or_the_thickness(tmp_path):
    place = {name: value for name, value in PLACE.items() if name != "SpacingBetweenSlices"}
    header = csa(MrPhoenixProtocol=[protocol([(0, 0, 30.0 + 7 * n) for n in range(5)])])
    path = mosaic(tmp_path / "a", tiled(SLICES), count=5, series_header=header, **place,
                  SliceThickness=3)  # fmt: skip
    assert dicom.read_header(path).frames[1].plane.origin[2] == 37
    path = mosaic(tmp_path / "b", tiled(SLICES), count=5, **place, SliceThickness=3)
    assert dicom.read_header(path).frames[1].plane.origin[2] == 33


def test_an_oblique_mosaic_steps_along_its_normal(tmp_path):
    place = {**PLACE, "ImageOrientationPatient": OBLIQUE}
    path = mosaic(tmp_path / "a", tiled(SLICES), count=5, **place)
    first, second = (frame.plane for frame in dicom.read_header(path).frames[:2])
    step = np.subtract(second.origin, first.origin)
    expected = np.cross(OBLIQUE[:3], OBLIQUE[3:]) * [-1, -1, 1] * 4
    assert step == pytest.approx(expected) or step == pytest.approx(-expected)
    assert step @ np.array(first.column_step) == pytest.approx(0)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"count": 0},
        {"count": 17},  # 18 rows are no five tiles
        {"image_header": b"SV10" + bytes(3)},
        {"image_header": csa(NumberOfImagesInMosaic=["5"])[:110]},
        {"image_header": csa(NumberOfImagesInMosaic=["five"])},
        {"image_header": b"no CSA header at all"},
    ],
)
def test_a_mosaic_of_unknown_tiling_is_told(tmp_path, told):
    assert sniff.read_header(mosaic(tmp_path / "a", tiled(SLICES), **told, **PLACE)) is Code.MOSAIC


@pytest.mark.filterwarnings("ignore:The DICOM readers are highly experimental")
def test_the_csa_header_is_read_as_nibabel_reads_it():
    from nibabel.nicom import csareader

    content = csa(NumberOfImagesInMosaic=["5"], SliceNormalVector=["0.1", "-2e-3", "1"], Other=[])
    expected = {
        name: [str(item) for item in tag["items"]]
        for name, tag in csareader.read(content)["tags"].items()
    }
    assert mosaics._csa_header(content) == expected
