from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.evaluation import folds
from medssl.foundation.errors import DataError


@st.composite
def cohorts(draw):
    """Patients with one to four images; labels of a patient may disagree."""
    n_patients = draw(st.integers(2, 40))
    n_classes = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    patients, labels = [], []
    for patient in range(n_patients):
        main = rng.integers(n_classes)
        for _ in range(rng.integers(1, 5)):
            own = rng.integers(n_classes) if rng.random() < 0.1 else main
            patients.append(f"k{patient:02d}")
            labels.append("abcd"[own])
    return patients, labels


@given(cohort=cohorts(), n_folds=st.integers(2, 6), seed=st.integers(0, 1000))
def test_folds_hold_whole_patients_and_every_class(cohort, n_folds, seed):
    patients, labels = cohort
    try:
        plans = folds.assign(patients, labels, n_folds=n_folds, repeats=2, seed=seed)
    except DataError:
        holders = Counter(label for _, label in set(zip(patients, labels, strict=True)))
        # refused only where the arithmetic forbids it, or images of several classes crowd together
        mixed = len(set(zip(patients, labels, strict=True))) > len(set(patients))
        assert len(holders) < 2 or min(holders.values()) < n_folds or mixed
        return
    assert len(plans) == 2
    for plan in plans:
        assert list(plan) == sorted(set(patients))
        fold = np.array([plan[key] for key in patients])
        label = np.array(labels)
        for k in range(n_folds):
            assert set(label[fold == k]) == set(label[fold != k]) == set(labels)


