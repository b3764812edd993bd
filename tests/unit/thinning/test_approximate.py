"""Approximate leader thinning: what stays guaranteed, what is lost, and how that is measured."""

import sys
from dataclasses import replace

import faiss
import numpy as np
import pytest

from medssl.config.reduce import ReduceSettings
from medssl.foundation.errors import MissingExtra, UsageError
from medssl.reduction import embedding
from medssl.thinning import approximate, chains, leader, outcomes, pools, scoping
from medssl.thinning.metrics import Metric
from medssl.thinning.pools import Pool

N, WIDTH = 1500, 12
TAUS = {"clustered": 0.95, "structureless": 0.75}
FIELDS = ("kept", "dropped", "representative", "similarity", "stage", "tau")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Scopes of more than 100 images are large; cells and blocks are small."""
    monkeypatch.setattr(approximate, "ABOVE", 100)
    monkeypatch.setattr(approximate, "BLOCK", 64)
    monkeypatch.setattr(approximate, "DRAWN", 10**6)


def metric(kind, n=N, **more):
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(n, WIDTH))
    if kind == "clustered":
        vectors = rng.normal(size=(120, WIDTH))[rng.integers(0, 120, n)] + 0.15 * vectors
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    config = embedding.Config()
    return Metric(name="embedding", strategy=embedding, config=config, descriptors=unit,
                  tau=TAUS[kind], **more)  # fmt: skip


def scopes(n=N, fixed=(), keys=None):
    protected = np.zeros(n, dtype=bool)
    protected[list(fixed)] = True
    return scoping.ordered(scoping.rows_of(keys, n), np.arange(n), protected)


def thin(link, among):
    return leader.select([link], among, **approximate.how(link, seed=0))


def cosines(link):
    """All with all, in float64 and not by the strategy."""
    vectors = link.descriptors.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def counted_by_hand(link, scope, thinned):
    """How many images behind the first block had to be dropped, and how many were."""
    alike = cosines(link) >= link.tau
    is_kept = np.isin(scope.rows, thinned.kept)
    covered = found = 0
    for place in range(max(approximate.BLOCK, scope.fixed), len(scope.rows)):
        before = scope.rows[:place][is_kept[:place]]
        is_covered = alike[scope.rows[place], before].any()
        covered += is_covered
        found += is_covered and not is_kept[place]
    return covered, found


@pytest.mark.parametrize("probes", [1, 3])
@pytest.mark.parametrize("kind", TAUS)
def test_every_dropped_image_names_a_kept_one_within_the_threshold(monkeypatch, kind, probes):
    monkeypatch.setattr(approximate, "PROBES", probes)
    link = metric(kind)
    thinned = thin(link, scopes(fixed=(3, 700)))
    assert sorted([*thinned.kept, *thinned.dropped]) == list(range(N))
    assert {3, 700} <= set(thinned.kept.tolist())
    assert np.isin(thinned.representative, thinned.kept).all()
    assert thinned.similarity.min() >= link.tau
    true = cosines(link)[thinned.dropped, thinned.representative]
    assert np.allclose(true, thinned.similarity, atol=1e-12)


@pytest.mark.parametrize("kind", TAUS)
def test_where_all_cells_are_probed_it_is_the_exact_walk(monkeypatch, kind):
    monkeypatch.setattr(approximate, "PROBES", 10**6)
    link = metric(kind)
    link.descriptors[[205, 405, 905]] = link.descriptors[5]  # of equals the one kept first is named
    keys = ["large" if n % 20 else "small" for n in range(N)]
    among = scopes(fixed=(5, 205, 405, 200), keys=keys)
    found, exact = thin(link, among), leader.select([link], among)
    assert 100 < len(exact.dropped) < N - 100
    assert dict(zip(found.dropped, found.representative, strict=True))[905] == 5
    for field in FIELDS:
        assert np.array_equal(getattr(found, field), getattr(exact, field)), field
    recall = approximate.measure(link, among, found, seed=0)
    assert recall.share == 1
    assert recall.scopes == 1  # the small one was not searched


@pytest.mark.parametrize("kind", TAUS)
@pytest.mark.parametrize(("probes", "fixed"), [(1, ()), (1, range(0, N, 15)), (4, ())])
def test_the_recall_is_the_share_of_images_to_be_dropped_that_were(
    monkeypatch, kind, probes, fixed
):
    monkeypatch.setattr(approximate, "PROBES", probes)
    link = metric(kind)
    (scope,) = scopes(fixed=fixed)
    thinned = thin(link, [scope])
    recall = approximate.measure(link, [scope], thinned, seed=0)
    assert (recall.covered, recall.found) == counted_by_hand(link, scope, thinned)
    assert recall.drawn == N - max(64, scope.fixed)
    assert recall.share == recall.found / recall.covered
    if (kind, probes) == ("structureless", 1):
        assert recall.share < 0.9


def test_more_probes_find_more(monkeypatch):
    link = metric("structureless")
    shares = []
    for probes in (1, 4, 16, 64):
        monkeypatch.setattr(approximate, "PROBES", probes)
        shares.append(approximate.measure(link, scopes(), thin(link, scopes()), seed=0).share)
    assert shares == sorted(set(shares))


def test_a_draw_tells_the_recall_of_all(monkeypatch):
    monkeypatch.setattr(approximate, "PROBES", 1)
    link, among = metric("structureless"), scopes()
    thinned = thin(link, among)
    everything = approximate.measure(link, among, thinned, seed=0)
    monkeypatch.setattr(approximate, "DRAWN", 400)
    draws = [approximate.measure(link, among, thinned, seed) for seed in range(40)]
    assert {draw.drawn for draw in draws} == {400}
    assert len({draw.share for draw in draws}) > 10
    mean = sum(draw.found for draw in draws) / sum(draw.covered for draw in draws)
    assert mean == pytest.approx(everything.share, abs=0.01)
    assert approximate.measure(link, among, thinned, seed=3) == draws[3]


def test_images_that_come_back_for_a_floor_were_found():
    link, among = metric("clustered"), scopes()
    patient = np.arange(N) // 3
    pool = Pool(scopes=among, protected=np.zeros(N, dtype=bool), patient=patient, series=patient,
                min_per_patient=2)  # fmt: skip
    thinned = pools.thin([link], pool, **approximate.how(link, seed=0))
    assert len(thinned.restored)
    before = approximate.measure(link, among, thin(link, among), seed=0)
    assert approximate.measure(link, among, thinned, seed=0) == before


def test_threads_and_memory_change_nothing_and_the_threads_stay_as_they_were(monkeypatch):
    monkeypatch.setattr(approximate, "PROBES", 2)
    link, threads = metric("structureless"), faiss.omp_get_max_threads()
    try:
        results = []
        for n, memory in ((1, 2**28), (2, 2**28), (2, 2**13)):
            faiss.omp_set_num_threads(n)
            results.append(thin(replace(link, memory=memory), scopes()))
            assert faiss.omp_get_max_threads() == n
    finally:
        faiss.omp_set_num_threads(threads)
    for field in FIELDS:
        assert all(np.array_equal(getattr(results[0], field), getattr(r, field)) for r in results)


def test_small_scopes_are_thinned_exactly_and_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(approximate, "PROBES", 1)
    monkeypatch.setattr(approximate, "ABOVE", N)
    link = metric("structureless")
    found, exact = thin(link, scopes()), leader.select([link], scopes())
    for field in FIELDS:
        assert np.array_equal(getattr(found, field), getattr(exact, field))
    assert approximate.measure(link, scopes(), found, seed=0) is None
    assert approximate.record(None) == {}


def test_copies_of_one_image_are_one_cell_and_one_image():
    link = metric("clustered", n=300)
    link = replace(link, descriptors=np.repeat(link.descriptors[:1], 300, axis=0))
    thinned = thin(link, scopes(300))
    assert thinned.kept.tolist() == [0]
    assert set(thinned.similarity.tolist()) == {1.0}


def test_the_recall_is_told_with_what_it_rests_on():
    recall = outcomes.Recall(scopes=1, drawn=1000, covered=612, found=604)
    assert approximate.told(recall) == (
        "approximate search: recall 0.987 of 1,000 images drawn "
        "(604 of 612 that a kept image stands for were found)"
    )
    nothing = replace(recall, covered=0, found=0)
    assert "recall unknown" in approximate.told(nothing)
    assert approximate.record(nothing)["recall"] is None
    assert approximate.record(recall)["recall"] == 604 / 612


def asked(**more):
    return ReduceSettings(archive="somewhere", by="embedding", approximate=True, **more)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((100, 100), "exact thinning all the same: --approximate begins above 100 images"),
        ((101, 100), "exact thinning in 1 of 2 scopes: --approximate begins above 100 images"),
        ((101,), None),
    ],
)
def test_scopes_that_are_too_small_are_noted_beforehand(sizes, said):
    settings = asked()
    notes = approximate.check(settings, chains.links(settings), [np.arange(n) for n in sizes])
    assert [note.startswith(said) for note in notes] == [True] * (said is not None)


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"keep": 0.5}, "keep"),
        ({"budget": 10}, "budget"),
        ({"select": "k_center", "budget": 10}, "budget, select"),
        ({"within": "patient", "max_per_patient": 3}, "max_per_patient"),
        ({"by": ("exact", "embedding")}, "by"),
    ],
)
def test_one_strategy_and_its_threshold_is_all_it_takes(more, names):
    with pytest.raises(UsageError, match=f"its threshold: {names} asks for more"):
        ReduceSettings(**{"archive": "somewhere", "by": "embedding", "approximate": True, **more})


@pytest.mark.parametrize("name", ["dhash", "ssim", "entropy", "random"])
def test_only_vectors_are_searched(name):
    settings = ReduceSettings(archive="somewhere", by=name, approximate=True)
    with pytest.raises(UsageError, match=f"what {name} describes images by"):
        approximate.check(settings, chains.links(settings), [])
    exactly = settings.model_copy(update={"approximate": False})
    assert approximate.check(exactly, chains.links(exactly), []) == ()


def test_without_faiss_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    settings = asked()
    with pytest.raises(MissingExtra, match=r"(?s)not installed.*pip install 'medssl\[faiss\]'"):
        approximate.check(settings, chains.links(settings), [np.arange(1)])
