"""Swapping patients between two models, against every swap done by hand."""

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from medssl.evaluation import metrics, swaps

METRICS = {metric.name: metric for metric in metrics.TABLE}


def by_hand(ours, theirs, score, *, ranked):
    """The differences of all swaps of whole patients, from scikit-learn and a plain loop."""
    truth, patient = ours.truth[:, 0], ours.patient
    one, other = ours.score[:, 0], theirs.score[:, 0]
    if ranked:
        one, other = swaps.midranks(one), swaps.midranks(other)
    found = []
    for flips in product([False, True], repeat=ours.n_patients):
        swap = np.array(flips)[patient]
        mixed = np.where(swap, other, one), np.where(swap, one, other)
        found.append(score(truth, mixed[0]) - score(truth, mixed[1]))
    return np.array(found)


@pytest.fixture
def models(units_of):
    """Two models of 6 patients, some with several images of both classes, with ties."""
    keys = list("aabbbcdef")
    label = [1, 0, 1, 1, 0, 0, 1, 0, 1]
    scores = np.random.default_rng(3).integers(1, 6, size=(2, 9)) / 6
    ours, theirs = (units_of(keys, label, score) for score in scores)
    assert ours.kind == "image"
    return ours, theirs


@pytest.mark.parametrize(
    ("name", "score", "ranked"),
    [
        ("auroc", roc_auc_score, True),
        ("average_precision", average_precision_score, True),
        ("brier", brier_score_loss, False),
    ],
)
def test_all_swaps_of_few_patients_give_the_p_value_by_hand(models, name, score, ranked):
    ours, theirs = models
    drawn = by_hand(ours, theirs, score, ranked=ranked)
    found = swaps.swapped(METRICS[name], ours, theirs, (0,), 999, np.random.default_rng(0))
    assert found.value == pytest.approx(drawn[0], abs=1e-12)
    assert found.p == np.mean(np.abs(drawn) >= abs(drawn[0]) - 1e-12)
    assert (found.exact, found.swaps) == (True, 2**found.patients)
    assert found.smallest_p == 2 ** (1 - found.patients)


def cohort(units_of, seed, gain=0.0, count=90):
    rng = np.random.default_rng(seed)
    label, shared = np.arange(count) % 3 == 0, rng.normal(size=count)
    keys = [f"k{n:03d}" for n in range(count)]
    logits = [shared + extra * label + rng.normal(size=count) for extra in (1 + gain, 1)]
    return [units_of(keys, label, 1 / (1 + np.exp(-logit))) for logit in logits]


def test_swaps_at_random_come_near_all_of_them(units_of):
    ours, theirs = cohort(units_of, 0, gain=1, count=14)
    every, some = (
        swaps.swapped(METRICS["auroc"], ours, theirs, (0,), count, np.random.default_rng(0))
        for count in (5000, 400)
    )
    assert (every.exact, every.swaps, some.exact, some.swaps) == (True, 4096, False, 400)
    assert (every.smallest_p, some.smallest_p) == (2**-11, 1 / 401)
    assert some.p == pytest.approx(every.p, abs=0.03)


def test_a_p_value_is_never_0_and_never_below_what_is_possible(units_of):
    ours, theirs = cohort(units_of, 0, gain=4)
    found = swaps.swapped(METRICS["auroc"], ours, theirs, (0,), 199, np.random.default_rng(0))
    assert (found.p, found.smallest_p, found.exact) == (1 / 200, 1 / 200, False)


def test_p_values_of_equal_models_are_even(units_of):
    p = [
        swaps.swapped(
            METRICS["auroc"], *cohort(units_of, seed), (0,), 199, np.random.default_rng(seed)
        ).p
        for seed in range(40)
    ]
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) <= 0.05) < 0.15


def test_the_same_scores_cannot_differ(units_of):
    ours, _ = cohort(units_of, 0)
    for name in ("auroc", "brier"):
        found = swaps.swapped(METRICS[name], ours, ours, (0,), 199, np.random.default_rng(0))
        assert (found.value, found.p, found.smallest_p, found.patients) == (0, 1, 1, 0)


def test_which_model_comes_first_and_its_scale_change_nothing(units_of):
    ours, theirs = cohort(units_of, 1, gain=0.5)

    def p(one, other, name="auroc"):
        return swaps.swapped(METRICS[name], one, other, (0,), 499, np.random.default_rng(0)).p

    keys = [f"k{n:03d}" for n in range(90)]
    squeezed = units_of(keys, theirs.truth[:, 0], theirs.score[:, 0] ** 5)
    for name in ("auroc", "average_precision"):
        assert p(ours, theirs, name) == p(theirs, ours, name) == p(ours, squeezed, name)


def test_ranks_are_those_of_scipy():
    from scipy.stats import rankdata

    score = np.random.default_rng(0).integers(0, 9, size=40).astype(float)
    assert swaps.midranks(score) == pytest.approx(rankdata(score) / 40)
