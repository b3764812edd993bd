import base64
import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from medssl.artifacts import archive, pixels, tables
from medssl.artifacts.archive import IMAGES
from medssl.reporting import contact_sheet


def rows(n_series, *, slices=1, **more):
    return [
        {
            "image_id": f"{more.get('modality')}{more.get('site')}{s}-{k}", "patient_key": "p",
            "series_key": f"{more.get('modality')}-{more.get('site')}-{s:04d}", "slice_index": k,
            "rows": 4, "columns": 4, "shard": 0, "row": 0, "unit": "arbitrary", "slope": 1.0,
            "intercept": 0.0, **more,
        }
        for s in range(n_series)
        for k in range(slices)
    ]  # fmt: skip


def table(*parts):
    return tables.build([row for part in parts for row in part], IMAGES)


def opened(thumbnail):
    head, _, content = thumbnail.source.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.fixture
def write(tmp_path):
    def store(stored, **row):
        """An archive of one image, and its row."""
        pixels.write(tmp_path, 0, stored[None])
        _, height, width = stored.shape
        full = rows(1)[0] | {"rows": height, "columns": width, "modality": None, "site": None} | row
        return tmp_path, full

    return store


def test_modalities_and_sites_take_turns_until_the_sheet_is_full():
    images = table(
        rows(500, modality="CT", site="north"),
        rows(500, modality="MR", site="north"),
        rows(10, modality="MR", site=None),
    )
    chosen = contact_sheet.choose(images)
    assert len(chosen) == contact_sheet.MOST
    shares = Counter((row["modality"], row["site"]) for row in chosen)
    assert shares == {("CT", "north"): 55, ("MR", "north"): 55, ("MR", None): 10}
    assert len({row["series_key"] for row in chosen}) == contact_sheet.MOST


def test_the_order_of_the_table_does_not_matter():
    images = table(rows(90, modality="CT", site="a", slices=3), rows(90, modality="MR", site="b"))
    shuffled = images.take(np.random.default_rng(0).permutation(images.num_rows))
    assert contact_sheet.choose(shuffled) == contact_sheet.choose(images)


@pytest.mark.parametrize(("slices", "middle"), [(1, 0), (2, 1), (9, 4)])
def test_a_series_is_shown_by_its_middle_image(slices, middle):
    (row,) = contact_sheet.choose(table(rows(1, slices=slices, modality="CT", site="a")))
    assert (row["slice_index"], row["slices"]) == (middle, slices)


def test_ct_is_windowed_in_hounsfield_units(write):
    low, high = contact_sheet.WINDOW_HU
    values = np.array([[low - 500, low, (low + high) / 2, high, high + 500]], dtype=np.int16)
    folder, row = write((values - 7)[None], unit="HU", intercept=7.0)
    assert contact_sheet.eight_bit(folder, row).tolist() == [[0, 0, 128, 255, 255]]


def test_bytes_stay_and_the_padding_is_not_shown(write):
    stored = np.arange(25, dtype=np.uint8).reshape(1, 5, 5)
    folder, row = write(stored, rows=3, columns=4)
    assert np.array_equal(contact_sheet.eight_bit(folder, row), stored[0, :3, :4])


def test_other_depths_are_stretched_between_percentiles(write):
    stored = np.arange(1000, dtype=np.uint16).reshape(1, 20, 50)
    stored[0, 0, 0], stored[0, -1, -1] = 0, 60000  # an outlier
    folder, row = write(stored)
    low, high = np.percentile(stored, contact_sheet.STRETCH)
    shown = contact_sheet.eight_bit(folder, row)
    assert shown[0, 0] == 0
    assert shown[-1, -1] == 255
    inner = stored[0, 10, 25]
    assert shown[10, 25] == round(255 * (inner - low) / (high - low))


def test_one_value_throughout_is_black_and_no_error(write):
    folder, row = write(np.full((1, 4, 4), 900, dtype=np.uint16))
    assert not contact_sheet.eight_bit(folder, row).any()


def test_colour_is_shown_as_colour(write):
    stored = np.zeros((3, 8, 8), dtype=np.uint8)
    stored[0] = 200
    folder, row = write(stored)
    (thumbnail,) = contact_sheet.draw(folder, tables.build([row], IMAGES))
    assert opened(thumbnail).getpixel((4, 4)) == (200, 0, 0)


def test_a_picture_has_the_proportions_of_the_patient(write):
    folder, row = write(np.zeros((1, 400, 200), dtype=np.uint8), spacing=[0.5, 2.0, 5.0])
    (thumbnail,) = contact_sheet.draw(folder, tables.build([row], IMAGES))
    assert opened(thumbnail).size == (contact_sheet.SIDE, contact_sheet.SIDE // 2)
    assert (thumbnail.size, thumbnail.spacing) == ("400 × 200 px", "0.5 × 2 × 5")

    folder, row = write(np.zeros((1, 50, 100), dtype=np.uint8))
    (thumbnail,) = contact_sheet.draw(folder, tables.build([row], IMAGES))
    assert opened(thumbnail).size == (100, 50)
    assert thumbnail.spacing == ""


def test_a_speck_is_enlarged_pixel_by_pixel(write):
    stored = np.random.default_rng(0).integers(0, 256, (1, 8, 16)).astype(np.uint8)
    folder, row = write(stored)
    (thumbnail,) = contact_sheet.draw(folder, tables.build([row], IMAGES))
    assert np.array_equal(np.asarray(opened(thumbnail)), np.kron(stored[0], np.ones((10, 10))))


def test_a_strip_can_be_seen(write):
    stored = np.repeat(np.arange(4, dtype=np.uint8)[None, None] * 60, 300, axis=1)
    folder, row = write(stored)
    (thumbnail,) = contact_sheet.draw(folder, tables.build([row], IMAGES))
    shown = np.asarray(opened(thumbnail))
    assert shown.shape == (contact_sheet.SIDE, contact_sheet.THINNEST)
    assert np.unique(shown).tolist() == [0, 60, 120, 180]


@pytest.mark.parametrize(
    ("modality", "part", "slices", "warned"),
    [
        ("CT", "HEAD", 30, "a face can"),
        ("MR", "BRAIN", 30, "a face can"),
        ("MR", None, 30, "if a head: a face can"),
        ("CT", "CHEST", 30, ""),
        ("CT", "HEAD", 1, ""),
        ("DX", "SKULL", 30, ""),
    ],
)
def test_series_from_which_a_face_can_be_rendered_are_marked(write, modality, part, slices, warned):
    folder, _ = write(np.zeros((1, 4, 4), dtype=np.uint8))
    images = table(rows(1, slices=slices, modality=modality, site="a", body_part=part))
    (thumbnail,) = contact_sheet.draw(folder, images)
    assert thumbnail.warning.startswith(warned)
    assert bool(thumbnail.warning) is bool(warned)
    assert thumbnail.series == f"{modality}-a-0000"[:8]


def test_a_real_archive_has_a_sheet(tiny_archive):
    images = archive.read_images(tiny_archive)
    sheet = contact_sheet.draw(tiny_archive, images)
    assert len(sheet) == 12
    assert Counter(one.modality for one in sheet) == {"DX": 8, "CT": 4}
    assert {one.slices for one in sheet} == {2}
    assert {opened(one).size for one in sheet} == {(3 * 48, 3 * 48), (3 * 40, 3 * 48)}
