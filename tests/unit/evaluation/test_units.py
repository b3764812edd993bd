import numpy as np
import pyarrow as pa
import pytest

from medssl.config.task import Task
from medssl.evaluation import ordered, units
from medssl.foundation.errors import DataError


def test_patients_whose_images_agree_are_the_units(units_of):
    found = units_of(["b", "a", "a"], [0, 1, 1], [0.3, 0.5, 0.9], site=["s2", "s1", "s1"])
    assert (found.kind, found.n_patients, found.n_images) == ("patient", 2, 3)
    assert found.reason == "all images of every patient have the same label"
    np.testing.assert_allclose(found.score, [[0.7], [0.3]])  # in order of keys
    np.testing.assert_array_equal(found.truth, [[1], [0]])
    assert found.sites == ("s1", "s2")
    assert (found.patients_with(0), found.patients_without(0)) == (1, 1)


def test_one_disagreeing_patient_makes_images_the_units(units_of):
    found = units_of(["a", "a", "b", "c"], [1, 0, 0, 1], [0.9, 0.2, 0.3, 0.8])
    assert (found.kind, len(found.truth), found.n_patients) == ("image", 4, 3)
    assert found.reason == "in 1 of 3 patients the images differ in label"
    np.testing.assert_array_equal(found.patient, [0, 0, 1, 2])
    assert len(set(found.stratum)) == 3  # negative, positive, and the patient with both
    assert (found.patients_with(0), found.patients_without(0)) == (2, 2)


def test_one_image_each_is_said_so(units_of):
    assert units_of(["a", "b"], [1, 0], [0.9, 0.2]).reason == "every patient has one image"


def test_unknown_patients_make_images_the_units(units_of):
    found = units_of(["a", "b"], [1, 0], [0.9, 0.2], grouped=False)
    assert (found.kind, found.grouped) == ("image", False)
    assert "patients are unknown" in found.reason


def test_highest_image_score_of_each_repeat(units_of):
    """Aggregated within a repeat first: mean of maxima, not maximum of means."""
    found = units_of(
        ["a", "a", "a", "a", "b", "b"],
        [1, 1, 1, 1, 0, 0],
        [0.2, 0.8, 0.6, 0.4, 0.1, 0.3],
        aggregate="max",
        image_id=["i1", "i2", "i1", "i2", "i3", "i3"],
        repeat=[0, 0, 1, 1, 0, 1],
    )
    np.testing.assert_allclose(found.by_repeat[:, :, 0], [[0.8, 0.6], [0.1, 0.3]])
    np.testing.assert_allclose(found.score[:, 0], [0.7, 0.2])


def test_repeats_do_not_add_units(units_of):
    once = units_of(["a", "b"], [1, 0], [0.9, 0.2])
    often = units_of(
        ["a", "b"] * 5,
        [1, 0] * 5,
        [0.9, 0.2] * 5,
        image_id=["i00000", "i00001"] * 5,
        repeat=[r for r in range(5) for _ in "ab"],
    )
    assert often.truth.shape == once.truth.shape
    assert (often.n_repeats, once.n_repeats) == (5, 1)
    np.testing.assert_allclose(often.score, once.score)


def test_a_repeat_may_lack_a_unit(units_of):
    found = units_of(
        ["a", "a", "b"], [1, 1, 0], [0.9, 0.5, 0.2], image_id=["i1", "i1", "i2"], repeat=[0, 1, 0]
    )
    np.testing.assert_allclose(found.score[:, 0], [0.7, 0.2])
    assert np.isnan(found.by_repeat[1, 1, 0])


