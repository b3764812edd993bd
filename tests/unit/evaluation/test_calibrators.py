"""Probabilities corrected by patients that were set apart for it."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss, roc_auc_score

from medssl.evaluation import calibrators


def binary(n, seed, over=1.0):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=n)
    label = (rng.uniform(size=n) < expit(true)).astype(int)
    return expit(true * over)[:, None], label


def fit(kind, score, label):
    """Fitted to one row per patient."""
    return calibrators.fit(kind, score, label, [f"k{row}" for row in range(len(label))])


def test_a_temperature_undoes_logits_that_are_too_large():
    score, label = binary(20_000, 0, over=3.0)
    found = fit("temperature", score, label)
    assert found.temperature == pytest.approx(3.0, rel=0.06)
    assert found.apply(score)[:, 0] == pytest.approx(expit(logit(score[:, 0]) / found.temperature))


def test_a_temperature_minimises_the_log_loss_of_labels_by_succession():
    """Scikit-learn's weighted log loss: each row is both classes, as Platt has it."""
    score, label = binary(300, 1, over=2.0)
    count = np.bincount(label)
    own = (count[label] + 1) / (count[label] + 2)
    weight, both = np.concatenate([own, 1 - own]), np.concatenate([label, 1 - label])

    def loss(corrected):
        return log_loss(both, np.tile(corrected[:, 0], 2), sample_weight=weight)

    found = fit("temperature", score, label)
    least = min(loss(expit(logit(score) / t)) for t in np.geomspace(0.2, 20, 800))
    assert least - 1e-5 <= loss(found.apply(score)) <= least + 1e-9


def test_patients_told_apart_without_a_mistake_do_not_make_certain():
    """Of ten of ten right one may say (10 + 1) / (10 + 2), whatever the score was."""
    score, label = np.array([[0.7]] * 10 + [[0.3]] * 10), np.repeat([1, 0], 10)
    corrected = fit("temperature", score, label).apply(score)
    np.testing.assert_allclose(corrected[:, 0], np.repeat([11 / 12, 1 / 12], 10), atol=1e-4)
    of_two = np.hstack([1 - score, score])
    both = fit("temperature", of_two, label).apply(of_two)
    np.testing.assert_allclose(both[:, 1], corrected[:, 0], atol=1e-4)
    near = np.array([[0.51]] * 10 + [[0.49]] * 10)
    assert fit("temperature", near, label).temperature == pytest.approx(0.2, rel=1e-3)


@pytest.mark.parametrize(("kind", "fewest"), [("temperature", 10), ("isotonic", 50)])
def test_few_patients_correct_nothing_however_many_images_they_have(kind, fewest):
    n = 4 * fewest
    score, label = binary(n, 5)
    label = np.where(np.arange(n) < fewest, 1, 0)  # `fewest` positive images
    owner = [f"k{row}" for row in range(n)]
    assert calibrators.fit(kind, score, label, owner).kind == kind
    owner[1] = owner[0]  # of one patient fewer
    assert calibrators.fit(kind, score, label, owner) == calibrators.UNCHANGED


def test_a_class_that_nobody_has_is_too_few():
    score = softmax(np.random.default_rng(0).normal(size=(60, 3)), axis=1)
    assert fit("temperature", score, np.arange(60) % 2) == calibrators.UNCHANGED
    assert fit("temperature", score, np.arange(60) % 3).kind == "temperature"


def test_several_classes_share_one_temperature():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3))
    label = (softmax(logits, axis=1).cumsum(axis=1) < rng.uniform(size=(20_000, 1))).sum(axis=1)
    score = softmax(logits * 2.5, axis=1)
    found = fit("temperature", score, label)
    assert found.temperature == pytest.approx(2.5, rel=0.06)
    assert found.apply(score).sum(axis=1) == pytest.approx(1.0)


def test_a_temperature_keeps_the_order():
    score, label = binary(200, 2, over=0.3)
    corrected = fit("temperature", score, label).apply(score)
    assert roc_auc_score(label, corrected[:, 0]) == roc_auc_score(label, score[:, 0])


def test_isotonic_regression_is_that_of_scikit_learn():
    score, label = binary(500, 3, over=2.0)
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score[:, 0], label)
    new = np.linspace(0, 1, 101)[:, None]
    found = fit("isotonic", score, label)
    assert found.apply(new)[:, 0] == pytest.approx(model.predict(new[:, 0]))


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_one_class_says_nothing_and_changes_nothing(kind):
    score = np.array([[0.2], [0.7]] * 100)
    found = fit(kind, score, np.array([1] * 200))
    assert found == calibrators.UNCHANGED
    assert found.apply(score) is score


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_a_calibrator_can_be_kept_as_a_record(kind):
    found = fit(kind, *binary(400, 4))
    assert found.kind == kind
    assert calibrators.from_record(asdict(found)) == found


def test_probabilities_of_nothing_and_of_all_stay_finite():
    score = np.array([[0.0], [1.0], [0.0], [1.0]] * 10)
    found = fit("temperature", score, np.array([0, 1, 1, 0] * 10))
    assert found.kind == "temperature"
    assert np.isfinite(found.apply(score)).all()
