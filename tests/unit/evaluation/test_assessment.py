import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from medssl.config.task import Task
from medssl.evaluation import amounts, assessment, intervals, metrics, units


def _estimates(units, resamples=400, seed=0, level=0.95, threshold=None):
    draws = intervals.draw_both(units.stratum, resamples, np.random.default_rng(seed))
    return assessment.estimates(assessment.measure(units, draws, threshold), level)


def _width(units):
    row = _estimates(units)[0]
    return row.high - row.low


def test_every_metric_is_there_with_its_interval(one_each):
    rows = _estimates(one_each(150, seed=0), threshold=0.6)
    assert [row.metric for row in rows] == [metric.name for metric in metrics.TABLE]
    for row, metric in zip(rows, metrics.TABLE, strict=True):
        assert row.low < row.value < row.high
        assert (row.n_patients, row.n_units, row.n_events, row.undefined) == (150, 150, 50, 0)
        assert (row.interval, row.ideal) == ("percentile", metric.ideal)
        assert row.threshold == (0.6 if metric.thresholded else None)
    assert rows[1].no_skill == pytest.approx(1 / 3)


def test_without_a_threshold_nobody_is_called_positive(one_each):
    rows = _estimates(one_each(150, seed=0))
    expected = [metric.name for metric in metrics.TABLE if not metric.thresholded]
    assert [row.metric for row in rows] == expected


