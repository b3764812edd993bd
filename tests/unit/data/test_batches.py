"""Batches are a function of seed and step: complete, deterministic, resumable."""

from itertools import islice

import numpy as np
import pytest
import torch

from medssl.artifacts import archive, pixels, tables
from medssl.config.training import Intensity, Views
from medssl.data.batches import Alone, TrainingBatches, local_shape, plain_batches
from medssl.data.sampling import Shuffled, Weighted
from medssl.data.store import ImageStore

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tiny_archive):
    return ImageStore(tiny_archive, archive.read_images(tiny_archive))


def batches(store, seed=0, batch_size=5, n_views=2, sampler=None, **more):
    return TrainingBatches(
        store,
        sampler or Shuffled(len(store), min(batch_size, len(store)), seed),
        device=CPU,
        intensity=Intensity(),
        views=Views(),
        n_views=n_views,
        seed=seed,
        **{"shape": (16, 16), **more},
    )


def test_balanced_batches_show_rare_classes_as_often(store):
    target = np.array([0] * 18 + [1] * 4 + [2] * 2)
    source = batches(
        store, n_views=1, target=target, sampler=Weighted(1 / np.bincount(target)[target], 8, 0)
    )
    drawn = torch.cat([step.target for epoch in range(60) for step in source.epoch(epoch)])
    assert len(drawn) == 60 * 24  # an epoch is as long as without
    assert torch.bincount(drawn) / len(drawn) == pytest.approx([1 / 3] * 3, abs=0.05)


def test_an_epoch_shows_every_image_at_most_once(store):
    target = np.arange(24)
    shown = list(batches(store, target=target, n_views=1).epoch(0))
    seen = torch.cat([step.target for step in shown]).tolist()
    assert len(shown) == 4  # 24 // 5, the incomplete batch is left out
    assert len(set(seen)) == len(seen) == 20


def test_targets_go_with_their_images(tmp_path):
    hu = (np.arange(10) * 100 - 500).astype(np.int16)
    pixels.write(tmp_path, 0, np.broadcast_to(hu[:, None, None, None], (10, 1, 20, 20)))
    row = {"shard": 0, "rows": 20, "columns": 20, "unit": "HU", "slope": 1.0, "intercept": 0.0}
    table = tables.build([{**row, "row": i} for i in range(10)], archive.IMAGES)
    source = TrainingBatches(
        ImageStore(tmp_path, table),
        Shuffled(10, 3, 0),
        device=CPU,
        intensity=Intensity(window_hu=(-500.0, 400.0)),
        views=Views(contrast=0.0, noise=0.0, gamma=0.0),
        shape=(16, 16),
        n_views=1,
        seed=0,
        target=np.arange(10),
    )
    for step in source.epoch(0):
        shown = step.views[0].mean(dim=(1, 2, 3))
        shown = (shown + 1) / 2 * 9  # windowed HU back to the image number
        assert torch.allclose(shown, step.target.float(), atol=0.01)


def test_epochs_differ_and_repeat_from_their_seed(store):
    source = batches(store)
    first, again = (next(source.epoch(0)).views for _ in range(2))
    other = next(source.epoch(1)).views
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])  # two views are two views
    assert not torch.equal(first[0], next(batches(store, seed=1).epoch(0)).views[0])


def test_a_run_may_begin_at_any_step(store):
    source = batches(store)
    whole = [step.views[1] for epoch in range(3) for step in source.epoch(epoch)]
    part = [step.views[1] for step in source.steps(range(6, 11))]  # of four steps each
    assert len(whole) == 12
    assert all(torch.equal(a, b) for a, b in zip(part, whole[6:11], strict=True))


def test_processes_share_the_images_of_a_step(store):
    whole = batches(store, batch_size=6, target=np.arange(24))
    parts = [
        batches(store, batch_size=6, target=np.arange(24), part=Alone(rank, 2)) for rank in (0, 1)
    ]
    for step, *shown in zip(*(b.epoch(0) for b in (whole, *parts)), strict=True):
        assert torch.equal(torch.cat([part.target for part in shown]), step.target)
        assert [len(part.views[0]) for part in shown] == [3, 3]
        assert not torch.equal(shown[0].views[0], shown[1].views[0])


def test_local_views_are_smaller_and_come_last(store):
    views = next(batches(store, n_local_views=3, shape=(64, 64)).epoch(0)).views
    assert [tuple(view.shape[2:]) for view in views] == [(64, 64)] * 2 + [(32, 32)] * 3


@pytest.mark.parametrize(
    ("shape", "share", "local"),
    [
        ((224, 224), 0.43, (96, 96)),  # as in the papers
        ((64, 64), 0.43, (32, 32)),
        ((16, 16), 0.43, (16, 16)),  # never larger than a view
        ((32, 64, 64), 0.43, (16, 32, 32)),
    ],
)
def test_sides_of_local_views_are_multiples_of_sixteen(shape, share, local):
    assert local_shape(shape, share) == local


def test_patients_go_with_their_images(store):
    patients = np.arange(24) // 3
    source = batches(store, patients=patients, target=np.arange(24))
    for step in source.epoch(0):
        assert torch.equal(step.patients, step.target // 3)
    alone = batches(store, target=np.arange(24))  # every image is of a patient of its own
    assert all(torch.equal(step.patients, step.target) for step in alone.epoch(0))


class Next:
    """The next image as partner."""

    share_with_partner = 1.0

    def of(self, numbers, rng):
        del rng
        return (numbers + 1) % 24


def test_views_after_the_first_show_the_partner(tmp_path):
    hu = np.arange(24, dtype=np.int16) * 10
    pixels.write(tmp_path, 0, np.broadcast_to(hu[:, None, None, None], (24, 1, 20, 20)))
    row = {"shard": 0, "rows": 20, "columns": 20, "unit": "HU", "slope": 1.0, "intercept": 0.0}
    table = tables.build([{**row, "row": i} for i in range(24)], archive.IMAGES)
    plain = {"views": Views(contrast=0.0, noise=0.0, gamma=0.0), "shape": (16, 16), "seed": 0}
    source = TrainingBatches(
        ImageStore(tmp_path, table),
        Shuffled(24, 4, 0),
        device=CPU,
        intensity=Intensity(window_hu=(0.0, 230.0)),
        n_views=2,
        target=np.arange(24),
        partners=Next(),
        **plain,
    )
    for step in source.epoch(0):
        shown = [(view.mean(dim=(1, 2, 3)) + 1) / 2 * 23 for view in step.views]
        assert torch.allclose(shown[0], step.target.float(), atol=0.02)
        assert torch.allclose(shown[1], ((step.target + 1) % 24).float(), atol=0.02)


def test_plain_batches_show_everything_once_in_order(store):
    shown = list(
        plain_batches(store, device=CPU, intensity=Intensity(), shape=(16, 16), batch_size=7)
    )
    assert [len(part) for part in shown] == [7, 7, 7, 3]
    alone = plain_batches(store, device=CPU, intensity=Intensity(), shape=(16, 16), batch_size=1)
    tenth = next(islice(alone, 10, None))
    assert torch.allclose(torch.cat(shown)[10], tenth[0], atol=1e-5)
