"""SMOTE: where synthetic rows lie, whose they are, and how many there are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.training.smote import synthesise


def cohort(counts, per_patient=2, seed=0, width=4):
    """Rows of classes; every patient has ``per_patient`` rows of one class, nearly the same."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(counts), dtype=float), np.array(counts) * per_patient)
    patients = np.repeat([f"p{k:03d}" for k in range(sum(counts))], per_patient).tolist()
    own = np.repeat(rng.normal(size=(sum(counts), width)), per_patient, axis=0)
    return own + 1e-3 * rng.normal(size=own.shape), label, patients


def made(features, label, patients, seed=0):
    return synthesise(features, label, patients, np.random.default_rng(seed))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4), st.integers(0, 2**31))
def test_every_class_becomes_as_frequent_and_rows_lie_between_their_parents(counts, seed):
    features, label, patients = cohort(counts, seed=seed % 100)
    found = made(features, label, patients, seed)
    total = np.bincount(np.concatenate([label, found.label]).astype(int))
    assert len(set(total.tolist())) == 1
    first, second = features[found.parents[:, 0]], features[found.parents[:, 1]]
    apart = np.linalg.norm(second - first, axis=1)
    along = np.linalg.norm(found.features - first, axis=1)
    onwards = np.linalg.norm(found.features - second, axis=1)
    np.testing.assert_allclose(along + onwards, apart, atol=1e-9)
    assert (label[found.parents] == found.label[:, None]).all()


def test_neighbours_are_other_patients_and_the_nearest_of_them():
    features, label, patients = cohort([40, 9])
    features *= np.array([1e6, 1, 1e-3, 1])  # the unit of a feature does not matter
    found = made(features, label, patients)
    owner = np.array(patients)
    assert (owner[found.parents[:, 0]] != owner[found.parents[:, 1]]).all()
    even = (features - features.mean(axis=0)) / features.std(axis=0)
    rows = np.flatnonzero(label == 1)
    for one, other in found.parents[:20]:
        candidates = [k for k in rows if patients[k] != patients[one]]
        nearest = sorted(candidates, key=lambda k: np.linalg.norm(even[k] - even[one]))[:5]
        assert other in nearest


@pytest.mark.parametrize(("n", "neighbours"), [(3, 2), (4, 3), (6, 5), (20, 5)])
def test_there_are_at_most_as_many_neighbours_as_other_patients(n, neighbours):
    features, label, patients = cohort([400, n], per_patient=1)
    found = made(features, label, patients)
    of_one = found.parents[found.parents[:, 0] == found.parents[0, 0], 1]
    assert len(set(of_one.tolist())) <= neighbours
    assert len({tuple(pair) for pair in found.parents.tolist()}) <= n * neighbours


@pytest.mark.parametrize("n", [1, 2])
def test_of_one_or_two_patients_rows_are_repeated(n):
    features, label, patients = cohort([20, n], per_patient=3)
    found = made(features, label, patients)
    assert len(found.label) == (20 - n) * 3
    assert (found.parents[:, 0] == found.parents[:, 1]).all()
    np.testing.assert_array_equal(found.features, features[found.parents[:, 0]])


def test_balanced_classes_need_nothing_and_a_constant_feature_does_no_harm():
    features, label, patients = cohort([5, 5])
    assert len(made(features, label, patients).label) == 0
    features, label, patients = cohort([9, 5])
    features[:, 1] = 3.0
    assert (made(features, label, patients).features[:, 1] == 3).all()


def test_the_same_seed_makes_the_same_rows():
    given_rows = cohort([30, 7])
    first, again, other = (made(*given_rows, seed=s).features for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
