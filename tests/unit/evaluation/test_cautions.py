import numpy as np
import pytest

from medssl.artifacts.origin import Origin
from medssl.artifacts.splits import Splits
from medssl.config.task import Task
from medssl.evaluation import assessment, cautions, intervals, units
from medssl.evaluation.assessment import Drift
from medssl.evaluation.cautions import Circumstances
from medssl.evaluation.delong import CrossCheck


def _find(units, circumstances=None, drifts=()):
    draws = intervals.draw_both(units.stratum, 100, np.random.default_rng(0))
    estimates = assessment.estimates(assessment.measure(units, draws), 0.95)
    return cautions.find(units, estimates, drifts, circumstances or Circumstances())


def test_a_plain_cohort_needs_no_caution(one_each):
    units = one_each(330, seed=0)
    assert _find(units) == ()
    assert cautions.notes(units, Circumstances(), threshold=0.5) == ()


@pytest.mark.parametrize(
    ("circumstances", "words"),
    [
        (Circumstances(synthetic=True), "Synthetic cohort"),
        (Circumstances(trial=True), "Smoke run"),
        (Circumstances(pretrained=True, overlap=4), "4 of the evaluated patients"),
    ],
)
def test_each_circumstance_is_said(one_each, circumstances, words):
    (said,) = _find(one_each(120, seed=0), circumstances)
    assert words in said


def test_no_overlap_and_unchecked_overlap_differ(one_each):
    units = one_each(330, seed=0)
    checked = Circumstances(pretrained=True, overlap=0)
    unchecked = Circumstances(pretrained=True)
    assert _find(units, checked) == _find(units, unchecked) == ()
    assert cautions.notes(units, checked) == ()
    assert "was not checked" in cautions.notes(units, unchecked)[0]


def test_unknown_patients_are_said(units_of):
    keys = [f"k{n:02d}" for n in range(40)]
    units = units_of(keys, np.arange(40) % 2, np.linspace(0, 1, 40), grouped=False)
    assert "images were treated as independent" in _find(units)[0]


@pytest.mark.parametrize(("positives", "expected"), [(9, 1), (10, 0)])
def test_few_positive_patients_are_said(units_of, positives, expected):
    keys = [f"k{n:02d}" for n in range(40)]
    units = units_of(keys, np.arange(40) < positives, np.random.default_rng(0).random(40))
    said = _find(units)
    assert len(said) == expected
    assert all("Only 9 positive patients" in text for text in said)


def test_few_negative_patients_are_said(units_of):
    keys = [f"k{n:02d}" for n in range(40)]
    units = units_of(keys, np.arange(40) > 0, np.random.default_rng(0).random(40))
    assert "Only 1 negative patient:" in _find(units)[0]


@pytest.mark.parametrize(("difference", "expected"), [(0.021, 1), (-0.021, 1), (0.019, 0)])
def test_drift_is_said_beyond_two_hundredths(one_each, difference, expected):
    drift = Drift(
        column="finding",
        pooled=0.8 + difference,
        pooled_ranks=0.8,
        mean_of_folds=0.8,
        n_folds=5,
        n_undefined=0,
    )
    said = _find(one_each(120, seed=0), drifts=[drift])
    assert len(said) == expected
    assert all("different scales" in text for text in said)


@pytest.mark.parametrize(("ratio", "expected"), [(1.19, 0), (1.21, 1), (0.79, 1)])
def test_two_standard_errors_that_disagree_are_said(one_each, ratio, expected):
    check = CrossCheck(
        column="finding", auroc=0.8, standard_error=0.03, low=0.74, high=0.86,
        bootstrap_standard_error=0.03 * ratio,
    )  # fmt: skip
    said = cautions.find(one_each(120, seed=0), (), (), Circumstances(), [check])
    assert len(said) == expected
    assert all("after DeLong, more than 20% apart" in text for text in said)


def test_missing_labels_of_a_target_are_noted(table_of):
    table = table_of(
        ["a", "b", "c", "a", "b"], [1, 0, 1, 1, 0], [0.9, 0.2, 0.6, 0.4, 0.5],
        image_id=["i1", "i2", "i3", "i1", "i2"], target=["left"] * 3 + ["right"] * 2,
    )  # fmt: skip
    task = Task(kind="multi_label", targets=("left", "right"), classes=("0", "1"))
    judged = units.build(table, target="both", aggregate="mean", where="t", task=task)
    said = cautions.notes(judged, Circumstances())
    assert any(text.startswith("Not all of the 3 units have every label") for text in said)
    assert any("left 3, right 2" in text for text in said)


def test_few_patients_with_an_amount_are_said_and_classes_are_not(table_of):
    rng = np.random.default_rng(0)
    table = table_of([f"k{n}" for n in range(9)], rng.random(9), rng.random(9), target="age")
    task = Task(kind="regression", targets=("age",))
    judged = units.build(table, target="age", aggregate="mean", where="t", task=task)
    said = cautions.find(judged, (), (), Circumstances())
    assert said == ("Only 9 patients: read the intervals, not the estimates",)
    assert cautions.notes(judged, Circumstances()) == ()


