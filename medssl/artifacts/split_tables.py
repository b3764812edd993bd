"""Folds made elsewhere: a CSV table with `patient_id` or `patient_key`, `fold`, perhaps `repeat`.

Several rows of a patient, one per image as a rule, must agree. A patient without a fold, or with
the fold `train`, is trained on and never tested; `test` stands for the one fold there is then.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.foundation.errors import DataError

IDS = ("patient_id", "patient_key")  # as a hospital calls them, or as an archive does
MOST_PROBLEMS = 5  # shown at once
_SEPARATORS = ",;\t"  # of which a spreadsheet writes one or the other
_WORDS = ("train", "test")


@dataclass(frozen=True, kw_only=True, repr=False)
class Row:
    """One row; who it is about shows in no traceback."""

    line: int
    patient: str  # an id or a key
    repeat: int
    fold: int | None  # None: never tested


@dataclass(frozen=True, kw_only=True, repr=False)
class SplitTable:
    """A table of folds."""

    keyed: bool  # whether patients go by the keys of an archive, not by ids
    rows: tuple[Row, ...]


def read(path: Path) -> SplitTable:
    """Return the table.

    Raises:
        DataError: The file is missing or no CSV, a column is missing or there twice, or a cell is
            wrong; the first wrong cells are named by line and column. What stands in them is never
            repeated: it could be a name.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            separator = max(_SEPARATORS, key=first.count)
            reader = csv.reader(stream, strict=True, delimiter=separator)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except FileNotFoundError as error:
        raise DataError(
            "no such file", where=str(path), fix="give a splits.json, its run, or a CSV table"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            "not a readable CSV file", where=str(path), fix="save it as UTF-8 CSV"
        ) from error
    names = lines[0][1] if lines else []
    who = _require_columns(names, path)
    rows = _parse(names, who, [(n, cells) for n, cells in lines[1:] if any(cells)], path)
    return SplitTable(keyed=who == "patient_key", rows=rows)


def _require_columns(names: Sequence[str], path: Path) -> str:
    """Return the column that says which patient a row is about."""
    counts = Counter(names)
    found = [name for name in IDS if counts[name]]
    wrong = ["has both patient_id and patient_key"] * (len(found) > 1)
    wrong += ["lacks a column patient_id or patient_key"] * (not found)
    wrong += ["lacks the column 'fold'"] * (not counts["fold"])
    wrong += [f"has {counts[n]} columns {n!r}" for n in (*IDS, "fold", "repeat") if counts[n] > 1]
    if wrong:
        raise DataError(
            wrong[0],
            where=str(path),
            fix="name the columns patient_id (or patient_key), fold and, where there are several, "
            "repeat",
        )
    return found[0]


def _parse(
    names: Sequence[str], who: str, lines: Sequence[tuple[int, Sequence[str]]], path: Path
) -> tuple[Row, ...]:
    """Return typed rows; collect what is wrong and say it together."""
    rows: list[Row] = []
    problems: list[str] = []
    for number, cells in lines:
        found = dict(zip(names, cells, strict=False))
        wrong = (
            list(_problems(found, who))
            if len(cells) == len(names)
            else ["not as long as the header"]
        )
        problems += [f"line {number}: {text}" for text in wrong]
        if not problems:
            rows.append(
                Row(
                    line=number,
                    patient=found[who],
                    repeat=int(found.get("repeat") or 0),
                    fold=_fold(found["fold"]),
                )
            )
    if problems:
        shown = problems[:MOST_PROBLEMS]
        shown += [f"and {len(problems) - MOST_PROBLEMS} more"] * (len(problems) > MOST_PROBLEMS)
        raise DataError("; ".join(shown), where=str(path), fix="correct these cells")
    _require_a_test(rows, lines, names, path)
    return tuple(rows)


def _problems(row: Mapping[str, str], who: str) -> Iterator[str]:
    """Say what is wrong with a row, without repeating any cell."""
    if not row[who]:
        yield f"{who}: empty"
    if row["fold"] and row["fold"].lower() not in _WORDS and not row["fold"].isdecimal():
        yield "fold: not a whole number from 0, nor train or test"
    if row.get("repeat") and not row["repeat"].isdecimal():
        yield "repeat: not a whole number from 0"


def _fold(text: str) -> int | None:
    if text.lower() in ("", "train"):
        return None
    return 0 if text.lower() == "test" else int(text)


def _require_a_test(
    rows: Sequence[Row],
    lines: Sequence[tuple[int, Sequence[str]]],
    names: Sequence[str],
    path: Path,
) -> None:
    if all(row.fold is None for row in rows):
        raise DataError(
            "nobody has a fold to be tested in",
            where=str(path),
            fix="number the folds in the column fold, or write test",
        )
    at = names.index("fold")
    words = {cells[at].lower() for _, cells in lines} - {""}
    if words & set(_WORDS) and not words <= set(_WORDS):
        raise DataError(
            "the column fold has both numbers and the words train or test",
            where=str(path),
            fix="leave the cell empty for patients who are never tested",
        )
