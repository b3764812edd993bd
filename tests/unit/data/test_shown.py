"""How images are shown: window, percentiles and luminance, and where the body is."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medssl.artifacts import archive, pixels, tables
from medssl.data import shown
from medssl.data.shown import ShownImages
from medssl.ingestion import phantom_volumes

WINDOW = (-1000.0, 1000.0)
FACTS = {"shard": 0, "slope": 1.0, "intercept": 0.0, "unit": "arbitrary"}


@pytest.fixture
def put(tmp_path):
    """Write one image (H, W) or (C, H, W) and return how it is shown."""

    def put(image, *, mask=False, window=WINDOW, **facts):
        image = image if image.ndim == 3 else image[None]
        (tmp_path / "pixels").mkdir(exist_ok=True)
        pixels.write(tmp_path, 0, image[None])
        rows, columns = image.shape[1:]
        row = {**FACTS, "row": 0, "rows": rows, "columns": columns, **facts}
        return ShownImages(tmp_path, tables.build([row], archive.IMAGES), window, mask=mask)[0]

    return put


def ct_slice(side=256, seed=0):
    volume = phantom_volumes.chest_ct((3, side, side), np.random.default_rng(seed))
    return volume[1]


def mr_slice(place=0.5, seed=0):
    volume = phantom_volumes.head_mr((120, 130, 24), np.random.default_rng(seed))
    return volume[:, :, int(place * 23)].astype(np.uint16)


def test_eight_bit_images_stay_as_they_are(tiny_archive):
    images = ShownImages(tiny_archive, archive.read_images(tiny_archive), WINDOW, mask=True)
    assert len(images) == 24
    assert np.array_equal(images[3].image, pixels.read(tiny_archive, 0)[3, 0])
    assert images[3].body is None


def test_ct_is_windowed_and_cut_to_its_valid_area(tiny_archive):
    images = ShownImages(tiny_archive, archive.read_images(tiny_archive), WINDOW)
    hu = pixels.read(tiny_archive, 1)[0, 0, :, :40].astype(float)
    assert images[16].image.shape == (48, 40)
    assert np.abs(images[16].image - (hu + 1000) / 2000 * 255).max() <= 0.5 + 1e-4


def test_stored_values_are_rescaled_before_the_window(put):
    stored = np.arange(-100, 156, dtype=np.int16).reshape(16, 16)
    seen = put(stored, unit="HU", slope=2.0, intercept=50.0, window=(0.0, 100.0)).image
    expected = np.clip((stored * 2.0 + 50) / 100, 0, 1) * 255
    assert np.abs(seen - expected).max() <= 0.5 + 1e-4


def test_sixteen_bit_images_do_not_saturate(put):
    ramp = np.linspace(0, 4000, 64 * 64).reshape(64, 64).astype(np.uint16)
    seen = put(ramp).image
    assert (seen == 255).mean() < 0.02
    assert len(np.unique(seen)) == 256


def test_a_constant_image_is_black(put):
    assert not put(np.full((9, 9), 700, np.uint16)).image.any()


def test_colour_is_shown_by_its_luminance(put):
    colours = np.zeros((3, 2, 2), np.uint8)
    colours[0, 0, 0], colours[1, 0, 1], colours[2, 1, 0], colours[:, 1, 1] = 255, 255, 255, 255
    assert put(colours).image.tolist() == [[76, 150], [29, 255]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_percentiles_are_those_of_numpy(dtype):
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 199, 200, 201, 5000):
        for top in (1, 7, 30000):
            lowest = 0 if dtype is np.uint16 else -top
            values = rng.integers(lowest, top, (1, size)).astype(dtype)
            expected = np.percentile(values.astype(np.float64), shown.STRETCH)
            assert np.allclose(shown.percentiles(values), expected, rtol=1e-12, atol=1e-12)


def test_the_body_of_a_ct_is_found_without_its_table(put):
    hu = ct_slice()
    bare, masked = (put(hu, mask=m, unit="HU", modality="CT") for m in (False, True))
    body = masked.body
    assert bare.body is None
    assert np.array_equal(masked.image, np.where(body, bare.image, 0))
    assert body[128, 128]
    assert not body[[0, -1]].any()
    assert body[128, 70]  # the lung, a hole in what is dense
    assert hu[128, 70] < shown.BODY_HU
    assert not body[225:].any()  # the table, denser than the threshold
    assert (hu[215:240] > shown.BODY_HU).any()


def test_two_legs_are_both_body(put):
    hu = np.full((128, 128), -1000, np.int16)
    y, x = np.mgrid[:128, :128]
    for centre, radius in ((40, 20), (90, 16)):
        hu[np.hypot(y - 64, x - centre) < radius] = 40
    hu[5:9, 5:9] = 300  # a tube
    body = put(hu, mask=True, unit="HU", modality="CT").body
    assert body[64, 40]
    assert body[64, 90]
    assert not body[:12, :12].any()


def test_the_body_of_an_mr_holds_its_dark_parts(put):
    values = mr_slice()
    seen = put(values, mask=True, modality="MR")
    y, x = np.mgrid[: values.shape[0], : values.shape[1]] + 0.5
    head = np.hypot((2 * x / 130 - 1) / 0.92, (2 * y / 120 - 1) / 0.86) < 1
    assert (seen.body == head).mean() > 0.95
    assert not seen.image[~seen.body].any()


def test_no_mask_where_none_is_wanted_or_nothing_is_found(put):
    rng = np.random.default_rng(0)
    air = rng.normal(-1000, 20, (64, 64)).astype(np.int16)
    noise = np.abs(rng.normal(0, 14, (128, 128))).astype(np.uint16)
    tissue = rng.integers(300, 900, (64, 64)).astype(np.uint16)
    speck = air.copy()
    speck[30:36, 30:36] = 500  # 36 of 4096 px
    for image, facts in (
        (air, {"unit": "HU", "modality": "CT"}),
        (speck, {"unit": "HU", "modality": "CT"}),
        (noise, {"modality": "MR"}),
        (tissue, {"modality": "MR"}),
        (mr_slice(), {"modality": "PT"}),
        (mr_slice(), {}),
    ):
        masked, bare = put(image, mask=True, **facts), put(image, **facts)
        assert masked.body is None
        assert np.array_equal(masked.image, bare.image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (300, 5), (64, 64), (130, 257)])
def test_a_mask_has_the_shape_of_its_image(put, shape):
    hu = np.full(shape, 50, np.int16)
    seen = put(hu, mask=True, unit="HU", modality="CT")
    assert seen.body.shape == seen.image.shape == shape
    assert seen.body.all()


def test_contrast_tells_air_from_anything():
    rng = np.random.default_rng(0)
    noise = rng.normal(120, 40, (256, 256)).clip(0, 255).astype(np.uint8)
    spot = np.zeros((256, 256), np.uint8)
    spot[100:130, 100:130] = 200
    assert shown.contrast(np.full((5, 7), 9, np.uint8)) == 0
    assert shown.contrast(noise) < 3 < 10 < shown.contrast(spot)
    checks = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((4, 4))).astype(np.uint8) * 100
    assert shown.contrast(checks) == 50


def test_threads_see_what_one_sees(tiny_archive):
    images = ShownImages(tiny_archive, archive.read_images(tiny_archive), WINDOW, mask=True)
    chunks = [np.array([20, 3, 16]), np.arange(24), np.arange(23, -1, -1)] * 4
    with ThreadPoolExecutor(4) as pool:
        for chunk, seen in zip(chunks, pool.map(lambda c: list(images.of(c)), chunks), strict=True):
            for number, one in zip(chunk, seen, strict=True):
                assert np.array_equal(one.image, images[number].image)


@pytest.mark.parametrize("dataset", ["ct-siim-dicom"])
def test_bodies_of_real_ct_fill_a_plausible_part(test_data, dataset):
    import pydicom

    for path in sorted((test_data / dataset / "dicom").glob("*.dcm"))[::6]:
        file = pydicom.dcmread(path)
        hu = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        body = shown.ct_body(hu)
        assert 0.1 < body.mean() < 0.9
        assert body[hu > shown.BODY_HU].mean() > 0.85  # the rest: table, tubes, clothes
