"""Series as bags of slices: which slices, from where, and under which view."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from medssl.artifacts import archive, pixels, tables
from medssl.config.training import CutMix, Intensity, Views
from medssl.data import mixing, volumes
from medssl.data import views as recipes
from medssl.data.bags import BagIntensity, BagStore, plain_bags
from medssl.data.batches import TrainingBatches, plain_batches
from medssl.data.inputs import Input
from medssl.data.sampling import Shuffled
from medssl.data.store import ImageStore

CPU = torch.device("cpu")
LENGTHS = (20, 3, 9)
SIDE = 16


def rows_of(series, n, row, apart):
    facts = {"rows": SIDE, "columns": SIDE, "slope": 1.0, "intercept": 0.0, "unit": "au",
             "shard": 0, "patient_key": f"p{series}", "series_key": f"s{series}"}  # fmt: skip
    known = {"position_mm": -40.0 + 2.5 * np.arange(n)} if apart == "position" else {}
    spacing = [1.0, 1.0, 4.0] if apart == "spacing" else None
    return [
        {**facts, "image_id": f"s{series}-{k}", "row": row + k, "slice_index": k,
         "spacing": spacing, **{name: value[k] for name, value in known.items()}}
        for k in range(n)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three series of 20, 3 and 9 slices; how far apart is known in three ways."""
    made = tmp_path_factory.mktemp("bags")
    rng = np.random.default_rng(0)
    pixels.write(made, 0, rng.integers(0, 999, (sum(LENGTHS), 1, SIDE, SIDE)).astype(np.int16))
    rows, at = [], 0
    for series, (n, apart) in enumerate(zip(LENGTHS, ("position", "spacing", ""), strict=True)):
        rows += rows_of(series, n, at, apart)
        at += n
    order = rng.permutation(len(rows))
    archive.write_images(made, tables.build([rows[k] for k in order], archive.IMAGES))
    archive.write_info(made, archive.ArchiveInfo(
        medssl="0", size=SIDE, spatial_dims=3, key_id="00000000", files_found=3, files_written=3,
    ))  # fmt: skip
    return made


def opened(folder, slices=6, take=(0, 1, 2)):
    table = volumes.table(archive.read_images(folder))
    rank = {key: k for k, key in enumerate(table["series_key"].to_pylist())}
    return BagStore(folder, table.take([rank[f"s{k}"] for k in take]), slices)


class Counts(BagStore):
    """A store of series of given lengths, without pixels."""

    def __init__(self, counts, slices):
        self.slices, self._count = slices, np.array(counts)
        self._first, self._series = np.cumsum(counts) - counts, np.arange(len(counts))


@pytest.mark.parametrize("slices", [2, 5, 16])
def test_slices_are_evenly_spaced_and_none_comes_twice(slices):
    counts = np.arange(1, 60)
    store = Counts(counts, slices)
    for jitter in (None, np.random.default_rng(0)):
        rows, mask = store.chosen(np.arange(len(counts)), jitter)
        for n, first, row, there in zip(counts, store._first, rows, mask, strict=True):
            shown = row[there] - first
            assert len(shown) == min(n, slices)
            assert (np.diff(shown) > 0).all()
            assert shown[0] >= 0
            assert shown[-1] < n
            assert set(row - first) == set(shown)  # padding repeats what is shown
            if n > slices:
                edges = np.arange(slices + 1) * n / slices
                assert (np.abs(shown - (edges[:-1] + edges[1:] - 1) / 2) <= n / slices).all()


def test_the_middle_slices_are_centred():
    rows, _ = Counts([130], 13).chosen(np.array([0]))
    assert rows.tolist() == [[4 + 10 * k for k in range(13)]]
    rows, _ = Counts([7], 7).chosen(np.array([0]), np.random.default_rng(0))
    assert rows.tolist() == [list(range(7))]


