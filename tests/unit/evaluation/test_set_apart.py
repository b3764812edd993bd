"""Who is set apart or left out: by patient, nested, and never the last one of a class."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medssl.evaluation import protocols, set_apart
from medssl.evaluation.protocols import Plan

FRACTIONS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)


@st.composite
def people(draw):
    """Patients of one to three of four classes each, some of them rare."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keys = [f"k{k:02d}" for k in range(draw(st.integers(3, 50)))]
    held = [rng.choice(list("abcd"), rng.integers(1, 4), p=[0.5, 0.3, 0.15, 0.05]) for _ in keys]
    return protocols.people(keys, [tuple(map(str, names)) for names in held])


def _held(among, keys):
    return set().union(*(among.classes[key] for key in keys))


@given(among=people(), seed=st.integers(0, 99))
def test_fractions_are_nested_and_keep_every_class(among, seed):
    tested = dict.fromkeys(list(among.classes)[::4], 0)
    plan = Plan(n_folds=1, test_fold=(tested,))
    training = set(plan.training(among, 0, 0))
    apart = set_apart.inner(plan, among, share=0.3, seed=seed)
    used = []
    for fraction in FRACTIONS:
        ((unused,),) = set_apart.unused(plan, among, apart, fraction=fraction, seed=seed)
        used.append(training - set(unused))
        for part in (set(apart[0][0]), training - set(apart[0][0])):
            assert _held(among, used[-1] & part) == _held(among, part)
    assert all(smaller <= larger for smaller, larger in pairwise(used))
    assert set_apart.unused(plan, among, apart, fraction=1.0, seed=seed) == ()


@given(among=people(), share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_learning_keeps_every_class(among, share, seed):
    plan = Plan(n_folds=1, test_fold=({},))
    ((apart,),) = set_apart.inner(plan, among, share=share, seed=seed)
    assert list(apart) == sorted(set(apart))
    assert _held(among, set(among.classes) - set(apart)) == among.names


def test_shares_hold_in_every_class():
    among = protocols.people([f"k{k:03d}" for k in range(150)],
                             [("1",) if k < 50 else ("0",) for k in range(150)])  # fmt: skip
    plan = Plan(n_folds=1, test_fold=({},))
    ((apart,),) = set_apart.inner(plan, among, share=0.2, seed=0)
    assert sum(key < "k050" for key in apart) == 10
    assert len(apart) == 30
    ((unused,),) = set_apart.unused(plan, among, ((apart,),), fraction=0.25, seed=0)
    left = set(among.classes) - set(unused)
    assert len(left & set(apart)) == 30 - round(0.75 * 10) - round(0.75 * 20)
    assert sum(key < "k050" for key in left - set(apart)) == 10
    assert len(left - set(apart)) == 30


def test_the_last_patient_of_a_class_stays_to_learn_from():
    among = protocols.people(["a", "b", "c", "d"], [("0",), ("0",), ("0",), ("1",)])
    plan = Plan(n_folds=1, test_fold=({},))
    ((apart,),) = set_apart.inner(plan, among, share=0.9, seed=0)
    assert "d" not in apart
    assert len(apart) == 2  # of three, one stays
    two = protocols.people(["a", "b", "c", "d"], [("0",), ("0",), ("1",), ("1",)])
    ((apart,),) = set_apart.inner(plan, two, share=0.01, seed=0)
    assert [next(iter(two.classes[key])) for key in apart] == ["0", "1"]  # one of each of two


def test_a_class_that_is_nowhere_the_rarest_keeps_somebody():
    """Each patient of c has a rarer class too: drawing those would take all of c."""
    held = {"p": "cd", "q": "ce", "r": "cf", "s": "d", "t": "e", "u": "f"}
    among = protocols.people(list(held), [tuple(names) for names in held.values()])
    plan = Plan(n_folds=1, test_fold=({},))
    for seed in range(40):
        ((apart,),) = set_apart.inner(plan, among, share=0.5, seed=seed)
        assert _held(among, set(held) - set(apart)) == set("cdef")


def test_folds_and_repeats_draw_apart():
    among = protocols.people([f"k{k:03d}" for k in range(60)], [(str(k % 2),) for k in range(60)])
    plan = protocols.k_fold(among, n_folds=3, repeats=2, seed=0)
    apart = set_apart.inner(plan, among, share=0.3, seed=0)
    assert len(apart) == 2
    assert len({part for repeat in apart for part in repeat}) == 6
