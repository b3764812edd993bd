import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, rankdata
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from medssl.evaluation import intervals, metrics
from medssl.foundation import seeding


@given(
    stratum=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_stratum_keeps_its_size(stratum, seed):
    stratum = np.array(stratum)
    counts = intervals.draw(stratum, 20, np.random.default_rng(seed))
    assert counts.shape == (20, len(stratum))
    assert counts.min() >= 0
    for name in np.unique(stratum):
        assert (counts[:, stratum == name].sum(axis=1) == (stratum == name).sum()).all()


def test_every_patient_is_drawn_equally_often():
    counts = intervals.draw(np.zeros(50, dtype=int), 4000, np.random.default_rng(0))
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.08)
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.03)  # of a draw with replacement


def test_over_all_patients_the_classes_vary_and_within_class_they_do_not():
    stratum = np.array([0] * 30 + [1] * 10)
    draws = intervals.draw_both(stratum, 2000, np.random.default_rng(0))
    for counts in (draws.within_class, draws.over_all):
        assert (counts.sum(axis=1) == 40).all()
    within, over = (
        counts[:, stratum == 1].sum(axis=1) for counts in (draws.within_class, draws.over_all)
    )
    assert (within == 10).all()
    assert over.mean() == pytest.approx(10, abs=0.2)
    assert over.var() == pytest.approx(40 * 0.25 * 0.75, rel=0.1)


@pytest.mark.parametrize(("counted", "of"), [(0, 1), (0, 12), (12, 12), (7, 12), (900, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_equals_statsmodels(counted, of, level):
    expected = proportion_confint(counted, of, alpha=1 - level, method="wilson")
    assert intervals.wilson(counted / of, of, level) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("chunk", [intervals.CHUNK, 700])
def test_weights_equal_a_plain_loop_over_the_same_draws(monkeypatch, chunk):
    """Images of a drawn patient come along; copies are made and scikit-learn judges them."""
    monkeypatch.setattr(intervals, "CHUNK", chunk)
    rng = np.random.default_rng(3)
    patient = np.sort(rng.integers(0, 40, 150))
    patient = np.unique(patient, return_inverse=True)[1]
    truth = (patient % 3 == 0).astype(int)
    score = np.round(rng.random(150) * 0.6 + 0.3 * truth, 1)
    counts = intervals.draw(truth[np.unique(patient, return_index=True)[1]], 60, rng)
    for metric, reference in (
        (metrics.auroc, roc_auc_score),
        (metrics.average_precision, average_precision_score),
        (metrics.brier, brier_score_loss),
    ):
        fast = intervals.resampled(
            lambda weight, metric=metric: metric(truth, score, weight), patient, counts
        )
        slow = []
        for row in counts:
            images = [i for i in range(150) for _ in range(row[patient[i]])]
            slow.append(reference(truth[images], score[images]))
        np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-12)


def test_percentiles_leave_undefined_resamples_out_and_count_them():
    values = np.r_[np.arange(101.0), np.nan, np.nan]
    interval = intervals.percentile(values, 0.9)
    assert (interval.low, interval.high) == pytest.approx((5, 95))
    assert interval.undefined == 2


def test_no_defined_resample_gives_no_interval():
    interval = intervals.percentile(np.full(10, np.nan), 0.95)
    assert np.isnan([interval.low, interval.high]).all()
    assert interval.undefined == 10


def test_a_wider_level_gives_a_wider_interval():
    values = np.random.default_rng(0).normal(size=1000)
    narrow, wide = (intervals.percentile(values, level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_band_is_an_interval_at_each_point():
    values = np.random.default_rng(0).normal(size=(200, 3))
    values[5, 1] = np.nan
    low, high = intervals.band(values, 0.95)
    for k in range(3):
        interval = intervals.percentile(values[:, k], 0.95)
        assert (low[k], high[k]) == (interval.low, interval.high)


def _auroc_rows(truth, scores):
    """AUROC of each row from ranks, independent of the code under test."""
    ranks = rankdata(scores, axis=1)
    positives = truth.sum(axis=1)
    total = (ranks * truth).sum(axis=1)
    return (total - positives * (positives + 1) / 2) / (positives * (truth.shape[1] - positives))


@pytest.mark.slow
def test_patients_cover_and_images_do_not():
    """40 patients with 10 images each, intraclass correlation 0.8, 95 % intervals."""
    n_simulations, n_resamples, icc, shift = 500, 400, 0.8, 1.0
    true = norm.cdf(shift / np.sqrt(2))
    patient = np.repeat(np.arange(40), 10)
    stratum = (np.arange(40) % 2).astype(int)
    truth = stratum[patient]
    by_patient = by_image = 0
    for simulation in range(n_simulations):
        rng = seeding.rng(0, "coverage", simulation)
        score = shift * truth + np.sqrt(icc) * rng.normal(size=40)[patient]
        score += np.sqrt(1 - icc) * rng.normal(size=400)
        counts = intervals.draw(stratum, n_resamples, rng)
        values = intervals.resampled(
            lambda weight, score=score: metrics.auroc(truth, score, weight), patient, counts
        )
        interval = intervals.percentile(values, 0.95)
        by_patient += interval.low <= true <= interval.high

        rows = rng.integers(0, 400, size=(n_resamples, 400))  # images, as if independent
        low, high = np.quantile(_auroc_rows(truth[rows], score[rows]), [0.025, 0.975])
        by_image += low <= true <= high
    assert 0.88 <= by_patient / n_simulations <= 0.96  # 0.914, the documented 91 %
    assert by_image / n_simulations < 0.60  # 0.472, the documented 47 %
