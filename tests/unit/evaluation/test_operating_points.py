"""Who is called what at a threshold, and intervals where resampling has nothing to vary."""

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from statsmodels.stats.proportion import proportion_confint

from medssl.evaluation import assessment, intervals, operating_points


def judge(units, threshold=0.5, prevalences=(), resamples=400):
    draws = intervals.draw_both(units.stratum, resamples, np.random.default_rng(0))
    measured = assessment.measure(units, draws, threshold)
    estimates = assessment.estimates(measured, 0.95)
    points = operating_points.find(measured, estimates, prevalences, 0.95)
    return {row.metric: row for row in estimates}, points


@pytest.fixture
def ideal(units_of):
    """12 positives above and 28 negatives below the threshold, all of them."""
    keys = [f"k{n:02d}" for n in range(40)]
    score = np.r_[np.linspace(0.6, 0.9, 12), np.linspace(0.1, 0.4, 28)]
    return units_of(keys, np.arange(40) < 12, score)


def test_the_counts_are_those_of_scikit_learn(one_each):
    units = one_each(150, seed=2)
    _, (point,) = judge(units, 0.6)
    matrix = confusion_matrix(units.truth[:, 0], units.score[:, 0] >= 0.6)
    assert matrix.tolist() == [
        [point.true_negatives, point.false_positives],
        [point.false_negatives, point.true_positives],
    ]
    assert (point.column, point.threshold, point.predictive) == ("finding", 0.6, ())


def test_all_of_a_class_get_the_interval_of_wilson(ideal):
    rows, _ = judge(ideal)
    for name, count in (("sensitivity", 12), ("specificity", 28), ("ppv", 12), ("npv", 28)):
        expected = proportion_confint(count, count, method="wilson")
        assert (rows[name].value, rows[name].interval) == (1.0, "wilson")
        assert (rows[name].low, rows[name].high) == pytest.approx(expected)


def test_balanced_accuracy_adds_both_intervals_in_quadrature(ideal):
    rows, _ = judge(ideal)
    below = [1 - rows[name].low for name in ("sensitivity", "specificity")]
    assert rows["balanced_accuracy"].interval == "wilson"
    assert rows["balanced_accuracy"].low == pytest.approx(1 - math.hypot(*below) / 2)
    assert rows["balanced_accuracy"].high == 1


def test_one_part_without_a_width_widens_the_balanced_accuracy(one_each):
    """All negatives are called rightly; a bootstrap would vary the positives alone."""
    units = one_each(150, seed=2)
    threshold = units.score[units.truth == 0].max() + 1e-6
    rows, _ = judge(units, threshold)
    assert (rows["specificity"].interval, rows["sensitivity"].interval) == ("wilson", "percentile")
    assert rows["balanced_accuracy"].interval == "wilson"
    assert rows["balanced_accuracy"].low < rows["balanced_accuracy"].value
    assert rows["balanced_accuracy"].high > rows["balanced_accuracy"].value


def test_of_images_wilson_counts_patients(units_of):
    """Twelve positive patients with five images each are twelve, not sixty."""
    keys = [f"k{n:02d}" for n in range(12)] * 5 + ["k00"] + [f"n{n:02d}" for n in range(28)]
    labels = [1] * 60 + [0] * 29
    units = units_of(keys, labels, [0.8] * 60 + [0.2] * 29)
    assert units.kind == "image"
    rows, _ = judge(units)
    expected = proportion_confint(12, 12, method="wilson")
    assert (rows["sensitivity"].low, rows["sensitivity"].high) == pytest.approx(expected)
    assert rows["specificity"].low == pytest.approx(proportion_confint(29, 29, method="wilson")[0])


def test_a_call_nobody_gets_has_no_predictive_value(one_each):
    rows, (point,) = judge(one_each(150, seed=2), 1.0)
    assert math.isnan(rows["ppv"].value)
    assert rows["sensitivity"].value == 0
    assert rows["sensitivity"].high > 0.05
    assert (point.true_positives, point.false_positives) == (0, 0)


def test_where_nobody_is_called_there_is_no_interval_either(ideal):
    _, (point,) = judge(ideal, 0.99, prevalences=(0.1,))
    ppv, npv = point.predictive
    assert math.isnan(ppv.value)
    assert math.isnan(ppv.low)
    assert math.isnan(ppv.high)
    assert npv.value == pytest.approx(0.9)  # the share of negatives that was asked for
    assert npv.low <= npv.value <= npv.high


def test_predictive_values_at_the_prevalence_of_the_cohort_are_those_of_the_cohort(one_each):
    units = one_each(150, seed=2)
    rows, (point,) = judge(units, 0.6, prevalences=(1 / 3,))
    ppv, npv = point.predictive
    assert (ppv.metric, npv.metric) == ("ppv", "npv")
    assert ppv.value == pytest.approx(rows["ppv"].value)
    assert npv.value == pytest.approx(rows["npv"].value)
    assert ppv.low < ppv.value < ppv.high
    assert ppv.interval == "percentile"


def test_bayes_by_counting():
    """1,000 people, 50 of them ill: 40 found, 95 false alarms."""
    assert operating_points.ppv(np.float64(0.8), np.float64(0.9), 0.05) == pytest.approx(40 / 135)
    assert operating_points.npv(np.float64(0.8), np.float64(0.9), 0.05) == pytest.approx(855 / 865)
    assert np.isnan(operating_points.ppv(np.float64(0.0), np.float64(1.0), 0.05))


def test_a_perfect_test_keeps_its_doubt_at_another_prevalence(ideal):
    """No resample varies it, so the ends of sensitivity and specificity are joined."""
    rows, (point,) = judge(ideal, prevalences=(0.05,))
    ppv, npv = point.predictive
    assert (ppv.value, npv.value) == (1, 1)
    assert ppv.interval == npv.interval == "wilson"
    sensitivity, specificity = rows["sensitivity"].low, rows["specificity"].low
    hits, alarms = 0.05 * sensitivity, 0.95 * (1 - specificity)
    assert ppv.low == pytest.approx(hits / (hits + alarms))
    assert ppv.low < 0.5 < npv.low


def test_few_patients_or_no_threshold_have_no_operating_point(one_each, units_of):
    few = units_of(list("abcd"), [1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1])
    assert judge(few)[1] == ()
    assert judge(one_each(150, seed=2), None)[1] == ()


def test_the_number_needed_to_evaluate_is_one_over_the_predictive_value(one_each):
    rows, (point,) = judge(one_each(150, seed=2), prevalences=(0.05, 0.2))
    assert [one.prevalence for one in point.needed] == [None, 0.05, 0.2]
    shares = [rows["ppv"], *(row for row in point.predictive if row.metric == "ppv")]
    for needed, share in zip(point.needed, shares, strict=True):
        assert needed.value == pytest.approx(1 / share.value)
        assert (needed.low, needed.high) == pytest.approx((1 / share.high, 1 / share.low))
    called = point.true_positives + point.false_positives
    assert point.needed[0].value == pytest.approx(called / point.true_positives)


def test_it_has_no_end_where_no_call_is_right_and_is_left_out_where_nobody_is_called(units_of):
    keys, label = [f"k{n:02d}" for n in range(40)], np.arange(40) < 12
    wrong = units_of(keys, label, np.where(label, 0.1, 0.9))
    _, (point,) = judge(wrong)
    assert point.needed[0].value == point.needed[0].high == math.inf
    nobody = units_of(keys, label, np.linspace(0.1, 0.4, 40))
    _, (point,) = judge(nobody)
    assert point.needed == ()
