"""Probabilities under the prior of the clinic, of a model that learned another one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medssl.config.task import Task
from medssl.evaluation import priors

BINARY = Task(kind="binary", targets=("a",), classes=("0", "1"), positive="1")
CLASSES = Task(kind="multi_class", targets=("a",), classes=("x", "y", "z"))
LABELS = Task(kind="multi_label", targets=("a", "b"))
AMOUNT = Task(kind="regression", targets=("a",))
shares_01 = st.floats(0.01, 0.99)


def column(*counts):
    return np.repeat(np.arange(len(counts), dtype=float), counts)[:, None]


def bayes(p, prior, drawn):
    """The formula of methods for two classes, as it is written there."""
    up, down = p * prior / drawn, (1 - p) * (1 - prior) / (1 - drawn)
    return up / (up + down)


@given(shares_01, shares_01, st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_it_is_bayes_rule_and_keeps_the_order(prior, drawn, scores):
    p = np.sort(np.array(scores))
    found = priors.moved(p[:, None], [(1 - prior, prior)], [(1 - drawn, drawn)], binary=True)[:, 0]
    np.testing.assert_allclose(found, bayes(p, prior, drawn), rtol=1e-9, atol=1e-12)
    assert (np.diff(found) >= -1e-12).all()
    same = priors.moved(p[:, None], [(1 - prior, prior)], [(1 - prior, prior)], binary=True)
    np.testing.assert_allclose(same[:, 0], p, rtol=1e-9, atol=1e-12)


def test_two_of_several_classes_are_two_classes():
    p = np.random.default_rng(0).uniform(size=(7, 1))
    both = np.hstack([1 - p, p])
    moved = priors.moved(both, [(0.9, 0.1)], [(0.5, 0.5)], binary=False)
    np.testing.assert_allclose(moved[:, 1], bayes(p[:, 0], 0.1, 0.5))
    np.testing.assert_allclose(moved.sum(axis=1), 1)


@pytest.mark.parametrize(("how", "power"), [("balanced", 1), ("sqrt", 0.5)])
def test_drawing_and_weighting_teach_the_same_prior(how, power):
    label = column(80, 15, 5)
    counts = np.array([80.0, 15, 5])
    expected = counts * counts**-power / (counts * counts**-power).sum()
    drawn = priors.shares(label, CLASSES, how, "none")
    weighted = priors.shares(label, CLASSES, "natural", how)
    np.testing.assert_allclose(drawn.prior, [[0.8, 0.15, 0.05]])
    np.testing.assert_allclose(drawn.drawn[0], expected)
    np.testing.assert_allclose(weighted.drawn[0], expected)
    assert drawn.image_weight.sum() == pytest.approx(1)
    of_class = [drawn.image_weight[label[:, 0] == k].sum() for k in range(3)]
    np.testing.assert_allclose(of_class, expected)  # how often a class is really drawn
    assert weighted.loss_weight[label[:, 0].astype(int)].mean() == pytest.approx(1)
    assert drawn.loss_weight is None
    assert weighted.image_weight is None


def test_both_together_weigh_one_on_average_over_what_is_drawn():
    known = priors.shares(column(90, 10), BINARY, "sqrt", "sqrt")
    weight = known.loss_weight[column(90, 10)[:, 0].astype(int)]
    assert (known.image_weight * weight).sum() == pytest.approx(1)
    np.testing.assert_allclose(known.drawn, [[0.5, 0.5]])


def test_each_of_several_targets_has_its_own_prior_of_what_is_labelled():
    label = np.array([[0, 1], [0, np.nan], [0, 1], [1, 0], [np.nan, 1]])
    known = priors.shares(label, LABELS, "natural", "balanced")
    np.testing.assert_allclose(known.prior, [[0.75, 0.25], [0.25, 0.75]])
    np.testing.assert_allclose(known.drawn, 0.5)
    np.testing.assert_allclose(known.loss_weight, [[2 / 3, 2], [2, 2 / 3]])
    score = np.array([[0.5, 0.5], [0.2, 0.9]])
    found = priors.corrected(score, known)
    np.testing.assert_allclose(found[:, 0], bayes(score[:, 0], 0.25, 0.5))
    np.testing.assert_allclose(found[:, 1], bayes(score[:, 1], 0.75, 0.5))


@pytest.mark.parametrize("how", ["natural", "balanced", "sqrt"])
def test_a_class_that_was_never_seen_is_weighed_like_before(how):
    """Nothing is known of how often it is drawn, and the order of its scores says something."""
    known = priors.shares(column(6, 0, 4), CLASSES, how, "none")
    score = np.array([[0.5, 0.1, 0.4], [0.1, 0.8, 0.1]])
    found = priors.corrected(score, known)
    ratio = np.divide(known.prior[0], known.drawn[0], out=np.ones(3), where=[True, False, True])
    np.testing.assert_allclose(found, score * ratio / (score * ratio).sum(axis=1, keepdims=True))
    assert known.drawn[0][1] == 0
    single = priors.shares(np.array([[1, np.nan], [1, np.nan]]), LABELS, "natural", "balanced")
    score = np.array([[0.0, 0.3], [0.6, 0.7]])
    assert np.isfinite(priors.corrected(score, single)).all()
    np.testing.assert_array_equal(priors.corrected(score, single)[:, 1], score[:, 1])


def test_amounts_have_no_prior():
    known = priors.shares(np.array([[1.5], [2.5]]), AMOUNT, "natural", "none")
    score = np.array([[3.0], [-4.0]])
    assert priors.corrected(score, known) is score
    for task in (AMOUNT, LABELS):
        with pytest.raises(ValueError, match="no class to be drawn by"):
            priors.shares(np.zeros((2, len(task.targets))), task, "balanced", "none")


def test_oversampling_spoils_the_mean_and_the_correction_restores_it():
    """A prevalence of 0.1 drawn to 0.5: Buda et al. (arXiv:1710.05381), with a logistic model."""
    rng = np.random.default_rng(7)
    label = (rng.uniform(size=20_000) < 0.1).astype(float)[:, None]
    x = rng.normal(size=(20_000, 1)) + 1.5 * label
    known = priors.shares(label, BINARY, "balanced", "none")
    drawn = rng.choice(len(label), len(label), p=known.image_weight)
    natural, balanced = (
        LogisticRegression(C=1e6).fit(x[rows], label[rows, 0]).predict_proba(x)[:, 1:]
        for rows in (slice(None), drawn)
    )
    corrected = priors.corrected(balanced, known)
    brier = [float(((p - label) ** 2).mean()) for p in (natural, balanced, corrected)]
    assert balanced.mean() > 0.25
    assert corrected.mean() == pytest.approx(label.mean(), abs=0.004)
    assert brier[1] > 1.5 * brier[0]
    assert brier[2] == pytest.approx(brier[0], rel=0.01)
    assert roc_auc_score(label, corrected) == pytest.approx(roc_auc_score(label, balanced))
