"""What the columns of a table of another tool say about its task.

Messages name the columns that are read and those a person asked for, and no other: a table without
a header has a patient where a column should be.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.config.task import Kind
from medssl.foundation.errors import DataError

REQUIRED = ("patient_id", "label", "score")
OPTIONAL = ("image_id", "site", "fold", "repeat", "target")
WHO = ("patient_id", "patient_key")  # as a hospital calls its patients, or as an archive does
TARGET = "target"
SITE = "site"  # read and shown in a report whether or not it makes groups
MOST_LETTERS = 40  # of a word that a report shows; beyond it there is a text
SCORE_OF = "score_<class>"  # one column for each of several classes
UNNAMED = "label"  # what the target is called where no column says it
_PREFIX = "score_"
_FEWEST_CLASSES = 3  # that have a score each


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the rows of a table are read."""

    who: str  # of `WHO`
    kind: Kind  # binary where it may also be several targets of two classes
    classes: tuple[str, ...]  # that have a score each, sorted, or ascending where they are ordered
    scores: tuple[str, ...]  # columns, in the order of the classes
    words: tuple[str, ...]  # columns that were asked for and are there


def is_read(name: str, columns: Sequence[str]) -> bool:
    """Say whether a column is read at all; ``columns`` are asked for by name."""
    return name in (*WHO, *REQUIRED, *OPTIONAL, *columns) or name.startswith(_PREFIX)


def require_each_once(names: Sequence[str], columns: Sequence[str], path: Path) -> None:
    """Refuse a table that lacks a needed column, or has one that is read twice.

    Raises:
        DataError: Which one, and how to name them.
    """
    _require_commas(names, path)
    counts = Counter(names)
    near = {name.strip().lower() for name in names}
    has_classes = any(name.startswith(_PREFIX) for name in names)
    needed = [name for name in REQUIRED if not (name == "score" and has_classes)]
    if counts["patient_key"]:
        needed.remove("patient_id")
    wrong = [
        f"lacks the column {name!r}" + ", but has it with a space or in capitals" * (name in near)
        for name in needed
        if not counts[name]
    ]
    wrong += ["has both patient_id and patient_key"] * all(counts[name] for name in WHO)
    once = dict.fromkeys((*WHO, *REQUIRED, *OPTIONAL, *columns))
    wrong += [f"has {counts[name]} columns {name!r}" for name in once if counts[name] > 1]
    twice = sum(n > 1 for name, n in counts.items() if name.startswith(_PREFIX))
    wrong += [f"has {twice} columns {SCORE_OF} twice"] * bool(twice)
    if wrong:
        raise DataError(
            wrong[0],
            where=str(path),
            fix=f"name the columns {', '.join(REQUIRED)} (optional: {', '.join(OPTIONAL)}), "
            "each once",
        )


def is_word(text: str) -> bool:
    """Say whether a text may stand in a report."""
    return len(text) <= MOST_LETTERS and text.isprintable()


def spoken(name: str) -> str:
    """Return what a column that is read is called in messages; a class may be a slipped cell."""
    return SCORE_OF if name.startswith(_PREFIX) else repr(name)


def _require_commas(names: Sequence[str], path: Path) -> None:
    if len(names) == 1 and any(sign in names[0] for sign in ";\t|"):
        raise DataError(
            "its columns are not separated by commas",
            where=str(path),
            fix="save it with commas between columns and points in decimals, or as Parquet",
        )


def form_of(names: Sequence[str], kind: Kind | None, columns: Sequence[str], path: Path) -> Form:
    """Return how a table with these columns is read.

    Args:
        names: All columns, each once.
        kind: Of the task; None: the columns say it.
        columns: Asked for by name.
        path: Of the table.

    Raises:
        DataError: The columns are of two kinds of task, or of another one than asked for.
    """
    classes = tuple(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))
    found: Kind = "binary"
    if classes:
        found = "ordinal" if kind == "ordinal" else "multi_class"
        _require_classes(classes, names, path)
    elif kind == "regression":
        found = "regression"
    fitting = {found} | ({"multi_label"} if found == "binary" and TARGET in names else set())
    if kind is not None and kind not in fitting:
        needs = {"multi_label": f"a column {TARGET}", "multi_class": f"columns {SCORE_OF}",
                 "ordinal": f"columns {SCORE_OF}, the lowest class first"}  # fmt: skip
        raise DataError(
            f"the columns are not those of the task {kind}",
            where=str(path),
            fix=f"it needs {needs.get(kind, 'one column score')}",
        )
    if found == "multi_class":
        classes = tuple(sorted(classes))
    return Form(
        who="patient_key" if "patient_key" in names else "patient_id",
        kind=found,
        classes=classes,
        scores=tuple(f"{_PREFIX}{name}" for name in classes) or ("score",),
        words=tuple(name for name in columns if name in names),
    )


def _require_classes(classes: Sequence[str], names: Sequence[str], path: Path) -> None:
    problem = ""
    if "score" in names:
        problem = f"has a column score and columns {SCORE_OF}: two classes, or several"
    elif TARGET in names:
        problem = (
            f"has a column {TARGET} and columns {SCORE_OF}: several targets, or classes of one"
        )
    elif len(classes) < _FEWEST_CLASSES:
        problem = f"has {len(classes)} columns {SCORE_OF}"
    elif not all(name.strip() for name in classes):
        problem = f"has a column {SCORE_OF} without a class"
    elif not all(name == name.strip() and is_word(name) for name in classes):
        problem = f"has a column {SCORE_OF} with a space at an end, or a text in place of a class"
    if problem:
        raise DataError(
            problem,
            where=str(path),
            fix="of two classes give one column score, of the positive one, and labels 0 and 1; "
            f"of {_FEWEST_CLASSES} or more only columns {SCORE_OF}",
        )