def test_metrics_at_a_threshold_equal_scikit_learn(one_each):
    units = one_each(150, seed=0)
    called = units.score[:, 0] >= 0.6
    values = {row.metric: row.value for row in _estimates(units, threshold=0.6)}
    truth = units.truth[:, 0]
    assert values["sensitivity"] == pytest.approx(recall_score(truth, called))
    assert values["specificity"] == pytest.approx(recall_score(truth, called, pos_label=0))
    assert values["ppv"] == pytest.approx(precision_score(truth, called))
    assert values["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, called))


@pytest.mark.parametrize(("positives", "expected"), [(9, False), (10, True), (31, False)])
def test_ten_patients_of_each_class_are_needed(units_of, positives, expected):
    """Of 40 patients; nine leave neither an operating point nor a calibration."""
    rng = np.random.default_rng(0)
    keys = [f"k{n:02d}" for n in range(40)]
    units = units_of(keys, np.arange(40) < positives, rng.random(40))
    names = {row.metric for row in _estimates(units, threshold=0.5)}
    guarded = {metric.name for metric in metrics.TABLE if metric.needs_patients}
    assert len(guarded) == 8
    assert names == {metric.name for metric in metrics.TABLE} - (set() if expected else guarded)


def test_a_patient_with_many_images_is_one_patient(units_of):
    """Nine patients with a positive image, however many images these are."""
    keys = [f"k{n:02d}" for n in range(9)] * 5 + ["k00"] + [f"n{n:02d}" for n in range(30)]
    labels = [1] * 45 + [0] * 31
    units = units_of(keys, labels, np.random.default_rng(0).random(76))
    assert units.kind == "image"
    assert "sensitivity" not in {row.metric for row in _estimates(units, threshold=0.5)}


def test_what_depends_on_the_share_of_positives_varies_with_it(one_each):
    """Drawn within class the share is the same in every resample, over all patients it is not."""
    units = one_each(150, seed=0)
    draws = intervals.draw_both(units.stratum, 400, np.random.default_rng(0))
    fixed = intervals.Draws(within_class=draws.within_class, over_all=draws.within_class)
    free, held = (
        {
            row.metric: row.high - row.low
            for row in assessment.estimates(assessment.measure(units, d, 0.5), 0.95)
        }
        for d in (draws, fixed)
    )
    assert free["calibration_intercept"] > 1.3 * held["calibration_intercept"]
    assert free["ppv"] > 1.1 * held["ppv"]
    for name in ("auroc", "sensitivity", "specificity", "balanced_accuracy"):
        assert free[name] == held[name]


def test_the_interval_shrinks_with_patients_and_not_with_repeats(one_each):
    once = _width(one_each(120, seed=4))
    often = _width(one_each(120, seed=4, repeats=16))
    many = _width(one_each(120 * 16, seed=4))
    assert often > 0.8 * once  # by 1 / sqrt(16) it would be a quarter
    assert many < 0.35 * once


def test_identical_repeats_change_nothing(units_of):
    rng = np.random.default_rng(1)
    label, score = np.arange(60) % 2, rng.random(60)
    keys, images = [f"k{n:02d}" for n in range(60)], [f"i{n:02d}" for n in range(60)]
    once = units_of(keys, label, score, image_id=images)
    often = units_of(
        keys * 8,
        np.tile(label, 8),
        np.tile(score, 8),
        image_id=images * 8,
        repeat=[r for r in range(8) for _ in keys],
    )
    for a, b in zip(_estimates(once), _estimates(often), strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-12)


def test_copied_images_change_nothing(units_of):
    """Ten copies of every image hold no more than one, as patients are drawn."""
    rng = np.random.default_rng(2)
    label, score = np.r_[np.arange(40) % 2, 1], np.r_[rng.random(40), 0.7]
    keys = [f"k{n:02d}" for n in range(40)] + ["k00"]  # k00 disagrees: images are the unit
    once = units_of(keys, label, score)
    often = units_of(keys * 10, np.tile(label, 10), np.tile(score, 10))
    assert once.kind == often.kind == "image"
    for a, b in zip(_estimates(once), _estimates(often), strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-12)


def test_scores_beyond_probabilities_are_ranked_only(units_of):
    units = units_of(["a", "b", "c"], [1, 0, 1], [3.0, -1.0, 0.5])
    assert [row.metric for row in _estimates(units)] == ["auroc", "average_precision"]


def _three_classes(units_of, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, 90)
    logit = rng.normal(size=(90, 3))
    logit[np.arange(90), label] += 1.2
    score = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
    units = units_of(
        [f"k{n:02d}" for n in range(90) for _ in "abc"],
        [label[n] == k for n in range(90) for k in range(3)],
        score.ravel(),
        image_id=[f"i{n:02d}" for n in range(90) for _ in "abc"],
        target=["grade=a", "grade=b", "grade=c"] * 90,
        of="grade",
        fold=[n % 3 for n in range(90) for _ in "abc"],
    )
    return units, label, score


def test_the_macro_average_has_its_own_interval(units_of):
    units, label, score = _three_classes(units_of)
    rows = _estimates(units)
    macro, *others = rows
    assert (macro.column, macro.metric, macro.n_events) == (assessment.MACRO, "auroc", None)
    assert macro.value == pytest.approx(
        roc_auc_score(label, score, multi_class="ovr", average="macro"), abs=1e-12
    )
    classes = [row for row in others if row.metric == "auroc"]
    assert [row.column for row in classes] == ["a", "b", "c"]
    assert macro.high - macro.low < min(row.high - row.low for row in classes)
    assert sum(row.n_events for row in classes) == 90


def test_folds_equal_scikit_learn(one_each):
    units = one_each(150, seed=3, repeats=2)
    rows = assessment.folds(units)
    assert [(row.repeat, row.fold) for row in rows] == [(r, f) for r in range(2) for f in range(5)]
    for row in rows:
        members = units.fold[:, row.repeat] == row.fold
        expected = roc_auc_score(units.truth[members, 0], units.by_repeat[members, row.repeat, 0])
        assert row.auroc == pytest.approx(expected, abs=1e-12)
        assert (row.n_units, row.n_events) == (members.sum(), units.truth[members, 0].sum())


def test_folds_on_one_scale_do_not_drift_and_shifted_ones_do(units_of):
    rng = np.random.default_rng(8)
    label, fold = np.arange(400) % 2, np.arange(400) // 2 % 4
    score = rng.normal(size=400) + label
    keys = [f"k{n:03d}" for n in range(400)]
    level, shifted = (
        units_of(keys, label, 1 / (1 + np.exp(-score - step * fold)), fold=[int(f) for f in fold])
        for step in (0, 2)
    )
    (even,) = assessment.drifts(level, assessment.folds(level))
    (drifted,) = assessment.drifts(shifted, assessment.folds(shifted))
    assert abs(even.difference) < 0.02
    assert drifted.mean_of_folds == pytest.approx(even.mean_of_folds, abs=1e-12)
    assert drifted.difference < -0.1
    # ranks within folds have no scale left
    assert drifted.pooled_ranks == pytest.approx(even.pooled_ranks, abs=1e-12)
    assert abs(drifted.pooled_ranks - drifted.mean_of_folds) < 0.02
    assert drifted.pooled == pytest.approx(roc_auc_score(label, score + 2 * fold), abs=1e-12)


def test_a_fold_without_a_class_is_counted_and_left_out(units_of):
    units = units_of(
        list("abcdef"), [1, 0, 1, 0, 0, 0], [0.9, 0.1, 0.4, 0.6, 0.3, 0.2], fold=[0, 0, 1, 1, 2, 2]
    )
    rows = assessment.folds(units)
    (drift,) = assessment.drifts(units, rows)
    assert np.isnan(rows[2].auroc)
    assert (drift.mean_of_folds, drift.n_folds, drift.n_undefined) == (0.5, 2, 1)


def test_without_folds_there_is_nothing_to_compare(units_of):
    units = units_of(["a", "b"], [1, 0], [0.9, 0.1])
    assert assessment.folds(units) == ()
    assert assessment.drifts(units, ()) == ()


def test_several_classes_have_folds_each(units_of):
    units, _, _ = _three_classes(units_of)
    rows = assessment.folds(units)
    assert [row.column for row in assessment.drifts(units, rows)] == ["a", "b", "c"]
    assert len(rows) == 9


def _several_targets(table_of, n=90, seed=0):
    """Every third patient has no label of the second target."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, (n, 2))
    score = 1 / (1 + np.exp(-rng.normal(size=(n, 2)) - label))
    rows = [(i, k) for i in range(n) for k in range(2) if k == 0 or i % 3]
    table = table_of(
        [f"k{i:02d}" for i, _ in rows],
        [label[i, k] for i, k in rows],
        [score[i, k] for i, k in rows],
        image_id=[f"i{i:02d}" for i, _ in rows],
        target=["ab"[k] for _, k in rows],
    )
    task = Task(kind="multi_label", targets=("a", "b"), classes=("0", "1"))
    return units.build(table, target="a, b", aggregate="mean", where="t", task=task), label, score


def test_each_of_several_targets_is_judged_on_those_who_have_its_label(table_of):
    judged, label, score = _several_targets(table_of)
    rows = {(row.column, row.metric): row for row in _estimates(judged, threshold=0.5)}
    has = np.arange(90) % 3 > 0
    first = roc_auc_score(label[:, 0], score[:, 0])
    second = roc_auc_score(label[has, 1], score[has, 1])
    assert rows["a", "auroc"].value == pytest.approx(first, abs=1e-12)
    assert rows["b", "auroc"].value == pytest.approx(second, abs=1e-12)
    assert rows[assessment.MACRO, "auroc"].value == pytest.approx((first + second) / 2, abs=1e-12)
    assert (rows["b", "auroc"].n_units, rows["b", "auroc"].n_patients) == (60, 60)
    assert rows["b", "auroc"].n_events == label[has, 1].sum()
    expected = recall_score(label[has, 1], score[has, 1] >= 0.5)
    assert rows["b", "sensitivity"].value == pytest.approx(expected)


def test_an_interval_of_a_target_is_that_of_its_own_cohort(table_of):
    """Patients without a label add resamples of another size, and hardly change the interval."""
    judged, label, score = _several_targets(table_of)
    has = np.arange(90) % 3 > 0
    alone = table_of([f"k{i:02d}" for i in np.flatnonzero(has)], label[has, 1], score[has, 1])
    apart = units.build(alone, target="finding", aggregate="mean", where="t")
    (found,) = (row for row in _estimates(judged) if (row.column, row.metric) == ("b", "auroc"))
    expected = _estimates(apart)[0]
    assert found.value == expected.value
    width, of_its_own = (row.high - row.low for row in (found, expected))
    assert width == pytest.approx(of_its_own, rel=0.2)


def test_a_target_of_one_class_is_left_out_of_the_mean(table_of):
    table = table_of(
        ["a", "b", "c", "a", "b"], [1, 0, 1, 1, 1], [0.9, 0.2, 0.6, 0.4, 0.5],
        image_id=["i1", "i2", "i3", "i1", "i2"], target=["left"] * 3 + ["right"] * 2,
    )  # fmt: skip
    task = Task(kind="multi_label", targets=("left", "right"), classes=("0", "1"))
    judged = units.build(table, target="both", aggregate="mean", where="t", task=task)
    rows = {row.column: row.value for row in _estimates(judged) if row.metric == "auroc"}
    assert rows[assessment.MACRO] == rows["left"] == 1
    assert np.isnan(rows["right"])


def test_amounts_have_their_own_metrics(table_of):
    rng = np.random.default_rng(0)
    label = rng.normal(60, 12, 80)
    score = 0.5 * label + rng.normal(0, 3, 80)
    table = table_of([f"k{n:02d}" for n in range(80)], label, score, target="age")
    task = Task(kind="regression", targets=("age",))
    judged = units.build(table, target="age", aggregate="mean", where="t", task=task)
    rows = _estimates(judged)
    assert [row.metric for row in rows] == [metric.name for metric in amounts.TABLE]
    for row in rows:
        assert row.low < row.value < row.high
        assert (row.n_events, row.threshold) == (None, None)
    assert not assessment.are_probabilities(judged)
    assert assessment.folds(judged) == ()
    few = units.build(table.slice(0, 9), target="age", aggregate="mean", where="t", task=task)
    assert {"linear_slope", "bias"}.isdisjoint(row.metric for row in _estimates(few))


def test_ordered_classes_have_kappas_before_their_cuts(table_of):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 90)
    logit = -2.0 * np.abs(np.arange(3) - label[:, None]) + rng.normal(size=(90, 3))
    share = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
    grades = ("none", "mild", "severe")
    table = table_of(
        [f"k{n:02d}" for n in range(90) for _ in grades],
        [label[n] == k for n in range(90) for k in range(3)],
        share.ravel(),
        image_id=[f"i{n:02d}" for n in range(90) for _ in grades],
        target=[f"grade={name}" for name in grades] * 90,
    )
    task = Task(kind="ordinal", targets=("grade",), classes=grades)
    judged = units.build(table, target="grade", aggregate="mean", where="t", task=task)
    rows = _estimates(judged)
    called = (np.cumsum(share[:, ::-1], axis=1)[:, ::-1][:, 1:] >= 0.5).sum(axis=1)
    assert (rows[0].column, rows[0].metric) == ("grade", "quadratic_kappa")
    assert rows[0].value == pytest.approx(cohen_kappa_score(label, called, weights="quadratic"))
    assert rows[1].value == pytest.approx(cohen_kappa_score(label, called, weights="linear"))
    assert rows[2].value == pytest.approx(np.abs(label - called).mean())
    assert (rows[3].column, rows[3].metric) == (assessment.MACRO, "auroc")
    cuts = {row.column: row for row in rows if row.metric == "auroc"}
    expected = roc_auc_score(label >= 2, share[:, 2])
    assert cuts["≥ severe"].value == pytest.approx(expected, abs=1e-12)
    assert rows[3].value == pytest.approx((cuts["≥ mild"].value + cuts["≥ severe"].value) / 2)
    for row in rows[:4]:
        assert row.low < row.value < row.high


def test_intervals_are_bca_where_patients_were_left_out(one_each):
    judged = one_each(150, seed=0)
    draws = intervals.draw_both(judged.stratum, 1000, np.random.default_rng(0))
    measured = assessment.measure(judged, draws, 0.6, leave_out=True)
    plain = assessment.estimates(assessment.measure(judged, draws, 0.6), 0.95)
    rows = assessment.estimates(measured, 0.95)
    assert {row.interval for row in rows} == {"bca"}
    for row, other in zip(rows, plain, strict=True):
        assert row.low < row.value < row.high
        assert row.value == other.value
        assert row.metric not in ("auroc", "brier") or row.low != other.low
    everyone = np.r_[judged.truth[1:, 0]], np.r_[judged.score[1:, 0]]
    assert measured.without[0, 0] == pytest.approx(roc_auc_score(*everyone), abs=1e-12)
    assert (measured.stratum(0) == judged.stratum).all()  # AUROC: within class
    assert (measured.stratum(1) == 0).all()  # average precision: over all


def test_where_bca_cannot_be_had_it_is_by_percentiles_or_wilson(units_of):
    """All positives above all negatives, and all of them called so."""
    keys = [f"k{n:02d}" for n in range(40)]
    judged = units_of(keys, np.arange(40) >= 20, np.linspace(0, 1, 40))
    draws = intervals.draw_both(judged.stratum, 1000, np.random.default_rng(0))
    measured = assessment.measure(judged, draws, 0.5, leave_out=True)
    found = {row.metric: row.interval for row in assessment.estimates(measured, 0.95)}
    assert (found["auroc"], found["sensitivity"]) == ("percentile", "wilson")
    assert found["brier"] == "bca"
