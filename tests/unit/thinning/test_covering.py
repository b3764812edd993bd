import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.artifacts import tables
from medssl.artifacts.archive import IMAGES
from medssl.reduction import dhash, embedding
from medssl.thinning import covering, leader, outcomes, scoping
from medssl.thinning.covering import Nearby
from medssl.thinning.metrics import Metric
from medssl.thinning.pools import Pool

TAU = 0.8


def vectors(n, seed=0, spread=0.35):
    """Unit vectors around a few centres, as images look like a few others."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, 24))
    table = centres[np.arange(n) % 6] + spread * rng.normal(size=(n, 24))
    return (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)


def metric(descriptors, tau=TAU, **more):
    return Metric(name="embedding", strategy=embedding, config=embedding.Config(),
                  descriptors=descriptors, tau=tau, **more)  # fmt: skip


def hashes(values, tau):
    described = np.array([[value, 0] for value in values], dtype=np.uint64)
    return Metric(name="dhash", strategy=dhash, config=dhash.Config(), descriptors=described,
                  tau=tau)  # fmt: skip


def pool(keys, left_out=()):
    n = len(keys)
    rows = [np.setdiff1d(scope, left_out) for scope in scoping.rows_of(keys, n)]
    none = np.zeros(n, dtype=bool)
    number = np.unique(keys, return_inverse=True)[1]
    return Pool(scopes=scoping.ordered([r for r in rows if len(r)], np.arange(n)[::-1], none),
                protected=none, patient=number, series=number)  # fmt: skip


def nearest(descriptors, keys, rows):
    """The largest similarity of each image to another of its key, by a plain loop."""
    exact = descriptors.astype(np.float64)
    found = []
    for row in rows:
        others = [other for other in rows if other != row and keys[other] == keys[row]]
        if others:
            found.append(max(float(exact[row] @ exact[other]) for other in others))
    return np.clip(np.array(found), 0, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 99))
def test_what_is_measured_is_what_a_plain_loop_finds(n, n_keys, seed):
    described = vectors(n, seed)
    keys = np.arange(n) % n_keys
    left_out = [0] if n > 5 else []
    chosen = pool(keys, left_out)
    thinned = leader.select([metric(described)], chosen.scopes)
    told = covering.measure(metric(described), chosen, thinned, seed=0)
    inside = [row for row in range(n) if row not in left_out]
    for likeness, rows in ((told.before, inside), (told.after, thinned.kept.tolist())):
        expected = nearest(described, keys, rows)
        assert (likeness.of, likeness.n) == (len(rows), len(expected))
        assert likeness.n_alone == len(rows) - len(expected)
        if len(expected):
            for name, share in (("min", 0), ("median", 0.5), ("max", 1)):
                wanted = np.quantile(expected, share, method="inverted_cdf")
                assert likeness.quantiles[name] == pytest.approx(wanted, abs=1e-6)
        assert sum(likeness.counts) + likeness.n_below == likeness.n
    assert told.represented.n == len(thinned.dropped)
    assert told.after.quantiles.get("max", 0) < TAU <= told.represented.quantiles.get("min", 1)


def test_neither_memory_nor_images_of_other_archives_change_what_is_measured():
    described, keys = vectors(300), np.arange(300) % 2
    plain = metric(described)
    thinned = leader.select([plain], pool(keys).scopes)
    told = covering.measure(plain, pool(keys), thinned, seed=0)
    for other in (
        metric(described, memory=1),
        metric(np.concatenate([described, described])),  # the second half is not in the pool
    ):
        again = covering.measure(other, pool(keys), thinned, seed=0)
        assert (again.before, again.after, again.edges) == (told.before, told.after, told.edges)


def test_thousands_of_equal_images_need_few_exact_comparisons(monkeypatch):
    described, keys = np.repeat(vectors(1), 5000, axis=0), np.zeros(5000)
    compared = []
    exact = embedding.exact
    monkeypatch.setattr(
        embedding, "exact", lambda a, b, config: (compared.append(len(a)), exact(a, b, config))[1]
    )
    monkeypatch.setattr(covering, "MOST", 20)
    link, chosen = metric(described), pool(keys)
    thinned = outcomes.build(np.arange(1), np.arange(1, 5000), np.zeros(4999, np.int64),
                             np.ones(4999), 0, TAU)  # fmt: skip
    told = covering.measure(link, chosen, thinned, seed=0)
    assert told.before.quantiles["min"] == pytest.approx(1)
    assert sum(compared) <= 20 * 1024  # not 20 * 5000


def test_of_many_images_some_are_drawn_and_compared_with_all(monkeypatch):
    monkeypatch.setattr(covering, "MOST", 50)
    described, keys = vectors(400), np.zeros(400)
    thinned = leader.select([metric(described)], pool(keys).scopes)
    told = [
        covering.measure(metric(described), pool(keys), thinned, seed=seed) for seed in (1, 1, 2)
    ]
    assert told[0].before == told[1].before != told[2].before
    before = told[0].before
    assert (before.of, before.n, told[0].drawn) == (400, 50, 50)
    every = set(nearest(described, keys, range(400)).round(5).tolist())
    assert {round(value, 5) for value in before.quantiles.values()} <= every


def test_only_what_the_metric_dropped_counts_as_represented_by_it():
    described = vectors(60)
    keys = np.zeros(60)
    chain = [metric(described, 0.95), metric(described, TAU)]
    thinned = leader.select(chain, pool(keys).scopes)
    shares = [
        covering.measure(chain[k], pool(keys), thinned, seed=0, stage=k).represented.n
        for k in (0, 1)
    ]
    assert shares == [int((thinned.stage == k).sum()) for k in (0, 1)]
    assert min(shares) > 0


def test_a_hash_has_one_distance_in_each_bin():
    distances = np.arange(33)
    edges = covering.bins(1 - np.repeat(distances, 3) / 64)
    assert edges[-1] == 1
    assert np.diff(edges).tolist() == [1 / 64] * 32
    counts, _ = np.histogram(1 - distances / 64, edges)
    assert counts.tolist() == [1] * 31 + [2]  # the last bin holds 63/64 and 1


@given(st.lists(st.floats(0, 1), max_size=60))
def test_bins_hold_all_but_one_in_a_hundred(values):
    edges = covering.bins(np.array(values))
    assert len(edges) == 33
    assert edges[-1] == 1
    assert 0 <= edges[0] < 1
    assert sum(value < edges[0] for value in values) <= 0.01 * len(values)


def test_bins_are_as_fine_as_what_they_show():
    values = np.linspace(0.99, 1, 500)
    assert 0.98 < covering.bins(values)[0] <= 0.99
    assert covering.bins(np.ones(9))[0] == 0


def test_the_pairs_nearest_the_threshold_are_those_of_a_sorted_list():
    described, keys = vectors(80), np.arange(80) % 2
    chosen = pool(keys)
    thinned = leader.select([metric(described)], chosen.scopes)
    told = covering.measure(metric(described), chosen, thinned, seed=0)
    dropped, kept = covering.nearest_threshold(told, chosen, thinned, most=7)
    order = np.lexsort((thinned.dropped, thinned.similarity))[:7]
    assert dropped == tuple(
        Nearby(int(thinned.dropped[k]), int(thinned.representative[k]),
               float(thinned.similarity[k]), True)
        for k in order
    )  # fmt: skip
    exact = described.astype(np.float64) @ described.T.astype(np.float64)
    pairs = {}
    for row in thinned.kept.tolist():
        others = [k for k in thinned.kept.tolist() if k != row and keys[k] == keys[row]]
        other = max(others, key=lambda k: exact[row, k])
        pairs[tuple(sorted((row, other)))] = exact[row, other]
    wanted = sorted(pairs, key=lambda pair: -pairs[pair])[:7]
    assert [tuple(sorted((one.row, one.other))) for one in kept] == wanted
    assert not any(one.is_dropped for one in kept)
    assert all(one.similarity < TAU for one in kept)


def test_of_pairs_equally_near_every_series_shows_one_first():
    """Four series of five images: one image, and four that are six bits away from it."""
    values = [(1 << 6) - 1 if place else 0 for place in range(5)] * 4
    keys = np.repeat(np.arange(4), 5)
    link = hashes(values, 1 - 6 / 64)
    thinned = leader.select([link], pool(keys).scopes)
    told = covering.measure(link, pool(keys), thinned, seed=0)
    dropped, kept = covering.nearest_threshold(told, pool(keys), thinned, most=4)
    assert {one.similarity for one in dropped} == {1 - 6 / 64}
    assert sorted(keys[one.row] for one in dropped) == [0, 1, 2, 3]
    assert kept == ()


def series(sizes, **columns):
    rows = [
        {"image_id": f"{s}-{k}", "series_key": f"s{s}", "modality": m, "site": columns.get("site")}
        for s, (n, m) in enumerate(sizes)
        for k in range(n)
    ]
    return tables.build(rows, IMAGES)


def test_modalities_take_turns_among_the_longest_series():
    table = series([(3, "CT"), (9, "CT"), (8, "CT"), (7, "CT"), (4, "MR"), (1, "DX")])
    inside = np.ones(table.num_rows, dtype=bool)
    shown = covering.longest_series(table, inside, most=3)
    keys = [table["series_key"].take(rows).to_pylist() for rows in shown]
    assert keys == [["s1"] * 9, ["s4"] * 4, ["s2"] * 8]
    assert all(np.array_equal(rows, np.sort(rows)) for rows in shown)
    inside[:12] = False  # of the first two series
    assert len(covering.longest_series(table, inside, most=9)) == 3


def test_an_archive_of_single_images_has_no_series_to_show():
    table = series([(1, "DX")] * 4)
    assert covering.longest_series(table, np.ones(4, dtype=bool)) == ()


def test_nothing_to_compare_is_no_error():
    described = vectors(3)
    chosen = pool(np.arange(3))
    thinned = leader.select([metric(described)], chosen.scopes)
    told = covering.measure(metric(described), chosen, thinned, seed=0)
    assert (told.before.n, told.before.n_alone, told.before.quantiles) == (0, 3, {})
    assert covering.nearest_threshold(told, chosen, thinned) == ((), ())
