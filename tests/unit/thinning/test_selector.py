"""Leader thinning where other rules fail: smooth chains, scopes, blocks and borderline pairs."""

import numpy as np
import pytest

from medssl.reduction import dhash, embedding
from medssl.thinning import leader, scoping
from medssl.thinning.metrics import Metric, ranks
from medssl.thinning.nearest import Nearest

NOTHING = np.zeros(300, dtype=bool)


def cosines(vectors, tau, **more):
    config = embedding.Config()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    described = unit.astype(np.float32)
    return Metric(
        name="embedding",
        strategy=embedding,
        config=config,
        descriptors=described,
        tau=tau,
        **more,
    )


def smooth_path(n=300, step=0.17, seed=0):
    """Unit vectors of which only neighbours are alike, as the slices of a volume are."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=16)
    path = []
    for _ in range(n):
        x = x / np.linalg.norm(x)
        path.append(x)
        x = x + step * rng.normal(size=16) / 4
    return np.array(path)


def whole(metric):
    n = len(metric.descriptors)
    return scoping.ordered([np.arange(n)], ranks((metric,)), NOTHING[:n])


def test_a_chain_of_neighbours_is_not_one_cluster():
    path = smooth_path()
    assert (path[1:] * path[:-1]).sum(1).min() > 0.95  # union-find at 0.95 would keep one image
    metric = cosines(path, 0.95)
    thinned = leader.select([metric], whole(metric))
    assert len(thinned.kept) >= 0.2 * len(path)
    assert thinned.similarity.min() >= 0.95


def test_scopes_do_not_see_each_other_and_may_be_interleaved():
    path = smooth_path(30)
    metric = cosines(np.repeat(path, 2, axis=0), 0.97)
    keys = ["a", "b"] * 30
    rows = scoping.rows_of(keys, 60)
    assert [r.tolist()[:2] for r in rows] == [[0, 2], [1, 3]]
    scopes = scoping.ordered(rows, ranks((metric,)), NOTHING[:60])
    apart = leader.select([metric], scopes)
    together = leader.select([metric], whole(metric))
    assert len(apart.kept) == 2 * len(together.kept)
    assert all(keys[d] == keys[r] for d, r in zip(apart.dropped, apart.representative, strict=True))


def test_protected_images_come_first_and_stand_for_others():
    path = smooth_path(60)
    metric = cosines(path, 0.9)
    protected = np.zeros(60, dtype=bool)
    protected[[20, 21, 40]] = True
    thinned = leader.select([metric], scoping.ordered([np.arange(60)], ranks((metric,)), protected))
    assert {20, 21, 40} <= set(thinned.kept.tolist())  # 20 and 21 are alike
    assert dict(zip(thinned.dropped, thinned.representative, strict=True))[22] == 21
    assert set(thinned.reasons(protected)) == {"protected", "leader"}


@pytest.mark.parametrize("memory", [2**12, 2**20, 2**28])
def test_memory_decides_how_much_is_compared_at_a_time_and_nothing_else(memory):
    path = smooth_path(200)
    metric = cosines(path, 0.96, memory=memory)
    reference = cosines(path, 0.96)
    assert metric.block <= reference.block
    ours, theirs = (leader.select([m], whole(m)) for m in (metric, reference))
    for field in ("kept", "representative", "similarity"):
        assert np.array_equal(getattr(ours, field), getattr(theirs, field))


def test_what_float32_cannot_decide_is_decided_in_float64(monkeypatch):
    path = smooth_path(120, seed=3)
    exact = cosines(path, 0.97)
    wanted = leader.select([exact], whole(exact))
    rng = np.random.default_rng(0)
    real = embedding.similarity

    def off(a, b, config, device="cpu"):  # as wrong as `ERROR` allows
        table = real(a, b, config, device)
        return table + rng.uniform(-1, 1, table.shape).astype(np.float32) * embedding.ERROR * 0.99

    monkeypatch.setattr(embedding, "similarity", off)
    found = leader.select([exact], whole(exact))
    for field in ("kept", "dropped", "representative", "similarity"):
        assert np.array_equal(getattr(wanted, field), getattr(found, field))


def test_a_threshold_between_two_float32_neighbours_is_kept_exactly():
    """The similarity of the pair, and the next number above it, as thresholds."""
    vectors = smooth_path(2, step=0.5)
    metric = cosines(vectors, 0.5)
    value = metric.exact(np.array([0]), np.array([1]))[0]
    for tau, n_kept in ((value, 1), (np.nextafter(value, 1), 2)):
        at = metric.at(tau)
        assert len(leader.select([at], whole(at)).kept) == n_kept


def test_the_nearest_of_equals_is_the_one_offered_first():
    hashes = np.array([[7, 0], [7, 0], [7, 0], [5, 0]], dtype=np.uint64)
    metric = Metric(
        name="dhash", strategy=dhash, config=dhash.Config(), descriptors=hashes, tau=0.5
    )
    nearest = Nearest(metric, floor=0.5)
    nearest.offer(np.array([0]), np.array([3, 2, 1]))
    assert (nearest.row[0], nearest.similarity[0]) == (2, 1.0)
    nearest.offer(np.array([0]), np.array([1]))
    assert nearest.row[0] == 2


def test_a_chain_names_the_first_metric_that_stands_for_an_image():
    path = smooth_path(50)
    loose, tight = cosines(path, 0.93), cosines(path, 0.98)
    thinned = leader.select([tight, loose], whole(tight))
    alone = leader.select([loose], whole(loose))
    assert np.array_equal(thinned.kept, alone.kept)  # the looser one decides what is kept
    assert {0, 1} == set(thinned.stage.tolist())
    assert np.array_equal(thinned.tau, np.where(thinned.stage == 0, 0.98, 0.93))
    assert (thinned.similarity >= thinned.tau).all()


@pytest.mark.parametrize("above", [0.0, 1e-9, 1e-7])
def test_a_threshold_just_above_a_similarity_leaves_it_out(above):
    """Similarities are float32; a threshold found by bisection is not."""
    hashes = np.array([[0, 0], [63, 0]], dtype=np.uint64)  # six bits apart
    tau = 1 - 6 / 64 + above
    link = Metric(name="dhash", strategy=dhash, config=dhash.Config(), descriptors=hashes, tau=tau)
    assert len(leader.select([link], whole(link)).kept) == (2 if above else 1)