def test_training_shows_every_slice_in_the_end():
    store, rng = Counts([50], 8), np.random.default_rng(0)
    seen = np.concatenate([store.chosen(np.array([0]), rng)[0][0] for _ in range(200)])
    counts = np.bincount(seen, minlength=50)
    assert counts.min() > 0
    assert 0.5 < counts.min() / counts.mean() < 1


def test_a_bag_holds_the_slices_of_its_series_in_order(folder):
    """However the table of images is sorted, and whatever stands beside it."""
    store = opened(folder, take=(2, 0, 1))
    stored = np.load(folder / "pixels" / "00000.npy")
    batch = store.gather(np.array([2, 0]))  # series 1, then series 2
    rows, mask = store.chosen(np.array([2, 0]))
    assert batch["mask"].tolist() == mask.tolist() == [[True] * 3 + [False] * 3, [True] * 6]
    first = {"s0": 0, "s1": 20, "s2": 23}
    for at, name in enumerate(store.image_ids[rows].ravel()):
        series, number = name.split("-")
        assert np.array_equal(batch["image"][at], stored[first[series] + int(number)])
    assert store.image_ids[rows[0]].tolist() == [f"s1-{k}" for k in (0, 1, 2, 0, 1, 2)]
    alone = opened(folder, take=(1,)).gather(np.array([0]))
    assert torch.equal(alone["image"], batch["image"][:6])


def test_positions_are_millimetres_from_the_middle_of_the_series(folder):
    batch = opened(folder, slices=20).gather(np.arange(3))
    position = [row[there] for row, there in zip(batch["position_mm"], batch["mask"], strict=True)]
    assert np.allclose(position[0], 2.5 * (np.arange(20) - 9.5))
    assert np.allclose(position[1], [-4.0, 0.0, 4.0])
    assert np.allclose(position[2], np.arange(9) - 4.0)  # nobody knows: 1 mm


def training(store, seed=3, *, plain=False):
    target = np.arange(len(store), dtype=np.float64)[:, None]
    sampler = Shuffled(len(store), 2, seed)
    return TrainingBatches(
        store, sampler, device=CPU, intensity=Intensity(), views=Views(), shape=(SIDE, SIDE),
        seed=seed, target=target, plain=plain,
    )  # fmt: skip


def test_training_bags_replay_from_the_seed_and_any_step(folder):
    shown = list(training(opened(folder)).steps(range(3)))
    again = list(training(opened(folder)).steps(range(1, 3)))
    for one, other in zip(shown[1:], again, strict=True):
        assert torch.equal(one.views[0], other.views[0])
        assert all(torch.equal(one.slices[name], other.slices[name]) for name in one.slices)
    assert shown[0].views[0].shape == (2, 6, SIDE, SIDE)
    assert shown[0].slices["mask"].shape == shown[0].slices["position_mm"].shape == (2, 6)
    other = next(training(opened(folder), seed=4).steps(range(1)))
    assert not torch.equal(shown[0].views[0], other.views[0])


def test_slices_are_drawn_in_training_and_central_without_random_views(folder):
    store = opened(folder, take=(0, 0))
    drawn = [s.slices["position_mm"] for s in training(store).steps(range(6))]
    assert len({tuple(row) for part in drawn for row in part.tolist()}) > 6
    middle = store.gather(np.array([0]))["position_mm"][0]
    for step in training(store, plain=True).steps(range(2)):
        assert all(torch.equal(row, middle) for row in step.slices["position_mm"])


def test_a_series_drawn_twice_in_a_step_may_show_other_slices(folder):
    """As a balanced sampler draws: with replacement."""
    store, twice = opened(folder), np.array([0, 0])
    drawn = store.gather(twice, rng=np.random.default_rng(0))
    assert not torch.equal(*drawn["position_mm"])
    assert torch.equal(*store.gather(twice)["position_mm"])


