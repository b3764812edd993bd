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


def test_a_temperature_undoes_logits_that_are_too_large():
    score, label = binary(20_000, 0, over=3.0)
    found = calibrators.fit("temperature", score, label)
    assert found.temperature == pytest.approx(3.0, rel=0.06)
    assert found.apply(score)[:, 0] == pytest.approx(expit(logit(score[:, 0]) / found.temperature))


def test_a_temperature_minimises_the_log_loss():
    score, label = binary(300, 1, over=2.0)
    found = calibrators.fit("temperature", score, label)
    grid = [log_loss(label, expit(logit(score[:, 0]) / t)) for t in np.geomspace(0.1, 10, 400)]
    assert log_loss(label, found.apply(score)[:, 0]) <= min(grid) + 1e-9


def test_several_classes_share_one_temperature():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3))
    label = (softmax(logits, axis=1).cumsum(axis=1) < rng.uniform(size=(20_000, 1))).sum(axis=1)
    score = softmax(logits * 2.5, axis=1)
    found = calibrators.fit("temperature", score, label)
    assert found.temperature == pytest.approx(2.5, rel=0.06)
    assert found.apply(score).sum(axis=1) == pytest.approx(1.0)


def test_a_temperature_keeps_the_order():
    score, label = binary(200, 2, over=0.3)
    corrected = calibrators.fit("temperature", score, label).apply(score)
    assert roc_auc_score(label, corrected[:, 0]) == roc_auc_score(label, score[:, 0])


def test_isotonic_regression_is_that_of_scikit_learn():
    score, label = binary(500, 3, over=2.0)
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score[:, 0], label)
    new = np.linspace(0, 1, 101)[:, None]
    found = calibrators.fit("isotonic", score, label)
    assert found.apply(new)[:, 0] == pytest.approx(model.predict(new[:, 0]))


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_one_class_says_nothing_and_changes_nothing(kind):
    score = np.array([[0.2], [0.7]])
    found = calibrators.fit(kind, score, np.array([1, 1]))
    assert found == calibrators.UNCHANGED
    assert found.apply(score) is score


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_a_calibrator_can_be_kept_as_a_record(kind):
    found = calibrators.fit(kind, *binary(50, 4))
    assert calibrators.from_record(asdict(found)) == found


def test_probabilities_of_nothing_and_of_all_stay_finite():
    score = np.array([[0.0], [1.0], [0.0], [1.0]])
    found = calibrators.fit("temperature", score, np.array([0, 1, 1, 0]))
    assert np.isfinite(found.apply(score)).all()
