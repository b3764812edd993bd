import base64
import io

import numpy as np
import pytest
from PIL import Image

from medssl.artifacts import pixels, tables
from medssl.artifacts.archive import IMAGES
from medssl.data.shown import ShownImages
from medssl.reduction import dhash
from medssl.reporting import gallery
from medssl.thinning import covering, leader, scoping
from medssl.thinning.accounting import Accounted
from medssl.thinning.metrics import Metric
from medssl.thinning.pools import Pool

STEP = gallery.TILE + 2 * gallery.FRAME + gallery.GAP


def opened(source):
    head, _, content = source.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def tile(sheet, n):
    y, x = (STEP * k for k in divmod(n, gallery.ACROSS))
    return sheet[y : y + STEP - gallery.GAP, x : x + STEP - gallery.GAP]


def test_kept_slices_are_framed_and_dropped_ones_dim():
    slices = [np.full((60, 60), 200, dtype=np.uint8)] * 30
    kept = np.arange(30) % 7 == 0
    sheet = gallery.sheet(slices, kept)
    assert sheet.shape == (2 * STEP - gallery.GAP, 24 * STEP - gallery.GAP)
    for n in range(30):
        own = tile(sheet, n)
        inside = own[2:-2, 2:-2]
        assert np.unique(inside).tolist() == [200 if kept[n] else 70]
        frame = np.concatenate([own[:2].ravel(), own[-2:].ravel(), own[:, :2].ravel()])
        assert np.unique(frame).tolist() == [255 if kept[n] else 64]


def test_slices_keep_their_shape():
    sheet = gallery.sheet([np.full((20, 80), 90, dtype=np.uint8)], np.array([True]))
    inside = sheet[2:-2, 2:-2]
    assert inside.shape == (40, 40)
    assert (inside[15:25] == 90).all()
    assert (inside[:15] == 0).all()
    assert (inside[25:] == 0).all()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two series: 30 slices in three steps of brightness gradient, and 500 slices."""
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 255, (530, 1, 12, 12)).astype(np.uint8)
    stored[:30] = np.repeat(stored[:3], 10, axis=0)
    pixels.write(folder, 0, stored)
    rows = [
        {"image_id": f"image{n:03d}-long", "patient_key": "p", "row": n, "shard": 0, "rows": 12,
         "series_key": "shortseries" if n < 30 else "longseries", "columns": 12,
         "unit": "arbitrary", "slope": 1.0, "intercept": 0.0, "modality": "MR",
         "slice_index": n if n < 30 else n - 30}
        for n in range(530)
    ]  # fmt: skip
    table = tables.build(rows, IMAGES)
    return table, ShownImages(folder, table, (-1000.0, 1000.0))


def test_pairs_and_series_are_drawn_as_the_strategy_saw_them(archive):
    table, shown = archive
    config = dhash.Config()
    link = Metric(name="dhash", strategy=dhash, config=config, tau=1.0,
                  descriptors=dhash.describe(shown.of(range(530)), config))  # fmt: skip
    none, key = np.zeros(530, dtype=bool), (np.arange(530) >= 30).astype(np.int64)
    scopes = scoping.ordered(scoping.rows_of(key, 530), np.arange(530), none)
    pool = Pool(scopes=scopes, protected=none, patient=key, series=key)
    thinned = leader.select([link], scopes)
    kept = np.isin(np.arange(530), thinned.kept)
    told = Accounted(
        record={}, strata=table, per_patient=table, per_series=table, inside=~none, kept=kept,
        coverage=covering.measure(link, pool, thinned, seed=0), stage=None,
    )  # fmt: skip
    pairs, strips = gallery.draw(shown, table, told, pool, thinned)
    assert {pair.is_dropped for pair in pairs} == {True, False}
    for pair in pairs:
        assert len(pair.image) == len(pair.other_image) == 8
        assert pair.similarity == 1 if pair.is_dropped else pair.similarity < 1
        assert opened(pair.source).shape == (128, 128)
    dropped = next(pair for pair in pairs if pair.is_dropped)
    assert np.array_equal(opened(dropped.source), opened(dropped.other_source))
    long, short = strips
    assert (long.slices, long.first, long.last, long.series) == (500, 11, 490, "longseri")
    assert (short.slices, short.kept, short.kept_slices) == (30, 3, "1, 11, 21")
    sheet = opened(short.source)
    bright = np.asarray(Image.fromarray(shown[0].image).resize((40, 40), Image.Resampling.NEAREST))
    assert np.array_equal(tile(sheet, 0)[2:-2, 2:-2], bright)
    assert np.array_equal(tile(sheet, 1)[2:-2, 2:-2], np.rint(bright * 0.35))


def test_numbers_are_put_together_to_ranges():
    assert gallery._runs(np.array([1, 2, 3, 5, 8, 9])) == "1-3, 5, 8-9"
    assert gallery._runs(np.array([], dtype=np.int64)) == ""
