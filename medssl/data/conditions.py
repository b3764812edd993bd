"""Conditions on images, as in `modality == 'CT' and finding in ['1', '2']`.

They are a small part of Python's expressions, read with its grammar and never run: comparisons of
columns of images.parquet and targets of labels.parquet with values, joined by and, or, not and
parentheses. `'lossy' in flags` asks for a flag, `label['any name']` for a target of any name.

Of an absent value it is only known that it `is None`: every other comparison with it is neither
true nor false, and an image matches where the condition is true. So neither `site == 'north'` nor
`not site == 'north'` matches an image without a site.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.foundation import plugins
from medssl.foundation.errors import UsageError

LABEL = "label"  # label['name'] is the target of that name
_Compare = Callable[[Any, Any], Any]
_COMPARE: dict[type[ast.cmpop], _Compare] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MIRRORED: dict[_Compare, _Compare] = {  # 3 < x is x > 3
    operator.eq: operator.eq,
    operator.ne: operator.ne,
    operator.lt: operator.gt,
    operator.le: operator.ge,
    operator.gt: operator.lt,
    operator.ge: operator.le,
}
_TEXT, _NUMBER, _BOOLEAN, _LIST = "text", "numbers", "True or False", "lists of text"
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class _Truth:
    """Where something holds and where it does not; elsewhere it is not known."""

    yes: NDArray[np.bool_]  # (N,)
    no: NDArray[np.bool_]

    def inverted(self) -> "_Truth":
        return _Truth(self.no, self.yes)

    def both(self, other: "_Truth") -> "_Truth":
        return _Truth(self.yes & other.yes, self.no | other.no)

    def either(self, other: "_Truth") -> "_Truth":
        return _Truth(self.yes | other.yes, self.no & other.no)


@dataclass(frozen=True)
class _Column:
    """What one column says of every image."""

    name: str
    cells: pa.Array
    is_label: bool = False  # texts, of which some are numbers

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        return np.asarray(pc.is_valid(self.cells))

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it can be compared with."""
        kind = self.cells.type
        if pa.types.is_boolean(kind):
            return (_BOOLEAN,)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return (_NUMBER,)
        if pa.types.is_string(kind):
            return (_TEXT, _NUMBER) if self.is_label else (_TEXT,)
        return (_LIST,) if pa.types.is_list(kind) and pa.types.is_string(kind.value_type) else ()

    @property
    def holds(self) -> str:
        """The same in words."""
        return " or ".join(self.kinds) or "nothing to compare"

    def is_none(self) -> _Truth:
        return _Truth(~self.known, self.known)

    def compared(self, compare: _Compare, value: Any) -> _Truth:  # noqa: ANN401 - any constant
        """Compare every value with one of a kind that the column holds."""
        distinct = self.cells.dictionary_encode()
        found = distinct.dictionary.to_numpy(zero_copy_only=False)
        if self.is_label and not isinstance(value, str):
            found = np.array([_number(text) for text in found], dtype=float)
        true = np.append(compare(found, value), [False]).astype(bool)  # and what is not known
        yes = true[np.asarray(distinct.indices.fill_null(len(found)))]
        return _Truth(yes & self.known, ~yes & self.known)

    def among(self, values: Sequence[Any]) -> _Truth:
        none = _Truth(np.zeros_like(self.known), self.known)
        return reduce(_Truth.either, (self.compared(operator.eq, value) for value in values), none)

    def containing(self, text: str) -> _Truth:
        """Say which lists hold a text."""
        holds = pc.equal(pc.list_flatten(self.cells), text).fill_null(False)  # noqa: FBT003 - pyarrow names it otherwise elsewhere
        yes = np.zeros(len(self.cells), dtype=bool)
        yes[np.asarray(pc.list_parent_indices(self.cells).filter(holds))] = True
        return _Truth(yes, ~yes & self.known)


def matches(condition: str, images: pa.Table, labels: pa.Table) -> NDArray[np.bool_]:
    """Say which images a condition is true for.

    Args:
        condition: See above. A column goes before a target of the same name.
        images: Rows of images.parquet, N of them.
        labels: Rows of labels.parquet. A value is compared as text with a text, and as a number
            with a number; one that is no number differs from all numbers.

    Returns:
        Shape (N,), in the order of ``images``.

    Raises:
        UsageError: It is no such condition, names no column or target there is, or compares a
            column with what it cannot hold.
    """
    text = " ".join(condition.splitlines()).strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash in a text
            tree = ast.parse(text, mode="eval")
        return _Reading(text, images, labels).truth(tree.body).yes
    except _UNREADABLE as error:
        place = getattr(error, "offset", None)
        raise UsageError(
            f"not a condition: {_short(text)}",
            where=f"character {place}" if place else "",
            fix="write one like: modality == 'CT' and slice_index < 10",
        ) from error