def test_listing_order_does_not_matter_and_the_seed_does():
    rng = np.random.default_rng(0)
    patients = [f"k{i // 2}" for i in range(80)]
    labels = ["01"[i // 2 % 2] for i in range(80)]
    order = rng.permutation(80)
    plans = folds.assign(patients, labels, n_folds=4, repeats=3, seed=5)
    shuffled = folds.assign(
        [patients[i] for i in order], [labels[i] for i in order], n_folds=4, repeats=3, seed=5
    )
    assert shuffled == plans
    assert [list(plan) for plan in shuffled] == [list(plan) for plan in plans]
    assert folds.assign(patients, labels, n_folds=4, repeats=3, seed=6) != plans
    assert len({tuple(plan.values()) for plan in plans}) == 3


def test_classes_are_spread_evenly_over_folds():
    patients = [f"k{i:03d}" for i in range(103)]
    labels = ["1" if i < 23 else "0" for i in range(103)]
    for plan in folds.assign(patients, labels, n_folds=5, repeats=4, seed=0):
        positives = Counter(plan[key] for key in patients[:23])
        everyone = Counter(plan.values())
        assert max(positives.values()) - min(positives.values()) <= 1
        assert max(everyone.values()) - min(everyone.values()) <= 2


def test_a_mixed_patient_counts_as_the_rarer_class():
    """Five positives, three of them beside a negative: every fold of five gets one."""
    patients = [f"k{i:02d}" for i in range(30)] + ["k00", "k01", "k02"]
    labels = ["1"] * 5 + ["0"] * 25 + ["0"] * 3
    (plan,) = folds.assign(patients, labels, n_folds=5, repeats=1, seed=0)
    assert sorted(plan[f"k{i:02d}"] for i in range(5)) == [0, 1, 2, 3, 4]


def test_class_and_site_are_spread_evenly_together():
    """Of 3 sites x 2 classes: folds differ by one patient in every class and in every stratum."""
    rng = np.random.default_rng(1)
    keys = [f"k{i:03d}" for i in range(97)]
    labels = [str(int(rng.random() < 0.3)) for _ in keys]
    site = {key: "abc"[rng.integers(3)] for key in keys}
    plans = folds.assign(keys, labels, n_folds=5, repeats=3, seed=0, site=site)
    assert len({tuple(plan.values()) for plan in plans}) == 3
    label = dict(zip(keys, labels, strict=True))
    for plan in plans:
        for group in (lambda k: label[k], lambda k: (label[k], site[k]), lambda _: "everyone"):
            for wanted in {group(key) for key in keys}:
                count = Counter(plan[key] for key in keys if group(key) == wanted)
                sizes = [count[fold] for fold in range(5)]
                assert max(sizes) - min(sizes) <= 1


def test_strata_smaller_than_the_folds_are_dealt_too():
    keys = [f"k{i:02d}" for i in range(20)]
    labels = [str(i % 2) for i in range(20)]
    site = {key: f"site{i // 4}" for i, key in enumerate(keys)}
    (plan,) = folds.assign(keys, labels, n_folds=5, repeats=1, seed=0, site=site)
    held = Counter((plan[key], name) for key, name in zip(keys, labels, strict=True))
    assert set(held.values()) == {2}


def test_a_split_that_misses_a_class_is_drawn_again():
    """Three of four with b also have c, and so have three of four with d.

    Both quartets go to four folds, one each. In a quarter of all draws the one without c is in the
    same fold twice, and that fold has no c.
    """
    held = {"b": 4, "d": 4, "a": 12}
    patients = [(f"{name}{k}", name) for name, n in held.items() for k in range(n)]
    patients += [(f"{name}{k}", "c") for name in "bd" for k in range(3)]
    keys, labels = zip(*patients, strict=True)
    for seed in range(30):
        (plan,) = folds.assign(keys, labels, n_folds=4, repeats=1, seed=seed)
        assert len({(plan[key], name) for key, name in patients}) == 16


def test_too_many_folds_name_the_largest_that_works():
    patients = [f"k{i}" for i in range(12)]
    labels = ["1"] * 3 + ["0"] * 9
    with pytest.raises(DataError, match="class '1' has 3 patients") as caught:
        folds.assign(patients, labels, n_folds=5, repeats=1, seed=0)
    assert caught.value.fix == "use at most 3 folds"
    folds.assign(patients, labels, n_folds=3, repeats=1, seed=0)


def test_one_patient_of_a_class_cannot_be_in_two_places():
    with pytest.raises(DataError, match="class 'b' has 1 patient\n") as caught:
        folds.assign(["k1", "k2", "k3"], ["a", "a", "b"], n_folds=2, repeats=1, seed=0)
    assert caught.value.fix == "no number of folds works: add patients of that class"


def test_one_class_is_refused():
    with pytest.raises(DataError, match=r"one class only \('0'\)") as caught:
        folds.assign(["k1", "k2"], ["0", "0"], n_folds=2, repeats=1, seed=0)
    assert caught.value.exit_code == 3


def test_no_patients_are_refused():
    with pytest.raises(DataError, match=r"one class only \(none\)"):
        folds.assign([], [], n_folds=2, repeats=1, seed=0)


@pytest.mark.parametrize(("n_folds", "repeats"), [(1, 1), (2, 0)])
def test_nonsense_is_a_programming_error(n_folds, repeats):
    with pytest.raises(ValueError, match="needs n_folds >= 2 and repeats >= 1"):
        folds.assign(["k1", "k2"], ["0", "1"], n_folds=n_folds, repeats=repeats, seed=0)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    n_folds=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_amounts_are_dealt_evenly_and_no_part_must_be_everywhere(sizes, n_folds, seed):
    strata = {f"{part}-{k}": f"part {part}" for part, n in enumerate(sizes) for k in range(n)}
    if len(strata) < 2 * n_folds:
        with pytest.raises(DataError, match="test fewer than two each"):
            folds.deal(strata, n_folds=n_folds, repeats=1, seed=seed)
        return
    plans = folds.deal(strata, n_folds=n_folds, repeats=2, seed=seed)
    backwards = dict(reversed(strata.items()))
    assert folds.deal(backwards, n_folds=n_folds, repeats=2, seed=seed) == plans
    for plan in plans:
        assert list(plan) == sorted(strata)
        for keys in (
            list(strata),
            *([k for k in strata if strata[k] == p] for p in strata.values()),
        ):
            held = [sum(plan[key] == fold for key in keys) for fold in range(n_folds)]
            assert max(held) - min(held) <= 1


@pytest.mark.parametrize(
    ("n", "fix"), [(7, "use at most 3 folds"), (3, "no number of folds works")]
)
def test_folds_of_amounts_that_are_too_many_name_the_most(n, fix):
    with pytest.raises(DataError, match=f"5 folds of {n} patients") as caught:
        folds.deal({str(k): "a" for k in range(n)}, n_folds=5, repeats=1, seed=0)
    assert caught.value.fix.startswith(fix)
