"""Raw and recalibrated probabilities: what a distortion becomes, and when nothing is shown."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit, log_softmax, logit
from sklearn.metrics import brier_score_loss

from medssl.artifacts import fold_models
from medssl.artifacts.fold_models import FoldModel
from medssl.evaluation import intervals, recalibrated, units
from medssl.evaluation.calibrators import UNCHANGED, Calibrator


def judged_of(table):
    return units.build(table, target="finding", aggregate="mean", where="table")


@pytest.fixture
def sharpened(table_of):
    """Two folds of well calibrated scores whose logits were multiplied by 2 and by 3."""
    rng = np.random.default_rng(0)
    n = 1600
    true = rng.normal(size=n)
    label = rng.random(n) < expit(true)
    fold = np.arange(n) % 2
    table = table_of(
        [f"k{i:04d}" for i in range(n)], label, expit(true * (2 + fold)), fold=fold.tolist()
    )
    fitted = {(0, k): Calibrator(kind="temperature", temperature=2.0 + k) for k in (0, 1)}
    return table, fitted, label, expit(true)


def test_each_fold_is_corrected_by_its_own_calibrator(sharpened):
    table, fitted, label, wanted = sharpened
    raw, moved = judged_of(table), judged_of(recalibrated.apply(table, fitted))
    assert moved.score[:, 0] == pytest.approx(wanted, abs=1e-9)
    draws = intervals.draw_both(raw.stratum, 100, np.random.default_rng(0))
    found = recalibrated.find(raw, moved, fitted, draws, 0.95)
    rows = {row.metric: row for row in found.rows}
    assert rows["brier"].raw == pytest.approx(brier_score_loss(label, raw.score[:, 0]))
    assert rows["brier"].value == pytest.approx(brier_score_loss(label, wanted))
    assert rows["brier"].difference_high < 0
    slope = rows["calibration_slope"]
    assert slope.raw_high < 0.7  # too extreme
    assert slope.low < 1 < slope.high
    assert (found.kinds, found.n_models, found.n_unchanged) == (("temperature",), 2, 0)
    off = [np.nanmean(abs(one.observed - one.predicted)) for one in found.curves]
    assert off[1] < off[0] / 2


def test_an_unchanged_model_leaves_its_fold(sharpened):
    table, fitted, _, _ = sharpened
    before = table["score"].to_numpy()
    after = recalibrated.apply(table, fitted | {(0, 1): UNCHANGED})["score"].to_numpy()
    fold = table["fold"].to_numpy()
    assert (after[fold == 1] == before[fold == 1]).all()
    assert logit(after[fold == 0]) == pytest.approx(logit(before[fold == 0]) / 2)


def test_inner_rows_are_left_out(sharpened):
    table, fitted, _, _ = sharpened
    rows = table.to_pylist()
    both = type(table).from_pylist(
        [*rows, *(row | {"part": "inner"} for row in rows)], schema=table.schema
    )
    assert recalibrated.apply(both, fitted).num_rows == len(rows)


def test_it_says_why_nothing_is_recalibrated(sharpened, one_each):
    table, fitted, _, _ = sharpened
    judged = judged_of(table)
    assert recalibrated.why_not(judged, fitted) is None
    assert recalibrated.why_not(judged, fitted | {(0, 1): UNCHANGED}) is None
    assert "brings no calibrators" in recalibrated.why_not(judged, None)
    assert "not every model" in recalibrated.why_not(judged, fitted | {(0, 1): None})
    unchanged = dict.fromkeys(fitted, UNCHANGED)
    assert "left as it is" in recalibrated.why_not(judged, unchanged)
    assert "fewer than 10 patients" in recalibrated.why_not(one_each(20, seed=0), fitted)


def test_calibrators_are_read_from_the_folds_of_a_run(sharpened, tmp_path):
    table, _, _, _ = sharpened
    record = {"kind": "temperature", "temperature": 1.5, "low": [], "high": []}
    folder = tmp_path / "folds" / "0"
    folder.mkdir(parents=True)
    known = FoldModel(repeat=0, fold=0, epochs=1, prior=(), drawn=(), calibrator=record)
    fold_models.write(folder, known)
    assert recalibrated.fitted(table, tmp_path) == {
        (0, 0): Calibrator(kind="temperature", temperature=1.5),
        (0, 1): None,
    }
    assert recalibrated.fitted(table, None) is None


def test_classes_are_recalibrated_together_and_judged_one_by_one(table_of):
    """Three classes whose logits were doubled come back, whatever the order of the rows."""
    rng = np.random.default_rng(0)
    n, names = 900, ("a", "b", "c")
    logits = rng.normal(size=(n, 3))
    wanted = np.exp(log_softmax(logits, axis=1))
    label = np.array([rng.choice(3, p=row) for row in wanted])
    sharp = np.exp(log_softmax(2 * logits, axis=1))
    parts = [
        table_of([f"k{i:04d}" for i in range(n)], label == k, sharp[:, k], fold=[0] * n)
        for k in range(3)
    ]
    parts = [
        part.set_column(part.schema.get_field_index("target"), "target", [[f"finding={name}"] * n])
        for part, name in zip(parts, names, strict=True)
    ]
    table = pa.concat_tables(parts)
    mixed = table.take(pa.array(rng.permutation(table.num_rows)))
    fitted = {(0, 0): Calibrator(kind="temperature", temperature=2.0)}
    raw, moved = judged_of(mixed), judged_of(recalibrated.apply(mixed, fitted))
    assert raw.columns == names
    assert recalibrated.why_not(raw, fitted) is None
    assert moved.score == pytest.approx(wanted, abs=1e-6)
    draws = intervals.draw_both(raw.stratum, 100, np.random.default_rng(0))
    found = recalibrated.find(raw, moved, fitted, draws, 0.95)
    assert [row.column for row in found.rows] == [n for n in names for _ in recalibrated.METRICS]
    assert [curve.column for curve in found.curves] == ["a", "a", "b", "b", "c", "c"]
    briers = {row.column: row.value for row in found.rows if row.metric == "brier"}
    for k, name in enumerate(names):
        assert briers[name] == pytest.approx(brier_score_loss(label == k, wanted[:, k]), abs=1e-6)
    assert all(row.difference_high < 0 for row in found.rows if row.metric == "brier")
    assert found.left_out == ()
