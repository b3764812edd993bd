"""From the label strings of an archive to numbers, and to the task they pose."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medssl.config.task import Kind, Task
from medssl.foundation import plugins
from medssl.foundation.errors import DataError
from medssl.foundation.wording import listed

_POSITIVE_WORDS = ("1", "1.0", "true", "True", "TRUE")
_MOST_CLASSES = 10  # of whole numbers: more of them are amounts, not names
Values = Sequence[str | None]


def pose(
    values: Mapping[str, Values],
    *,
    kind: Kind | None,
    order: Sequence[str],
    positive: str | None,
    where: Path,
) -> tuple[Task, NDArray[np.float64]]:
    """Return the task that the labels of one or several targets pose, and the labels as numbers.

    Args:
        values: Label of each image by target, None where there is none; shape (N,) each.
        kind: Of the task; None: several targets are `multi_label`, two classes `binary`, fractions
            or many different numbers `regression`, everything else `multi_class`.
        order: Classes of an ordinal target, lowest first; empty: numbers by size, words by name.
        positive: Positive class of two; None: 1 or true, else the last class.
        where: The archive, for messages.

    Returns:
        The task, and labels (N, T): 0 or 1, the number of a class, or an amount; not-a-number where
        there is none.

    Raises:
        DataError: The labels do not fit the kind, there is one class only, or no such class.
    """
    found = {name: sorted({v for v in labels if v is not None}) for name, labels in values.items()}
    kind = kind or _kind(found)
    if kind != "multi_label" and len(values) > 1 and kind != "regression":
        raise DataError(
            f"a {kind} task has one target, {len(values)} were given",
            where=str(where),
            fix="give one --target, or --task multi_label",
        )
    if kind == "regression":
        columns = [_amounts(name, labels, where) for name, labels in values.items()]
        return Task(kind=kind, targets=tuple(values)), np.stack(columns, axis=1)
    for name, classes in found.items():
        _refuse_one_class(name, classes, where)
    if kind == "multi_label":
        if positive is not None:
            raise DataError(
                "one positive class for several targets",
                where=str(where),
                fix="leave out --positive: 1 or true is positive, else the last class",
            )
        columns = [_sides(name, labels, found[name], None, where)[1]
                   for name, labels in values.items()]  # fmt: skip
        return Task(kind=kind, targets=tuple(values)), np.stack(columns, axis=1)
    ((name, labels),) = values.items()
    classes = found[name]
    if kind == "binary":
        chosen, column = _sides(name, labels, classes, positive, where)
        task = Task(kind=kind, targets=(name,), classes=tuple(classes), positive=chosen)
        return task, column[:, None]
    if positive is not None:
        raise DataError(
            f"--positive {positive!r} needs two classes, there are {len(classes)}",
            where=str(where),
            fix="leave it out: every class is compared with the rest",
        )
    names = _ordered(name, classes, order, where) if kind == "ordinal" else tuple(classes)
    index = {value: float(k) for k, value in enumerate(names)}
    numbers = [np.nan if v is None else index[v] for v in labels]
    return Task(kind=kind, targets=(name,), classes=names), np.array(numbers)[:, None]


def answer(
    values: Mapping[str, Values],
    task: Task,
    classes: Mapping[str, Sequence[str]],
    *,
    where: Path,
) -> NDArray[np.float64]:
    """Return labels as the numbers that a task already posed means by them; see `pose`.

    Args:
        values: Label of each image by target of the task, None where there is none.
        task: Whose classes, order and positive class hold, whatever these labels look like.
        classes: Of each target the class names that the task knows; of several targets two each,
            the positive one last, of an amount none.
        where: The archive, for messages.

    Raises:
        DataError: A label is no class of the task, or no number where an amount is asked for.
    """
    if task.kind == "regression":
        return np.stack([_amounts(name, labels, where) for name, labels in values.items()], axis=1)
    columns = []
    for name, labels in values.items():
        known = tuple(classes[name])
        _refuse_unknown(name, labels, known, where)
        if task.kind in ("binary", "multi_label"):
            positive = task.positive or known[-1]
            columns.append([np.nan if v is None else float(v == positive) for v in labels])
        else:
            columns.append([np.nan if v is None else float(known.index(v)) for v in labels])
    return np.array(columns).T


def positive_of(classes: Sequence[str]) -> str:
    """Return which of two classes is the positive one where nobody says so.

    >>> positive_of(("0", "1")), positive_of(("True", "yes")), positive_of(("AP", "PA"))
    ('1', 'True', 'PA')
    """
    return next((name for name in classes if name in _POSITIVE_WORDS), classes[-1])


def _refuse_unknown(name: str, labels: Values, known: Sequence[str], where: Path) -> None:
    unknown = sorted({v for v in labels if v is not None} - set(known))
    if unknown:
        raise DataError(
            f"target {name!r} has classes that the models do not know: {listed(unknown)}; they "
            f"know {listed(list(known))}",
            where=str(where),
            fix=f"say what they mean: --classes {unknown[0]}={known[-1]}, or leave images out: "
            f"--classes {unknown[0]}=",
        )


def are_numbers(classes: Sequence[str]) -> bool:
    """Return whether every class is written as a number."""
    return bool(classes) and all(_number(name) is not None for name in classes)


def _kind(found: Mapping[str, Sequence[str]]) -> Kind:
    if len(found) > 1:
        return "multi_label"
    ((_, classes),) = found.items()
    if len(classes) <= 2:
        return "binary"
    numbers = [_number(name) for name in classes]
    if None in numbers:
        return "multi_class"
    fractions = any(n is not None and n != int(n) for n in numbers)
    return "regression" if fractions or len(classes) > _MOST_CLASSES else "multi_class"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _amounts(name: str, labels: Values, where: Path) -> NDArray[np.float64]:
    values = [None if v is None else _number(v) for v in labels]
    wrong = sorted({v for v, n in zip(labels, values, strict=True) if v is not None and n is None})
    if wrong:
        raise DataError(
            f"target {name!r} has values that are no numbers, {wrong[0]!r} for one",
            where=str(where),
            fix="--task multi_class, or correct the label table",
        )
    column = np.array([np.nan if n is None else n for n in values])
    if len(np.unique(column[np.isfinite(column)])) < 2:
        raise DataError(
            f"target {name!r} has one value only",
            where=str(where),
            fix="give a target that differs between patients",
        )
    return column


def _refuse_one_class(name: str, classes: Sequence[str], where: Path) -> None:
    if len(classes) < 2:
        raise DataError(
            f"target {name!r} has one class only: {listed(classes) or 'no labels'}",
            where=str(where),
            fix="give a target with at least two classes",
        )


def _sides(
    name: str, labels: Values, classes: Sequence[str], positive: str | None, where: Path
) -> tuple[str, NDArray[np.float64]]:
    """Return the positive one of two classes, and 1 where it is, 0 where it is not."""
    if len(classes) > 2:
        raise DataError(
            f"target {name!r} has {len(classes)} classes: {listed(classes)}",
            where=str(where),
            fix="a binary or multi_label task needs two classes of every target",
        )
    if positive is None:
        positive = positive_of(classes)
    if positive not in classes:
        raise DataError(
            f"no class called {positive!r}",
            where=str(where),
            fix=plugins.suggest(positive, list(classes)),
        )
    return positive, np.array([np.nan if v is None else float(v == positive) for v in labels])


def _ordered(
    name: str, classes: Sequence[str], order: Sequence[str], where: Path
) -> tuple[str, ...]:
    if not order:
        numbers = [_number(c) for c in classes]
        if None in numbers:
            raise DataError(
                f"nobody knows the order of {listed(classes)}",
                where=str(where),
                fix="--set order=[LOWEST,…,HIGHEST]",
            )
        return tuple(sorted(classes, key=float))
    if sorted(order) != sorted(classes):
        raise DataError(
            f"order names {listed(order)}, target {name!r} has {listed(classes)}",
            where="order",
            fix="name every class once",
        )
    return tuple(order)
