"""The spread over trainings: of other seeds on the same folds, never of other folds."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medssl.evaluation import metrics, trainings

AUROC = next(metric for metric in metrics.TABLE if metric.name == "auroc")


def predicted(units_of, folds, scores):
    """Units of 12 patients predicted once per row of folds and scores."""
    repeats, count = scores.shape
    return units_of(
        [f"k{n:02d}" for n in range(count)] * repeats,
        [n % 2 for n in range(count)] * repeats,
        scores.ravel(),
        image_id=[f"i{n:02d}" for n in range(count)] * repeats,
        repeat=[r for r in range(repeats) for _ in range(count)],
        fold=[int(k) for row in folds for k in row],
    )


SPLITS = np.arange(12) // 2 % 3, np.arange(12) // 4


def test_each_training_takes_its_turn_of_every_split(units_of):
    """Two repeats of two seeds: repeats 0 and 1 share folds, 2 and 3 share others."""
    scores = np.random.default_rng(0).random((4, 12))
    units = predicted(units_of, [SPLITS[0], SPLITS[0], SPLITS[1], SPLITS[1]], scores)
    found = trainings.find(units, AUROC, (0,), "finding")
    truth = units.truth[:, 0]
    expected = [
        roc_auc_score(truth, (scores[0] + scores[2]) / 2),
        roc_auc_score(truth, (scores[1] + scores[3]) / 2),
    ]
    assert found.values == pytest.approx(expected)
    assert found.sd == pytest.approx(np.std(expected, ddof=1))


def test_repeats_on_other_folds_are_no_other_trainings(units_of):
    units = predicted(units_of, SPLITS, np.random.default_rng(1).random((2, 12)))
    found = trainings.find(units, AUROC, (0,), "finding")
    assert len(found.values) == 1
    assert found.values[0] == pytest.approx(roc_auc_score(units.truth[:, 0], units.score[:, 0]))
    assert found.sd is None
