"""Samplers and partners: what must hold for every archive, and what a brute force finds."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from medssl.artifacts import archive, tables
from medssl.data.sampling import (
    Neighbours,
    OnePerGroup,
    SamePatient,
    Shuffled,
    Stratified,
    Weighted,
    look_alikes,
    numbered,
    positions,
)
from medssl.foundation import seeding
from medssl.foundation.errors import DataError

few = settings(max_examples=60, deadline=None)
counts_of_groups = st.lists(st.integers(1, 9), min_size=1, max_size=8)
seeds = st.integers(0, 2**16)


def grouped(counts, seed=0):
    """Return groups of these sizes in any order, with names that are not 0, 1, 2…"""
    groups = np.repeat(np.arange(len(counts)) * 7 - 3, counts)
    return np.random.default_rng(seed).permutation(groups)


def fullest(counts, batch_size):
    """Return how many full steps there are when the fullest groups are always taken first."""
    left, steps = sorted(counts), 0
    while len(left) >= batch_size and left[-batch_size] > 0:
        left[-batch_size:] = [count - 1 for count in left[-batch_size:]]
        left.sort()
        steps += 1
    return steps


def test_shuffled_is_a_permutation_cut_in_steps():
    order = seeding.rng(5, "order", 2).permutation(23)
    expected = [sorted(order[i : i + 4].tolist()) for i in range(0, 20, 4)]
    assert Shuffled(23, 4, 5).epoch(2).tolist() == expected


@pytest.mark.parametrize("sampler", [Shuffled(3, 8, 0), Weighted(np.array([1.0, 2, 1]), 8, 0)])
def test_a_step_larger_than_the_archive_is_the_archive(sampler):
    assert (sampler.batch_size, sampler.steps_per_epoch) == (3, 1)
    assert sampler.epoch(0).shape == (1, 3)


def test_weighted_draws_each_image_as_often_as_its_weight_says():
    weight = np.repeat([1.0, 12.0, 36.0], [180, 15, 5])  # each class has 180 of 540
    sampler = Weighted(weight, 8, 1)
    shown = np.concatenate([weight[sampler.epoch(e)].ravel() for e in range(50)])
    share = np.array([(shown == w).mean() for w in (1, 12, 36)])
    assert share == pytest.approx([1 / 3] * 3, abs=4 * (2 / 9 / len(shown)) ** 0.5)
    assert sampler.steps_per_epoch == 25
    assert (np.diff(sampler.epoch(0), axis=1) >= 0).all()


@few
@given(counts_of_groups, st.integers(1, 12), seeds)
def test_stratified_spreads_each_class_over_the_steps(counts, batch_size, seed):
    classes = grouped(counts, seed)
    sampler = Stratified(classes, batch_size, seed)
    for epoch in (0, 3):
        steps = sampler.epoch(epoch)
        assert steps.shape == (len(classes) // sampler.batch_size, sampler.batch_size)
        assert len(set(steps.ravel().tolist())) == steps.size
        assert (np.diff(steps, axis=1) > 0).all()
        for name in np.unique(classes):
            held = (classes[steps] == name).sum(axis=1)
            assert held.max() - held.min() <= 1
        assert np.array_equal(steps, Stratified(classes, batch_size, seed).epoch(epoch))


def test_stratified_shows_every_image_in_the_end_and_each_epoch_other_steps():
    classes = np.repeat([0, 1], [40, 7])
    sampler = Stratified(classes, 8, 5)
    epochs = [sampler.epoch(e) for e in range(30)]
    assert set(np.concatenate(epochs).ravel().tolist()) == set(range(47))
    assert not np.array_equal(epochs[0], epochs[1])
    assert all((classes[steps] == 1).any(axis=1).all() for steps in epochs)  # 6 or 7 for 5 steps


@few
@given(counts_of_groups, st.integers(1, 8), seeds)
def test_no_step_has_two_of_a_group_and_no_more_steps_are_possible(counts, batch_size, seed):
    groups = grouped(counts, seed)
    if batch_size > len(counts):
        with pytest.raises(DataError, match=f"there are {len(counts)}"):
            OnePerGroup(groups, batch_size, seed)
        return
    sampler = OnePerGroup(groups, batch_size, seed)
    assert sampler.steps_per_epoch == fullest(counts, batch_size)
    for epoch in (0, 1, 17):
        steps = sampler.epoch(epoch)
        assert steps.shape == (sampler.steps_per_epoch, batch_size)
        assert len(set(steps.ravel().tolist())) == steps.size  # no image twice an epoch
        assert all(len(set(groups[step].tolist())) == batch_size for step in steps)
        assert (np.diff(steps, axis=1) > 0).all()
        again = OnePerGroup(groups, batch_size, seed).epoch(epoch)  # without those before it
        assert np.array_equal(steps, again)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 4), seeds)
def test_every_image_has_its_turn(counts, batch_size, seed):
    if batch_size > len(counts):
        return
    sampler = OnePerGroup(grouped(counts, seed), batch_size, seed)
    # An image is on offer at least every fifth epoch and then left out at most half of the times.
    seen = {i for epoch in range(5 * 30) for i in sampler.epoch(epoch).ravel().tolist()}
    assert seen == set(range(sum(counts)))


def test_images_of_a_large_group_take_turns():
    groups = grouped([12, 2, 2, 2])
    sampler = OnePerGroup(groups, 4, 0)
    assert sampler.steps_per_epoch == 2
    large = np.flatnonzero(groups == -3)
    shown = [set(sampler.epoch(e).ravel()) & set(large) for e in range(6)]
    assert [len(part) for part in shown] == [2] * 6
    assert set.union(*shown) == set(large)  # 6 epochs of 2: none twice


def test_single_images_are_shown_like_shuffled_ones():
    sampler = OnePerGroup(np.arange(20), 6, 0)
    assert sampler.steps_per_epoch == Shuffled(20, 6, 0).steps_per_epoch
    assert not np.array_equal(sampler.epoch(0), sampler.epoch(1))


def test_any_two_groups_meet_as_often():
    """Groups of one size are interchangeable: every pair has the same chance to share a step."""
    n_groups, size, batch_size, epochs = 12, 5, 4, 400
    groups = grouped([size] * n_groups)
    sampler = OnePerGroup(groups, batch_size, 3)
    met: Counter[tuple[int, ...]] = Counter()
    for epoch in range(epochs):
        for step in groups[sampler.epoch(epoch)]:
            met.update((a, b) for a in step for b in step if a < b)
    steps = sampler.steps_per_epoch * epochs
    expected = steps * batch_size * (batch_size - 1) / (n_groups * (n_groups - 1))
    found = np.array([*met.values()])
    assert len(found) == n_groups * (n_groups - 1) // 2
    assert abs(found / expected - 1).max() < 5 / expected**0.5
    # Nor do two groups meet in many steps of one epoch: dealing without trading would let them.
    steps_of = [groups[sampler.epoch(e)] for e in range(epochs)]
    together = [(np.isin([-3, 4], step).all()) for e in steps_of for step in e]
    per_epoch = np.reshape(together, (epochs, -1)).sum(axis=1)
    assert per_epoch.max() < size


def test_an_order_of_every_step_is_as_likely():
    """Two steps of two from groups of 2, 1 and 1: the singles change places half of the times."""
    groups = np.array([0, 0, 1, 2])
    sampler = OnePerGroup(groups, 2, 0)
    first = [1 in groups[sampler.epoch(e)[0]] for e in range(400)]
    assert np.mean(first) == pytest.approx(0.5, abs=4 * 0.025)


def neighbours_by_hand(series, position, within, i):
    same = np.flatnonzero(series == series[i])
    return {j for j in same.tolist() if j != i and abs(position[j] - position[i]) <= within}


@few
@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 40)), min_size=1, max_size=30), seeds)
def test_neighbours_are_slices_within_the_distance(rows, seed):
    series, tenths = np.array(rows).T
    position = tenths * 2.5 - 1000  # equal positions and exact distances occur
    position[::7] = np.nan
    partners = Neighbours(series, position, 10.0)
    rng = np.random.default_rng(seed)
    numbers = np.arange(len(series))
    found = np.stack([partners.of(numbers, rng) for _ in range(60)])
    for i in numbers:
        possible = neighbours_by_hand(series, position, 10.0, i)
        assert set(found[:, i].tolist()) <= (possible or {i})
    have = [bool(neighbours_by_hand(series, position, 10.0, i)) for i in numbers]
    assert partners.share_with_partner == pytest.approx(np.mean(have))


def test_all_neighbours_are_as_likely():
    partners = Neighbours(np.zeros(5, int), np.arange(5) * 4.0, 8.0)
    found = partners.of(np.full(9000, 2), np.random.default_rng(0))
    assert np.bincount(found, minlength=5)[2] == 0
    assert np.bincount(found)[[0, 1, 3, 4]] / 9000 == pytest.approx([0.25] * 4, abs=0.02)
    at_the_end = partners.of(np.full(9000, 0), np.random.default_rng(0))
    assert np.bincount(at_the_end)[1:] / 9000 == pytest.approx([0.5] * 2, abs=0.02)


def test_rounded_positions_and_absurd_ones_do_no_harm():
    position = np.array([0.1 + 0.2, 10.3, 1e300, -np.inf, 1e6, 1e6 + 10.0])
    partners = Neighbours(np.zeros(6, int), position, 10.0)
    found = partners.of(np.arange(6), np.random.default_rng(0))
    assert found.tolist() == [1, 0, 2, 3, 5, 4]  # 10.3 - (0.1 + 0.2) is a little above 10


@few
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=25), seeds)
def test_partners_are_of_the_same_patient_and_of_another_series_if_possible(rows, seed):
    patient, within = np.array(rows).T
    series = patient * 10 - within
    partners = SamePatient(patient, series)
    numbers = np.arange(len(series))
    rng = np.random.default_rng(seed)
    found = np.stack([partners.of(numbers, rng) for _ in range(60)])
    for i in numbers:
        others = set(np.flatnonzero(patient == patient[i]).tolist()) - {i}
        elsewhere = {j for j in others if series[j] != series[i]}
        assert set(found[:, i].tolist()) <= (elsewhere or others or {i})
    have = [(patient == p).sum() > 1 for p in patient]
    assert partners.share_with_partner == pytest.approx(np.mean(have))


def test_all_images_of_other_series_are_as_likely():
    partners = SamePatient(np.zeros(6, int), np.array([1, 0, 1, 2, 0, 0]))
    found = partners.of(np.full(9000, 2), np.random.default_rng(0))
    assert np.bincount(found, minlength=6)[[0, 2]].tolist() == [0, 0]
    assert np.bincount(found)[[1, 3, 4, 5]] / 9000 == pytest.approx([0.25] * 4, abs=0.02)


def test_partners_repeat_from_their_seed():
    partners = SamePatient(np.zeros(50, int), np.arange(50))
    one, same, other = (
        partners.of(np.arange(50), np.random.default_rng(seed)).tolist() for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other


def images(rows):
    return tables.build(rows, archive.IMAGES)


def test_images_without_a_key_are_alone():
    keys = ["b", "a", None, "b", None]
    found = numbered(images([{"patient_key": key} for key in keys])["patient_key"])
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 4


def test_positions_come_from_slice_order_where_they_are_missing():
    spacing = [0.5, 0.5, 3.0]
    found = positions(
        images(
            [
                {"series_key": "a", "slice_index": 0, "position_mm": -7.5, "spacing": spacing},
                {"series_key": "a", "slice_index": 1, "position_mm": -4.0, "spacing": spacing},
                {"series_key": "b", "slice_index": 0, "position_mm": -7.5, "spacing": spacing},
                {"series_key": "b", "slice_index": 5, "position_mm": None, "spacing": spacing},
                {"series_key": "c", "slice_index": 2, "position_mm": None, "spacing": None},
            ]
        )
    )
    assert found == pytest.approx([-7.5, -4.0, 0.0, 15.0, np.nan], nan_ok=True)


@pytest.fixture(scope="module")
def thumbnails():
    """Return 4 kinds of noisy pictures, 60 of each, of any brightness and contrast."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(4, 64))
    kind = rng.permutation(np.repeat(np.arange(4), 60))
    pictures = kinds[kind] + rng.normal(scale=0.3, size=(240, 64))
    pictures = pictures * rng.uniform(0.1, 50, (240, 1)) + rng.uniform(-900, 900, (240, 1))
    return pictures.astype(np.float32), kind


def test_clusters_are_the_kinds_of_pictures(thumbnails):
    pictures, kind = thumbnails
    found = look_alikes(pictures, 4, 0)
    assert len(set(zip(found.tolist(), kind.tolist(), strict=True))) == 4


def test_clusters_are_the_same_with_any_number_of_threads(thumbnails):
    pictures, _ = thumbnails
    with threadpool_limits(limits=1):
        one = look_alikes(pictures, 12, 3)
    with threadpool_limits(limits=4):
        four = look_alikes(pictures, 12, 3)
    assert np.array_equal(one, four)
    assert not np.array_equal(one, look_alikes(pictures, 12, 4))


def test_clusters_of_blank_and_of_few_pictures_exist():
    blank = np.zeros((5, 16), dtype=np.float32)
    assert look_alikes(blank, 9, 0).shape == (5,)
