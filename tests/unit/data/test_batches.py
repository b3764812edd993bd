"""Batches are a function of seed and step: complete, deterministic, resumable."""

from itertools import islice

import numpy as np
import pytest
import torch

from medssl.artifacts import archive, pixels, tables
from medssl.config.training import Intensity, Views
from medssl.data.batches import TrainingBatches, plain_batches
from medssl.data.store import ImageStore

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tiny_archive):
    return ImageStore(tiny_archive, archive.read_images(tiny_archive))


def batches(store, seed=0, batch_size=5, n_views=2, target=None, balanced=False):
    return TrainingBatches(
        store,
        device=CPU,
        intensity=Intensity(),
        views=Views(),
        image_size=16,
        batch_size=batch_size,
        n_views=n_views,
        seed=seed,
        target=target,
        balanced=balanced,
    )


def test_balanced_batches_show_rare_classes_as_often(store):
    target = np.array([0] * 18 + [1] * 4 + [2] * 2)
    source = batches(store, batch_size=8, n_views=1, target=target, balanced=True)
    drawn = torch.cat([t for epoch in range(60) for _, t in source.epoch(epoch)])
    assert len(drawn) == 60 * 24  # an epoch is as long as without
    assert torch.bincount(drawn) / len(drawn) == pytest.approx([1 / 3] * 3, abs=0.05)


def test_an_epoch_shows_every_image_at_most_once(store):
    target = np.arange(24)
    shown = list(batches(store, target=target, n_views=1).epoch(0))
    seen = torch.cat([targets for _, targets in shown]).tolist()
    assert len(shown) == 4  # 24 // 5, the incomplete batch is left out
    assert len(set(seen)) == len(seen) == 20


def test_targets_go_with_their_images(tmp_path):
    hu = (np.arange(10) * 100 - 500).astype(np.int16)
    pixels.write(tmp_path, 0, np.broadcast_to(hu[:, None, None, None], (10, 1, 20, 20)))
    row = {"shard": 0, "rows": 20, "columns": 20, "unit": "HU", "slope": 1.0, "intercept": 0.0}
    table = tables.build([{**row, "row": i} for i in range(10)], archive.IMAGES)
    source = TrainingBatches(
        ImageStore(tmp_path, table),
        device=CPU,
        intensity=Intensity(window_hu=(-500.0, 400.0)),
        views=Views(contrast=0.0, noise=0.0, gamma=0.0),
        image_size=16,
        batch_size=3,
        n_views=1,
        seed=0,
        target=np.arange(10),
    )
    for views, targets in source.epoch(0):
        shown = (views[0].mean(dim=(1, 2, 3)) + 1) / 2 * 9  # windowed HU back to the image number
        assert torch.allclose(shown, targets.float(), atol=0.01)


def test_epochs_differ_and_repeat_from_their_seed(store):
    source = batches(store)
    first, again = (next(source.epoch(0))[0] for _ in range(2))
    other = next(source.epoch(1))[0]
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])  # two views are two views
    assert not torch.equal(first[0], next(batches(store, seed=1).epoch(0))[0][0])


def test_a_batch_larger_than_the_store_is_the_whole_store(store):
    source = batches(store, batch_size=1000)
    assert (source.batch_size, source.steps_per_epoch) == (24, 1)


def test_plain_batches_show_everything_once_in_order(store):
    shown = list(
        plain_batches(store, device=CPU, intensity=Intensity(), image_size=16, batch_size=7)
    )
    assert [len(part) for part in shown] == [7, 7, 7, 3]
    alone = plain_batches(store, device=CPU, intensity=Intensity(), image_size=16, batch_size=1)
    tenth = next(islice(alone, 10, None))
    assert torch.allclose(torch.cat(shown)[10], tenth[0], atol=1e-5)