def test_slices_of_a_series_share_their_view(folder):
    """Where all slices are one picture, all slices of a view are one picture; series differ."""
    store = opened(folder, take=(0, 0))
    batch = store.gather(np.array([0, 1]))
    batch["image"] = batch["image"][:1].expand(12, -1, -1, -1).contiguous()
    view = recipes.random_view(Views(noise=0.0, mask=1.0, rotation_deg=30.0, blur=1.0), (16, 16))
    view.set_random_state(1)
    found = view(BagIntensity(Intensity())(batch))["image"]
    assert all(torch.allclose(found[:, :1], found[:, k : k + 1], atol=1e-5) for k in range(6))
    assert (found[0, 0] - found[1, 0]).abs().mean() > 0.1


def test_each_slice_is_standardised_by_itself(folder):
    found = BagIntensity(Intensity())(opened(folder).gather(np.arange(3)))
    assert found["image"].shape == (3, 6, SIDE, SIDE)
    assert torch.allclose(found["image"].mean(dim=(2, 3)), torch.zeros(3, 6), atol=1e-5)
    assert torch.allclose(found["image"].std(dim=(2, 3), correction=0), torch.ones(3, 6), atol=1e-4)
    assert found["extent"].shape == (3, 2)
    assert found["hu"].shape == found["body_above"].shape == (3,)


def test_a_bag_is_judged_by_what_its_slices_look_like_alone(folder):
    """Slices as channels are the same pictures as slices one by one."""
    how = {"device": CPU, "intensity": Intensity(), "shape": (SIDE, SIDE), "batch_size": 2}
    images = archive.read_images(folder).sort_by([("row", "ascending")])
    single = torch.cat(list(plain_batches(ImageStore(folder, images), **how)))
    parts = list(plain_bags(opened(folder, slices=20), **how))
    assert [len(part) for part, _ in parts] == [2, 1]
    bags = torch.cat([part for part, _ in parts])
    mask = torch.cat([about["mask"] for _, about in parts])
    assert torch.allclose(bags[mask], single[:, 0], atol=1e-5)


def test_cutmix_pastes_one_box_of_one_partner_into_the_whole_bag(folder):
    shown = next(training(opened(folder)).steps(range(1))).views[0]
    always = CutMix(probability=1.0)
    tried = (mixing.cutmix(shown, always, np.random.default_rng(k)) for k in range(20))
    mixed = next(one for one in tried if one.partner.tolist() == [1, 0] and one.kept < 0.8)
    changed = mixed.images != shown
    for row in range(2):
        box = changed[row].any(dim=0)
        assert box.float().mean() == pytest.approx(1 - mixed.kept, abs=0.02)
        other = shown[mixed.partner[row]]
        assert torch.equal(mixed.images[row][:, box], other[:, box])


def test_a_view_of_bags_runs_on_the_meta_device():
    batch = {
        "image": torch.empty(12, 1, 32, 32, device="meta"),
        "extent": torch.empty(12, 2, device="meta"),
        "slope": torch.empty(12, device="meta"),
        "intercept": torch.empty(12, device="meta"),
        "hu": torch.empty(12, dtype=torch.bool, device="meta"),
        "mask": torch.empty(2, 6, dtype=torch.bool, device="meta"),
        "position_mm": torch.empty(2, 6, device="meta"),
    }
    view = Compose([BagIntensity(Intensity()), recipes.random_view(Views(mask=1.0), (16, 16))])
    view.set_random_state(0)
    assert view(batch)["image"].shape == (2, 6, 16, 16)


@pytest.mark.parametrize(
    ("dims", "shape", "pooling", "rows"),
    [(2, (64, 64), "none", 128), (2, (64, 64), "mean", 8), (3, (32, 64, 64), "none", 8),
     (3, (128, 128, 128), "none", 1), (3, (400, 512, 512), "none", 1)],
)  # fmt: skip
def test_what_is_judged_at_once_is_bounded(dims, shape, pooling, rows):
    given = Input(spatial_dims=dims, shape=shape, intensity=Intensity(), pooling=pooling, slices=16)
    assert given.batch_size == rows
    many = Input(spatial_dims=2, shape=(64, 64), intensity=Intensity(), pooling="max", slices=999)
    assert many.batch_size == 1
