"""Whole patients are held out, the same ones whatever the listing order or the selection."""

import shutil

import hypothesis
import hypothesis.strategies as st
import pyarrow as pa
import pytest

from medssl.artifacts import archive, tables
from medssl.config.pretrain import PretrainSettings
from medssl.stages import pretrain
from medssl.training import held_out

ALL = [f"patient{k:02d}" for k in range(12)]  # of the tiny archive


def images(n_patients, each=2):
    rows = [(f"p{k:03d}", f"p{k:03d}-{j}") for k in range(n_patients) for j in range(each)]
    return pa.table({"patient_key": [p for p, _ in rows], "image_id": [i for _, i in rows]})


@hypothesis.given(
    n=st.integers(1, 60),
    share=st.floats(0.0, 0.49),
    seed=st.integers(0, 2**31),
    each=st.integers(1, 3),
)
def test_no_patient_and_no_image_is_in_both_parts_or_in_none(n, share, seed, each):
    table = images(n, each)
    parts = held_out.split(table, share, seed)
    train, validation = (set(t["patient_key"].to_pylist()) for t in (parts.train, parts.validation))
    assert not train & validation
    assert parts.train.num_rows + parts.validation.num_rows == table.num_rows
    assert (parts.n_patients, parts.n_validation_patients) == (len(train), len(validation))
    assert len(validation) == (max(1, round(share * n)) if share else 0)


def test_the_listing_order_does_not_matter():
    table = images(50)
    turned = table.take(list(range(table.num_rows))[::-1])
    first, second = (held_out.split(t, 0.2, 7).validation for t in (table, turned))
    assert set(first["image_id"].to_pylist()) == set(second["image_id"].to_pylist())


def test_another_seed_holds_out_others():
    first, second = (held_out.split(images(50), 0.2, seed).validation for seed in (0, 1))
    assert set(first["image_id"].to_pylist()) != set(second["image_id"].to_pylist())


def test_a_draw_is_nested_and_independent_of_the_listing_order():
    names = [f"image{k}" for k in range(200)]
    whole = held_out.draw(names, 50, 3)
    assert len(set(whole)) == 50
    assert held_out.draw(names[::-1], 50, 3) == whole
    half = [name for k, name in enumerate(names) if k % 2]
    assert set(held_out.draw(half, 200, 3)) == set(half)
    assert held_out.draw(half, 10, 3) == [n for n in held_out.draw(names, 200, 3) if n in half][:10]
    assert held_out.draw(names, 50, 4) != whole


@pytest.mark.parametrize("share", [0.0, 0])
def test_nobody_is_held_out_where_none_is_asked_for(share):
    assert held_out.split(images(9), share, 0).validation.num_rows == 0


@pytest.fixture(scope="module")
def mixed(tiny_archive, tmp_path_factory):
    """The tiny archive with radiographs of one image each: patients 8 to 11 alone have volumes."""
    folder = shutil.copytree(tiny_archive, tmp_path_factory.mktemp("mixed") / "archive")
    rows = archive.read_images(folder).to_pylist()
    for row in rows[:16]:
        row |= {"series_key": f"series-{row['image_id']}", "slice_index": 0}
    archive.write_images(folder, tables.build(rows, archive.IMAGES))
    return folder


@pytest.mark.parametrize("seed", range(4))
def test_runs_in_2d_and_3d_watch_the_same_patients(mixed, seed):
    given = {"archive": mixed, "validation": 0.4, "seed": seed}
    flat, _ = held_out.read(PretrainSettings(**given))
    volumes, _ = held_out.read(PretrainSettings(**given, spatial_dims=3))
    have_volumes = {f"patient{k:02d}" for k in range(8, 12)}
    watched = set(flat.validation["patient_key"].to_pylist())
    assert len(watched) == round(0.4 * 12)
    assert set(volumes.validation["patient_key"].to_pylist()) == watched & have_volumes
    assert set(volumes.train["patient_key"].to_pylist()) == have_volumes - watched


def test_where_nobody_watched_has_a_volume_the_run_says_so(mixed):
    given = PretrainSettings(archive=mixed, spatial_dims=3, batch_size=2, method="vicreg")
    none = next(s for s in range(99) if not held_out.watched(ALL, 0.1, s) & set(ALL[8:]))
    settings = given.model_copy(update={"validation": 0.1, "seed": none})
    notes = pretrain.plan(settings, device="cpu").notes
    assert "validation: none of the watched patients of the archive has a volume" in notes


@hypothesis.given(n=st.integers(2, 80), more=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_a_growing_archive_lets_go_of_a_watched_patient_only_for_a_new_one(n, more, seed):
    before = held_out.watched([f"p{k}" for k in range(n)], 0.2, seed)
    after = held_out.watched([f"p{k}" for k in range(n + more)], 0.2, seed)
    joined = after - before
    assert len(after) >= len(before)
    assert len(before - after) <= sum(int(name[1:]) >= n for name in joined)
