import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_curve
from statsmodels.nonparametric.smoothers_lowess import lowess

from medssl.evaluation import curves, intervals, metrics


def _draws(units, resamples=200, seed=0):
    return intervals.draw(units.stratum, resamples, np.random.default_rng(seed))


@given(n=st.integers(2, 40), seed=st.integers(0, 2**32 - 1))
def test_roc_points_equal_scikit_learn(n, seed):
    rng = np.random.default_rng(seed)
    truth, score = rng.integers(0, 2, n), rng.integers(0, 6, n) / 6
    truth[:2] = 0, 1
    weight = rng.integers(1, 4, n).astype(float)
    fpr, tpr = curves.roc_points(truth, score, weight)
    expected = roc_curve(truth, score, sample_weight=weight, drop_intermediate=False)
    np.testing.assert_allclose(fpr, expected[0], atol=1e-12)
    np.testing.assert_allclose(tpr, expected[1], atol=1e-12)
    assert auc(fpr, tpr) == pytest.approx(metrics.auroc(truth, score, weight), abs=1e-12)


def test_roc_of_a_resample_without_a_class_is_undefined():
    truth, score = np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9])
    weight = np.array([[0.0, 1, 1], [1, 1, 1]])
    fpr, tpr = curves.roc_points(truth, score, weight)
    assert np.isnan(fpr[0]).all()
    assert np.isfinite(tpr).all()
    assert np.isfinite(fpr[1]).all()


def test_the_roc_band_holds_the_curve(one_each):
    units = one_each(240, seed=1)
    curve = curves.roc(units, 0, _draws(units), 0.95)
    at_grid = np.interp(curve.grid, curve.false_positive_rate, curve.sensitivity)
    inside = (curve.low <= at_grid + 1e-9) & (at_grid <= curve.high + 1e-9)
    assert inside.mean() > 0.95
    assert (np.diff(curve.low) >= -1e-12).all()
    assert curve.sensitivity[0] == curve.false_positive_rate[0] == 0
    assert curve.sensitivity[-1] == curve.false_positive_rate[-1] == 1


def test_the_roc_band_is_the_loop_over_resamples(one_each):
    units = one_each(60, seed=2)
    counts = _draws(units, 50)
    curve = curves.roc(units, 0, counts, 0.9)
    rows = []
    for row in counts:
        drawn = np.repeat(np.arange(60), row)
        fpr, tpr, _ = roc_curve(
            units.truth[drawn, 0], units.score[drawn, 0], drop_intermediate=False
        )
        rows.append(np.interp(curve.grid, fpr, tpr))
    low, high = np.quantile(rows, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(curve.low, low, atol=1e-9)
    np.testing.assert_allclose(curve.high, high, atol=1e-9)


def test_a_long_roc_curve_is_thinned_to_its_ends(one_each):
    units = one_each(2400, seed=3)
    curve = curves.roc(units, 0, _draws(units, 20), 0.95)
    assert len(curve.sensitivity) <= curves.MOST_POINTS
    assert (curve.false_positive_rate[-1], curve.sensitivity[-1]) == (1, 1)


@pytest.mark.parametrize("span", [0.4, 0.75])
def test_the_smoother_equals_lowess(span):
    rng = np.random.default_rng(0)
    x = rng.beta(2, 3, 300)
    y = (rng.random(300) < x**2).astype(float)
    grid = np.linspace(x.min(), x.max(), 41)
    found = curves.smoother(x, y, grid, span=span)(np.ones((1, 300)))[0]
    expected = lowess(y, x, frac=span, it=0, xvals=grid)
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-5)


def test_smoothing_a_line_gives_the_line():
    x = np.sort(np.random.default_rng(1).random(80))
    grid = np.linspace(x[0], x[-1], 30)
    smooth = curves.smoother(x, 0.2 + 0.5 * x, grid, span=0.5)
    weight = np.random.default_rng(2).integers(0, 3, (4, 80)).astype(float)
    for row in smooth(weight):
        np.testing.assert_allclose(row, 0.2 + 0.5 * grid, atol=1e-7)


def test_smoothing_with_weights_is_smoothing_copies():
    """In the full sample's neighbourhoods a weight of two is two units."""
    rng = np.random.default_rng(3)
    x, y = rng.random(60), rng.integers(0, 2, 60).astype(float)
    grid = np.linspace(0.2, 0.8, 9)
    weight = rng.integers(1, 4, 60)
    found = curves.smoother(x, y, grid, span=1.0)(weight[None].astype(float))[0]
    copies = np.repeat(np.arange(60), weight)
    expected = curves.smoother(x[copies], y[copies], grid, span=1.0)(np.ones((1, len(copies))))[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_few_distinct_scores_do_not_break_the_smoother():
    x = np.array([0.2] * 30 + [0.9] * 2)
    y = np.array([0.0, 1.0] * 15 + [1.0, 1.0])
    found = curves.smoother(x, y, np.array([0.2, 0.9]), span=0.75)(np.ones((1, 32)))[0]
    np.testing.assert_allclose(found, [0.5, 1.0], atol=1e-6)


def test_a_calibrated_score_lies_in_its_band(units_of):
    rng = np.random.default_rng(5)
    score = rng.beta(2, 2, 800)
    units = units_of([f"k{n:03d}" for n in range(800)], rng.random(800) < score, score)
    curve = curves.calibration(units, 0, _draws(units, 300), 0.95)
    central = (curve.predicted > 0.15) & (curve.predicted < 0.85)
    ideal = curve.predicted[central]
    assert ((curve.low[central] <= ideal) & (ideal <= curve.high[central])).all()


def test_an_overconfident_score_leaves_its_band(units_of):
    rng = np.random.default_rng(6)
    risk = rng.beta(4, 4, 800)
    score = 1 / (1 + np.exp(-4 * np.log(risk / (1 - risk))))
    units = units_of([f"k{n:03d}" for n in range(800)], rng.random(800) < risk, score)
    curve = curves.calibration(units, 0, _draws(units, 300), 0.95)
    assert curve.low[curve.predicted < 0.1].min() > 0.1
    assert curve.high[curve.predicted > 0.95].max() < 0.95


def test_equal_scores_have_no_calibration_curve(units_of):
    units = units_of(["a", "b", "c"], [1, 0, 0], [0.4, 0.4, 0.4])
    assert curves.calibration(units, 0, _draws(units), 0.95) is None


@pytest.mark.parametrize(("scale", "ends"), [(1.0, (0, 1)), (50.0, (0.5, 45.0))])
def test_the_distribution_counts_every_unit_once(units_of, scale, ends):
    """Probabilities from 0 to 1, other scores over what there is."""
    score = scale * np.linspace(0.01, 0.9, 60)
    label = np.arange(60) % 3 == 0
    found = curves.risks(units_of([f"k{n:02d}" for n in range(60)], label, score), 0)
    assert (found.bin_edges[0], found.bin_edges[-1]) == pytest.approx(ends)
    assert len(found.positives) == len(found.bin_edges) - 1 == curves.BINS
    assert (found.positives.sum(), found.negatives.sum()) == (20, 40)
    first = (score >= found.bin_edges[3]) & (score < found.bin_edges[4])
    assert found.negatives[3] == (first & ~label).sum()