@dataclass(frozen=True)
class _Reading:
    """A condition that is being read."""

    text: str
    images: pa.Table
    labels: pa.Table

    def truth(self, node: ast.expr) -> _Truth:
        if isinstance(node, ast.BoolOp):
            join = _Truth.both if isinstance(node.op, ast.And) else _Truth.either
            return reduce(join, map(self.truth, node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self.truth(node.operand).inverted()
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            steps = zip(sides, node.ops, sides[1:], strict=False)
            return reduce(_Truth.both, (self._comparison(*step) for step in steps))
        raise self._wrong(node, "is no comparison")

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Truth:
        if isinstance(op, ast.Is | ast.IsNot):
            found = self._is_none(left, right)
            return found if isinstance(op, ast.Is) else found.inverted()
        if isinstance(op, ast.In | ast.NotIn):
            found = self._is_in(left, right)
            return found if isinstance(op, ast.In) else found.inverted()
        compare = _COMPARE[type(op)]
        if isinstance(left, ast.Constant | ast.UnaryOp) or _is_name(right) > _is_name(left):
            left, right, compare = right, left, _MIRRORED[compare]
        column = self._column(left)
        value = self._value(right, column)
        if column.kinds == (_BOOLEAN,) and not isinstance(op, ast.Eq | ast.NotEq):
            raise self._wrong(right, f"is neither more nor less than {column.name}")
        return column.compared(compare, value)

    def _is_none(self, left: ast.expr, right: ast.expr) -> _Truth:
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise self._wrong(right, "cannot stand after `is`, only None can")
        return self._column(left).is_none()

    def _is_in(self, left: ast.expr, right: ast.expr) -> _Truth:
        if isinstance(right, ast.List | ast.Tuple):
            column = self._column(left)
            return column.among([self._value(item, column) for item in right.elts])
        column = self._column(right)
        if column.kinds != (_LIST,):
            raise self._wrong(right, "holds no lists; write a list after `in`, like ['a', 'b']")
        if not (isinstance(left, ast.Constant) and isinstance(left.value, str)):
            raise self._wrong(left, f"is no text, and {column.name} holds lists of text")
        return column.containing(left.value)

    @cached_property
    def _targets(self) -> list[str]:
        names: list[str] = pc.unique(self.labels["target"]).to_pylist()
        return sorted(names)

    def _column(self, node: ast.expr) -> _Column:
        columns, targets = self.images.column_names, self._targets
        if isinstance(node, ast.Name):
            name, known = node.id, [*columns, *targets]
        elif _is_name(node):
            name, known = node.slice.value, targets  # type: ignore[attr-defined]
        else:
            raise self._wrong(node, "is no column")
        if name not in known:
            raise self._wrong(node, "is no column", plugins.suggest(name, known) if known else "")
        if isinstance(node, ast.Name) and name in columns:
            return _Column(name, self.images[name].combine_chunks())
        return _Column(name, _values(self.images, self.labels, name), is_label=True)

    def _value(self, node: ast.expr, column: _Column) -> Any:  # noqa: ANN401 - any constant
        """Return a constant that can be compared with a column."""
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inner = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        if not isinstance(inner, ast.Constant):
            raise self._wrong(node, "is no value")
        value = inner.value
        if value is None:
            raise self._wrong(node, "is compared like this: NAME is None")
        kind = _kind(value)
        if kind not in column.kinds or (negative and kind != _NUMBER):
            raise self._wrong(node, f"does not fit: {column.name} holds {column.holds}")
        return value if kind != _NUMBER else -_real(value) if negative else _real(value)

    def _wrong(self, node: ast.expr, why: str, fix: str = "") -> UsageError:
        said = ast.get_source_segment(self.text, node) or self.text
        before = self.text.encode()[: node.col_offset].decode()  # offsets count bytes
        columns, targets = ", ".join(self.images.column_names), ", ".join(self._targets)
        every = f"columns: {columns}; targets: {targets or 'none'}"
        return UsageError(
            f"{_short(said)} {why}",
            where=f"character {len(before) + 1} of the condition",
            fix=fix or f"compare columns with values, joined by and, or, not; {every}",
        )


def _is_name(node: ast.expr) -> bool:
    """Say whether a node names a column: `column`, `target` or `label['target']`."""
    return isinstance(node, ast.Name) or (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == LABEL
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    )


def _values(images: pa.Table, labels: pa.Table, target: str) -> pa.Array:
    """Return the value of a target for every image; null where there is none."""
    rows = labels.filter(pc.equal(labels["target"], target))
    places = pc.index_in(images["image_id"], value_set=rows["image_id"].combine_chunks())
    return rows["value"].take(places).combine_chunks()


def _kind(value: object) -> str | None:
    if isinstance(value, bool):
        return _BOOLEAN
    if isinstance(value, int | float):
        return _NUMBER
    return _TEXT if isinstance(value, str) else None


def _real(value: Any) -> float:  # noqa: ANN401 - an int or a float
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _short(text: str) -> str:
    return f"`{text[:60]}{'…' * (len(text) > 60)}`"
