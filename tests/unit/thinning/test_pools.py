"""Budgets, floors and caps, and random selections of the same size."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.foundation.errors import UsageError
from medssl.reduction import embedding, entropy, exact, random
from medssl.thinning import leader, pools, scoping
from medssl.thinning.metrics import Metric, own_order, ranks
from medssl.thinning.pools import Pool

N_PATIENTS, PER_PATIENT = 6, 20
N = N_PATIENTS * PER_PATIENT


def vectors():
    """Images of six patients: of the first all nearly equal, of the last all different."""
    rng = np.random.default_rng(0)
    parts = []
    for patient in range(N_PATIENTS):
        centre, spread = rng.normal(size=24), 0.02 + 0.25 * patient
        parts.append(centre + spread * rng.normal(size=(PER_PATIENT, 24)))
    table = np.concatenate(parts)
    return (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)


def metric(tau=0.8):
    config = embedding.Config()
    return Metric(
        name="embedding", strategy=embedding, config=config, descriptors=vectors(), tau=tau
    )


def drawn(seed=0):
    config = random.Config(seed=seed)
    described = random.describe([f"id{i}" for i in range(N)], config)
    return Metric(name="random", strategy=random, config=config, descriptors=described, tau=1.0)


def pool(link, within="patient", protected=(), **limits):
    patient = np.repeat(np.arange(N_PATIENTS), PER_PATIENT)
    series = np.repeat(np.arange(2 * N_PATIENTS), PER_PATIENT // 2)
    keys = {"patient": patient, "series": series, "archive": None}[within]
    mask = np.zeros(N, dtype=bool)
    mask[list(protected)] = True
    scopes = scoping.ordered(scoping.rows_of(keys, N), ranks((link,)), mask)
    return Pool(scopes=scopes, protected=mask, patient=patient, series=series, **limits)


def per_patient(thinned):
    return np.bincount(thinned.kept // PER_PATIENT, minlength=N_PATIENTS)


def quiet(tau, kept):
    pass


@pytest.mark.parametrize("budget", [6, 7, 40, 100, 500])
def test_a_budget_is_met_as_nearly_as_thinning_can(budget):
    tried = []
    thinned, tau = pools.thin_to(
        [metric()], pool(metric()), budget, lambda *told: tried.append(told)
    )
    assert len(thinned.kept) <= budget
    assert len(thinned.kept) >= min(budget, N) - 3
    again = pools.thin([metric(tau)], pool(metric()))
    assert np.array_equal(again.kept, thinned.kept)
    assert tried[0][1] == N


def test_a_budget_below_what_has_to_be_kept_is_refused():
    with pytest.raises(UsageError, match="come to 6"):
        pools.thin_to([metric()], pool(metric()), 5, quiet)
    some = pool(metric(), protected=range(5))
    with pytest.raises(UsageError, match="come to 10"):
        pools.thin_to([metric()], some, 9, quiet)


@pytest.mark.parametrize("within", ["series", "patient", "archive"])
def test_every_patient_and_series_keeps_enough_and_the_rest_stays_within_the_threshold(within):
    plain = pools.thin([metric()], pool(metric(), within))
    floored = pools.thin([metric()], pool(metric(), within, min_per_patient=5, min_per_series=2))
    assert per_patient(plain).min() < 5 <= per_patient(floored).min()
    assert np.bincount(floored.kept // 10).min() >= 2
    assert set(plain.kept) < set(floored.kept)
    assert set(floored.restored) == set(floored.kept) - set(plain.kept)
    reasons = floored.reasons(np.zeros(N, dtype=bool))
    assert reasons.count("floor") == len(floored.restored)
    assert (floored.similarity >= 0.8).all()
    assert sorted([*floored.kept, *floored.dropped]) == list(range(N))


def test_of_a_patient_with_too_few_the_least_alike_come_back():
    plain = pools.thin([metric()], pool(metric()))
    floored = pools.thin([metric()], pool(metric(), min_per_patient=4))
    mine = plain.dropped < PER_PATIENT  # of the first patient
    order = np.argsort(plain.similarity[mine], kind="stable")
    missing = 4 - per_patient(plain)[0]
    back = set(plain.dropped[mine][order][:missing])
    assert back == {row for row in floored.restored if row < PER_PATIENT}


def test_a_floor_above_what_there_is_keeps_all():
    assert len(pools.thin([metric()], pool(metric(), min_per_patient=1000)).kept) == N


@pytest.mark.parametrize("within", ["series", "patient"])
def test_no_patient_keeps_more_than_allowed_and_each_has_a_threshold_of_its_own(within):
    plain = pools.thin([metric()], pool(metric(), within))
    capped = pools.thin([metric()], pool(metric(), within, max_per_patient=8))
    assert per_patient(plain).max() > 8 >= per_patient(capped).max()
    untouched = per_patient(plain) <= 8
    assert np.array_equal(per_patient(capped)[untouched], per_patient(plain)[untouched])
    assert (per_patient(capped)[~untouched] >= 6).all()
    assert (capped.similarity >= capped.tau).all()
    assert len(set(capped.tau.tolist())) > 1
    assert set(capped.representative) <= set(capped.kept)


def test_a_cap_leaves_protected_images_alone():
    kept = pools.thin([metric()], pool(metric(), protected=range(100, 112), max_per_patient=8))
    assert set(range(100, 112)) <= set(kept.kept.tolist())


COUNTS = [7, 1, 5, 20, 3, 2]


@pytest.mark.parametrize("within", ["patient"])
def test_taking_by_number_is_thinning_each_scope_at_its_own_threshold(within):
    link = drawn()
    choice = pool(link, within)
    taken = pools.take(link, choice, COUNTS)
    assert per_patient(taken).tolist() == COUNTS
    for scope, count in zip(choice.scopes, COUNTS, strict=True):
        inside = np.isin(taken.dropped, scope.rows)
        (cut,) = set(taken.tau[inside]) or {1.0}
        thinned = leader.select([link.at(cut)], [scope])
        assert len(thinned.kept) == count
        for field in ("dropped", "representative", "similarity"):
            assert np.array_equal(getattr(thinned, field), getattr(taken, field)[inside])


def test_taking_keeps_what_is_protected_and_enough_of_each():
    link = drawn()
    choice = pool(link, "archive", protected=[3, 50], min_per_patient=2, min_per_series=1)
    taken = pools.take(link, choice, [20])
    assert len(taken.kept) == 20
    assert {3, 50} <= set(taken.kept.tolist())
    assert per_patient(taken).min() >= 2
    assert np.bincount(taken.kept // 10).min() >= 1
    assert set(taken.representative) <= set(taken.kept)
    assert (taken.similarity >= taken.tau).all()


def test_another_seed_takes_others():
    first, second = (pools.take(drawn(s), pool(drawn(s)), COUNTS).kept for s in (0, 1))
    assert len(first) == len(second) == sum(COUNTS)
    assert not np.array_equal(first, second)


def test_a_protected_image_stands_for_no_image_that_ranks_before_it():
    """A protected blank image would stand for everything."""
    config = entropy.Config()
    bits = np.array([[5.0], [4.5], [0.0], [0.2], [4.0]])
    link = Metric(
        name="entropy", strategy=entropy, config=config, descriptors=bits, tau=0.75,
        places=own_order(entropy, config, bits),
    )  # fmt: skip
    protected = np.array([False, False, True, False, False])
    scopes = scoping.ordered([np.arange(5)], ranks((link,)), protected)
    assert leader.select([link], scopes).kept.tolist() == [0, 1, 2, 4]


@given(
    sizes=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
    least=st.tuples(st.integers(0, 4), st.integers(0, 3)),
    apart=st.booleans(),
)
def test_a_random_selection_keeps_what_the_floors_ask_for_wherever_that_fits(
    sizes, seed, least, apart
):
    """Patients of several series; as many images as a selection with the same floors keeps."""
    rng = np.random.default_rng(seed)
    series = np.repeat(np.arange(sum(map(len, sizes))), [n for one in sizes for n in one])
    patient = np.repeat(np.arange(len(sizes)), [sum(one) for one in sizes])
    n = len(series)
    protected = rng.random(n) < 0.2
    config = random.Config(seed=seed % 1000)
    draws = random.describe([f"id{i}" for i in range(n)], config)
    link = Metric(name="random", strategy=random, config=config, descriptors=draws, tau=1.0)
    rows = scoping.rows_of(patient if apart else None, n)
    choice = Pool(
        scopes=scoping.ordered(rows, ranks((link,)), protected), protected=protected,
        patient=patient, series=series, min_per_patient=least[0], min_per_series=least[1],
    )  # fmt: skip
    like = rng.normal(size=(n, 3))
    unit = (like / np.linalg.norm(like, axis=1, keepdims=True)).astype(np.float32)
    config = embedding.Config()
    near = Metric(name="embedding", strategy=embedding, config=config, descriptors=unit, tau=0.5)
    wanted = _thinned(near, choice)
    counts = [int(np.isin(scope.rows, wanted.kept).sum()) for scope in choice.scopes]
    taken = pools.take(link, choice, counts)
    assert len(taken.kept) == len(wanted.kept)
    assert protected[taken.kept].sum() == protected.sum()
    for groups, few in ((patient, least[0]), (series, least[1])):
        there = np.bincount(groups)
        kept = np.bincount(groups[taken.kept], minlength=len(there))
        assert (kept >= np.minimum(there, few)).all()


def _thinned(link, choice):
    scopes = scoping.ordered(
        [np.sort(scope.rows) for scope in choice.scopes], ranks((link,)), choice.protected
    )
    return pools.thin([link], replace(choice, scopes=scopes))


def test_a_size_that_no_threshold_gives_is_refused():
    """Equal or not: at a threshold of 0 everything would be alike."""
    config = exact.Config()
    words = exact.describe([f"{i:064x}" for i in range(N)], config)
    link = Metric(name="exact", strategy=exact, config=config, descriptors=words, tau=1.0)
    with pytest.raises(UsageError, match=f"come to {N}"):
        pools.thin_to([link], pool(link, "archive"), N - 10, quiet)