def test_classes_become_columns(units_of):
    found = units_of(
        ["a", "a", "a", "b", "b", "b"],
        [0, 1, 0, 0, 0, 1],
        [0.2, 0.5, 0.3, 0.1, 0.2, 0.7],
        image_id=["i1"] * 3 + ["i2"] * 3,
        target=["grade=low", "grade=mid", "grade=high"] * 2,
        of="grade",
    )
    assert (found.target, found.columns) == ("grade", ("high", "low", "mid"))
    np.testing.assert_array_equal(found.truth, [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(found.score, [[0.3, 0.2, 0.5], [0.7, 0.1, 0.2]])


@pytest.mark.parametrize("target", ["size", "size=cm", "="])
@pytest.mark.parametrize(
    "classes", [("1-2", "<1", ">=2"), (">=1", ">=2", ">=3"), ("", "=", "a=b"), ("s", "si", "size=")]
)
def test_a_class_may_have_any_name(units_of, target, classes):
    found = units_of(
        ["a"] * 3 + ["b"] * 3,
        [1, 0, 0, 0, 0, 1],
        [0.5, 0.3, 0.2, 0.1, 0.2, 0.7],
        image_id=["i1"] * 3 + ["i2"] * 3,
        target=[f"{target}={name}" for name in classes] * 2,
        of=target,
    )
    assert (found.target, found.columns) == (target, classes)
    np.testing.assert_array_equal(found.truth, [[1, 0, 0], [0, 0, 1]])


def test_a_binary_target_may_have_any_name(units_of):
    found = units_of(["a", "b"], [1, 0], [0.9, 0.2], target="size=>=2", of="size=>=2")
    assert (found.target, found.columns) == ("size=>=2", ("size=>=2",))


def test_row_order_does_not_matter(table_of):
    rng = np.random.default_rng(0)
    table = table_of(
        [f"k{n // 2}" for n in range(40)],
        [n // 2 % 2 for n in range(40)],
        rng.random(40),
        fold=[n // 2 % 3 for n in range(40)],
    )
    mixed_table = table.take(rng.permutation(40))
    plain, mixed = (
        units.build(rows, target="finding", aggregate="mean", where="table")
        for rows in (table, mixed_table)
    )
    for name in ("truth", "score", "fold", "patient", "stratum"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(mixed, name))


def test_only_test_rows_count(units_of):
    found = units_of(["a", "b", "a"], [1, 0, 1], [0.9, 0.2, 0.1], part=["test", "test", "inner"])
    np.testing.assert_allclose(found.score[:, 0], [0.9, 0.2])


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"image_id": ["i1", "i1", "i2"], "label": [1, 1, 0]}, "two rows in one repeat"),
        ({"image_id": ["i1", "i1", "i2"], "label": [1, 0, 0], "repeat": [0, 1, 0]}, "two labels"),
        (
            {"image_id": ["i1", "i2", "i1"], "label": [1, 1, 1], "repeat": [0, 0, 1]},
            "belongs to two patients",
        ),
        (
            {"image_id": ["i1", "i1", "i2"], "repeat": [0, 0, 0], "label": [0, 1, 0],
             "target": ["finding=a", "finding=b", "finding=a"]},
            "lacks the score of a class",
        ),
        (
            {"image_id": ["i1", "i1", "i2"], "label": [1, 1, 0],
             "target": ["finding=a", "finding=b", "finding=a"]},
            "lacks the score of a class",
        ),
        ({"target": ["f", "f", "g"], "label": [1, 0, 1]}, "targets f, g where 'finding'"),
        ({"target": ["g=a", "g=a", "g=b"], "label": [1, 0, 1]}, "targets g=a, g=b where 'finding'"),
        ({"target": ["finding", "finding", "finding=b"], "label": [1, 0, 1]}, "finding, finding=b"),
        ({"target": "other", "label": [1, 0, 1]}, "targets other where 'finding'"),
        ({"part": "inner", "label": [1, 0, 1]}, "no test predictions"),
        ({"label": [1, 1, 1]}, "one class only: every label is 1"),
        ({"label": [1, 1, 0], "score": [0.5, float("nan"), 0.1]}, "a score is not a number"),
        ({"label": [1, 1, 0], "fold": [0, 1, 0]}, "leakage: 1 of 2 patients"),
        ({"label": [1, 0.5, 0]}, "a label is neither 0 nor 1"),
        ({"label": [0, 2, 1]}, "a label is neither 0 nor 1"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(table_of, columns, problem):
    given = {"score": [0.9, 0.8, 0.1], **columns}
    label, score = given.pop("label"), given.pop("score")
    table = table_of(["a", "a", "b"], label, score, **given)
    with pytest.raises(DataError, match=problem) as caught:
        units.build(table, target="finding", aggregate="mean", where="runs/x/predictions.parquet")
    assert caught.value.where == "runs/x/predictions.parquet"
    assert caught.value.fix


def test_two_positive_classes_are_refused(table_of):
    table = table_of(["a", "a"], [1, 1], [0.9, 0.8], image_id=["i1", "i1"], target=["g=a", "g=b"])
    with pytest.raises(DataError, match="has not exactly one class"):
        units.build(table, target="g", aggregate="mean", where="table")


def test_an_empty_table_is_refused(table_of):
    table = table_of(["a"], [1], [0.5]).slice(0, 0)
    assert isinstance(table, pa.Table)
    with pytest.raises(DataError, match="no test predictions"):
        units.build(table, target="finding", aggregate="mean", where="table")


def _built(table, task):
    return units.build(table, target=task.name, aggregate="mean", where="table", task=task)


def test_several_targets_are_a_column_each_with_the_labels_they_have(table_of):
    """Patient a has no label of the second target, and one image of b has none either."""
    table = table_of(
        ["a", "a", "b", "b", "b", "c", "c"],
        [1, 1, 0, 0, 1, 1, 0],
        [0.9, 0.7, 0.1, 0.3, 0.6, 0.8, 0.2],
        image_id=["i1", "i2", "i3", "i4", "i3", "i5", "i5"],
        target=["left", "left", "left", "left", "right", "left", "right"],
    )
    found = _built(table, Task(kind="multi_label", targets=("left", "right"), classes=("0", "1")))
    assert (found.task, found.kind, found.columns) == ("multi_label", "patient", ("left", "right"))
    np.testing.assert_allclose(found.truth, [[1, np.nan], [0, 1], [1, 0]])
    np.testing.assert_allclose(found.score, [[0.8, np.nan], [0.2, 0.6], [0.8, 0.2]])
    np.testing.assert_array_equal(found.stratum, [0, 0, 0])  # no class to draw within
    right = found.only(1)
    assert (right.columns, right.n_patients) == (("right",), 2)
    np.testing.assert_array_equal(right.patient, [1, 2])
    assert (right.patients_with(0), right.patients_without(0)) == (1, 1)


def test_one_target_in_which_images_differ_makes_images_the_units(table_of):
    table = table_of(
        ["a", "a", "a", "a", "b"],
        [1, 1, 0, 1, 0],
        [0.5] * 5,
        image_id=["i1", "i2", "i1", "i2", "i3"],
        target=["left", "left", "right", "right", "left"],
    )
    found = _built(table, Task(kind="multi_label", targets=("left", "right"), classes=("0", "1")))
    assert (found.kind, len(found.truth)) == ("image", 3)


def test_amounts_are_averaged_over_images_and_keep_their_unit(table_of):
    table = table_of(["a", "a", "b"], [61.5, 61.5, 40.25], [60.0, 70.0, 45.0], target="age")
    found = _built(table, Task(kind="regression", targets=("age",)))
    assert (found.task, found.kind) == ("regression", "patient")
    np.testing.assert_allclose(found.truth, [[61.5], [40.25]])
    np.testing.assert_allclose(found.score, [[65], [45]])


def test_amounts_that_are_all_the_same_are_refused(table_of):
    table = table_of(["a", "b"], [3.5, 3.5], [3.0, 4.0], target="age")
    with pytest.raises(DataError, match=r"one amount only: every label is the same"):
        _built(table, Task(kind="regression", targets=("age",)))


def test_ordered_classes_become_cuts_in_their_order(table_of):
    """Not in that of their names: "none" comes last by name and first by meaning."""
    grades = ("none", "mild", "severe")
    shares = {"a": (0.7, 0.2, 0.1), "b": (0.1, 0.3, 0.6), "c": (0.2, 0.5, 0.3)}
    truth = {"a": "none", "b": "severe", "c": "mild"}
    table = table_of(
        [key for key in shares for _ in grades],
        [truth[key] == name for key in shares for name in grades],
        [share for key in shares for share in shares[key]],
        image_id=[f"i{key}" for key in shares for _ in grades],
        target=[f"grade={name}" for _ in shares for name in grades],
    )
    task = Task(kind="ordinal", targets=("grade",), classes=grades)
    found = units.build(table, target="grade", aggregate="mean", where="table", task=task)
    assert found.columns == ("≥ mild", "≥ severe")
    np.testing.assert_array_equal(found.truth, [[0, 0], [1, 1], [1, 0]])
    np.testing.assert_allclose(found.score, [[0.3, 0.1], [0.9, 0.6], [0.8, 0.3]])
    assert len(set(found.stratum)) == 3
    true, called = ordered.classes(found)
    np.testing.assert_array_equal(true, [0, 2, 1])
    np.testing.assert_array_equal(called, [0, 2, 1])


def test_a_table_of_other_targets_than_the_task_is_refused(table_of):
    table = table_of(["a", "b"], [1, 0], [0.4, 0.2], target="left")
    task = Task(kind="multi_label", targets=("right",), classes=("0", "1"))
    with pytest.raises(DataError, match="holds the targets left where 'right'"):
        _built(table, task)
