"""From words to numbers, and to the task they pose."""

from pathlib import Path

import numpy as np
import pytest

from medssl.config.task import Task
from medssl.data.labels import answer, pose
from medssl.foundation.errors import DataError

HERE = Path("archive")


def posed(values, kind=None, order=(), positive=None):
    named = values if isinstance(values, dict) else {"a": values}
    return pose(named, kind=kind, order=order, positive=positive, where=HERE)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["0", "1", "1"], "binary"),
        (["mild", "severe", None], "binary"),
        (["a", "b", "c"], "multi_class"),
        (["1", "2", "3"], "multi_class"),
        (["0.5", "1", "2"], "regression"),
        ([str(k) for k in range(11)], "regression"),
        ({"a": ["0", "1"], "b": ["1", "0"]}, "multi_label"),
    ],
)
def test_the_kind_follows_from_the_labels(values, kind):
    assert posed(values)[0].kind == kind


def test_of_two_classes_one_is_positive():
    task, label = posed(["no", "yes", None, "yes"])
    assert (task.classes, task.positive, task.columns) == (("no", "yes"), "yes", ("a",))
    assert label[:, 0].tolist()[:2] == [0, 1]
    assert np.isnan(label[2, 0])
    task, label = posed(["no", "yes", "yes"], positive="no")
    assert (task.positive, label[:, 0].tolist()) == ("no", [1, 0, 0])


def test_several_targets_keep_what_is_missing_apart_from_no():
    task, label = posed({"a": ["0", None, "1"], "b": ["left", "right", None]})
    assert (task.targets, task.n_outputs, task.columns) == (("a", "b"), 2, ("a", "b"))
    expected = [[0, 0], [np.nan, 1], [1, np.nan]]
    np.testing.assert_array_equal(label, expected)


def test_classes_of_numbers_are_ordered_by_size_and_words_as_told():
    task, label = posed(["10", "9", "2"], kind="ordinal")
    assert task.classes == ("2", "9", "10")
    assert task.n_outputs == 2
    assert label[:, 0].tolist() == [2, 1, 0]
    told = ("mild", "moderate", "bad")
    task, label = posed(["bad", "mild", "moderate"], kind="ordinal", order=told)
    assert task.classes == told
    assert label[:, 0].tolist() == [2, 0, 1]
    assert task.columns == ("a=mild", "a=moderate", "a=bad")


def test_amounts_are_numbers_one_column_a_target():
    task, label = posed({"a": ["1.5", None, "2"], "b": ["-2", "1e3", "7"]}, kind="regression")
    np.testing.assert_array_equal(label, [[1.5, -2], [np.nan, 1000], [2, 7]])
    assert not task.has_probabilities


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({"a": ["0", "1"], "b": ["0", "1"]}, {"kind": "binary"}, "has one target, 2 were given"),
        ({"a": ["0", "1"], "b": ["0", "0"]}, {}, "'b' has one class only: 0"),
        ({"a": ["0", "1"], "b": ["x", "y", "z"]}, {}, "'b' has 3 classes: x, y, z"),
        ({"a": ["0", "1"], "b": ["0", "1"]}, {"positive": "1"}, "one positive class for several"),
        (["a", "b", "c"], {"kind": "binary"}, "has 3 classes"),
        (["a", "b", "c"], {"positive": "a"}, "needs two classes, there are 3"),
        (["a", "b"], {"positive": "c"}, "no class called 'c'"),
        ([None, None], {}, "one class only: no labels"),
        (["mild", "bad", "worse"], {"kind": "ordinal"}, "nobody knows the order"),
        (["1", "2", "3"], {"kind": "ordinal", "order": ("1", "2")}, "order names 1, 2"),
        (["1.5", "n/k", "2"], {"kind": "regression"}, "are no numbers, 'n/k'"),
        (["inf", "1", "2"], {"kind": "regression"}, "are no numbers, 'inf'"),
        (["2", "2.0", None], {"kind": "regression"}, "has one value only"),
    ],
)
def test_labels_that_do_not_fit_are_refused(values, options, message):
    with pytest.raises(DataError, match=message) as refused:
        posed(values, **options)
    assert refused.value.fix


def answered(task, classes, **values):
    return answer(values, task, dict.fromkeys(values, classes), where=HERE)


@pytest.mark.parametrize("positive", ["no", "yes"])
def test_labels_mean_what_the_task_says_whatever_they_look_like(positive):
    """Even where one class alone is there, which would pose no task."""
    task = Task(kind="binary", targets=("a",), classes=("no", "yes"), positive=positive)
    label = answered(task, task.classes, a=["yes", None, "yes"])
    assert label[[0, 2], 0].tolist() == [float(positive == "yes")] * 2
    assert np.isnan(label[1, 0])


def test_ordered_classes_keep_the_order_of_the_task():
    task = Task(kind="ordinal", targets=("a",), classes=("none", "mild", "severe"))
    assert answered(task, task.classes, a=["severe", "none"])[:, 0].tolist() == [2, 0]


def test_each_of_several_targets_has_the_positive_class_it_was_posed_with():
    values = {"a": ["AP", "PA", "PA"], "b": ["1", "0", None]}
    task, posed_as = posed(values)
    classes = {"a": ("AP", "PA"), "b": ("0", "1")}
    assert np.array_equal(answer(values, task, classes, where=HERE), posed_as, equal_nan=True)


def test_amounts_are_numbers():
    task = Task(kind="regression", targets=("a",))
    assert answered(task, (), a=["1.5", "2"])[:, 0].tolist() == [1.5, 2]
    with pytest.raises(DataError, match="no numbers"):
        answered(task, (), a=["1.5", "tall"])


def test_a_class_that_the_task_does_not_have_is_refused_by_name():
    task = Task(kind="binary", targets=("a",), classes=("0", "1"), positive="1")
    with pytest.raises(DataError, match="'a' has classes that the models do not know: ill") as told:
        answered(task, task.classes, a=["ill", "0"])
    assert told.value.fix.startswith("say what they mean: --classes ill=1")


def test_of_several_targets_the_class_told_last_is_positive():
    """Whatever the words are: who calls has recorded it."""
    task, _ = posed({"a": ["1", "9"], "b": ["no", "yes"]})
    known = {"a": ("9", "1"), "b": ("yes", "no")}
    found = answer({"a": ["1", "9", None], "b": ["no", "yes", "yes"]}, task, known, where=HERE)
    np.testing.assert_array_equal(found, [[1, 1], [0, 0], [np.nan, 0]])