def test_undefined_resamples_are_counted(units_of):
    """Two patients with both labels and nothing else: a draw never loses a class; one class can."""
    units = units_of(
        ["a", "a", "b", "b", "c", "c", "c"],
        [1, 0, 1, 0, 0, 0, 0],
        [0.9, 0.1, 0.8, 0.2, 0.3, 0.4, 0.5],
        target="finding",
    )
    assert units.kind == "image"
    counts = np.array([[0, 0, 3], [1, 1, 1], [2, 0, 1]])  # the first has no positive
    draws = intervals.Draws(within_class=counts, over_all=counts)
    rows = assessment.estimates(assessment.measure(units, draws), 0.95)
    assert rows[0].undefined == 1
    said = cautions.find(units, rows, (), Circumstances())
    assert any("In 1 resamples a metric had no value" in text for text in said)


def test_scores_that_are_no_probabilities_are_noted(units_of):
    units = units_of(["a", "b"], [1, 0], [2.0, -1.0])
    (left_out, _) = cautions.notes(units, Circumstances())
    assert "calibration are left out, and so is whatever needs a threshold" in left_out
    (left_out, small, _) = cautions.notes(units, Circumstances(), threshold=0.5)
    assert left_out.endswith("calibration are left out")
    assert "sensitivity, specificity and predictive values are left out" in small
    assert "curve" not in small


@pytest.mark.parametrize(("positives", "expected"), [(9, 1), (10, 0)])
def test_what_few_patients_leave_out_is_noted(units_of, positives, expected):
    keys = [f"k{n:03d}" for n in range(300)]
    units = units_of(keys, np.arange(300) < positives, np.random.default_rng(0).random(300))
    said = cautions.notes(units, Circumstances(), threshold=0.5)
    left_out = [text for text in said if text.startswith("Fewer than 10 patients of a class")]
    assert len(left_out) == expected
    for text in left_out:
        assert "calibration curve, intercept and slope" in text
        assert "sensitivity, specificity and predictive values" in text


@pytest.mark.parametrize(("positives", "expected"), [(99, 1), (100, 0), (200, 0), (201, 1)])
def test_below_a_hundred_of_each_the_rule_of_thumb_is_noted(units_of, positives, expected):
    keys = [f"k{n:03d}" for n in range(300)]
    units = units_of(keys, np.arange(300) < positives, np.random.default_rng(0).random(300))
    said = cautions.notes(units, Circumstances(), threshold=0.5)
    assert len(said) == expected
    for text in said:
        assert f"Patients: {positives} positive, {300 - positives} negative" in text


def test_of_several_classes_the_small_ones_are_named(units_of):
    label = np.repeat([0, 1, 2], [200, 120, 9])
    units = units_of(
        [f"k{n:03d}" for n in range(329) for _ in "abc"],
        [label[n] == k for n in range(329) for k in range(3)],
        np.random.default_rng(0).random(987),
        image_id=[f"i{n:03d}" for n in range(329) for _ in "abc"],
        target=["grade=a", "grade=b", "grade=c"] * 329,
        of="grade",
    )
    small, thumb = cautions.notes(units, Circumstances(), threshold=0.5)
    assert small.endswith("predictive values of c are left out")
    assert thumb.startswith("Patients: 200 a, 120 b, 9 c.")


def test_an_interval_without_a_width_and_a_value_that_is_none_are_said(units_of):
    """All positives above all negatives: nothing varies, and no slope fits."""
    keys = [f"k{n:02d}" for n in range(40)]
    said = _find(units_of(keys, np.arange(40) >= 20, np.linspace(0, 1, 40)))
    assert any("AUROC is the same in every resample" in text for text in said)
    assert any("Calibration slope has no value" in text for text in said)
    assert not any("Brier" in text for text in said)


@pytest.mark.parametrize(("extreme", "is_said"), [(4, False), (20, True)])
def test_many_probabilities_of_0_or_1_are_said(units_of, extreme, is_said):
    keys = [f"k{n:03d}" for n in range(400)]
    score = np.random.default_rng(0).uniform(0.1, 0.9, 400)
    score[:extreme] = 1.0
    said = cautions.notes(units_of(keys, np.arange(400) % 2, score), Circumstances())
    assert any("5% of the probabilities are 0 or 1" in text for text in said) == is_said


def test_balanced_test_folds_are_said(units_of):
    keys = [f"k{n:03d}" for n in range(300)]
    judged = units_of(keys, np.arange(300) % 2, np.random.default_rng(0).random(300))
    (said,) = cautions.notes(judged, Circumstances(balanced_test=True))
    assert said.startswith("Test folds were drawn with as many positive patients as others")
    task = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
    for balanced in (False, True):
        plan = Splits(task=task, seed=0, group="patient", by="folds", n_folds=2, test_fold=(),
                      balanced_test=balanced)  # fmt: skip
        known = cautions.circumstances(Origin(predictions_sha256="", splits=plan))
        assert known.balanced_test is balanced


def test_balanced_training_is_said_where_there_are_probabilities(units_of):
    keys = [f"k{n:03d}" for n in range(300)]
    score = np.random.default_rng(0).random(300)
    known = Circumstances(balanced=True)
    said = cautions.notes(units_of(keys, np.arange(300) % 2, score), known)
    assert any("those of such classes" in text for text in said)
    assert cautions.notes(units_of(keys, np.arange(300) % 2, score), Circumstances()) == ()
    ranks = cautions.notes(units_of(keys, np.arange(300) % 2, score * 7), known)
    assert not any("of such classes" in text for text in ranks)
