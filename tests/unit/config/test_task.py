"""A task: how many outputs it wants, what its columns are called, and that it reads back."""

from dataclasses import asdict

import pytest

from medssl.config.task import Task, from_record, of_one_target

BINARY = Task(kind="binary", targets=("a",), classes=("0", "1"), positive="1")
CLASSES = Task(kind="multi_class", targets=("a",), classes=("x", "y", "z"))
ORDERED = Task(kind="ordinal", targets=("a",), classes=("low", "mid", "high"))
SEVERAL = Task(kind="multi_label", targets=("a", "b"))
AMOUNTS = Task(kind="regression", targets=("a", "b"))


@pytest.mark.parametrize(
    ("task", "n_outputs", "columns"),
    [
        (BINARY, 1, ("a",)),
        (CLASSES, 3, ("a=x", "a=y", "a=z")),
        (ORDERED, 2, ("a=low", "a=mid", "a=high")),
        (SEVERAL, 2, ("a", "b")),
        (AMOUNTS, 2, ("a", "b")),
    ],
)
def test_outputs_and_columns(task, n_outputs, columns):
    assert (task.n_outputs, task.columns) == (n_outputs, columns)
    assert task.has_probabilities == (task is not AMOUNTS)
    assert task.name == ", ".join(task.targets)


@pytest.mark.parametrize("task", [BINARY, CLASSES, ORDERED, SEVERAL, AMOUNTS])
def test_a_record_reads_back(task):
    written = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(task).items()}
    assert from_record(written) == task


@pytest.mark.parametrize("task", [BINARY, CLASSES])
def test_records_of_one_target_are_read_as_what_they_were(task):
    old = {"target": "a", "classes": list(task.classes), "positive": task.positive}
    assert from_record(of_one_target(old)) == task
