"""Join a table of labels with files: by path, stem, patient, study or series.

Which column is the key, and what it holds, is found by trying: the pair that finds most rows wins.
A column is found to hold paths only where it names files, since any word may be called like a
folder; once it is the key, or where the user chose it, a row may also stand for a folder.
"""

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from medssl.foundation import plugins
from medssl.foundation.errors import DataError
from medssl.ingestion import spreadsheet

KeyKind = Literal["path", "stem", "patient", "study", "series"]
KINDS: tuple[KeyKind, ...] = ("path", "stem", "series", "study", "patient")  # most exact first
DEFAULT_TARGET = "label"
_SEPARATORS = ",;\t"
_VALUE = re.compile(r"[\d\s.,:/-]*\d[\d\s.,:/-]*")  # a number or a date is no heading


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """A label table; every row is as long as the header."""

    path: Path  # absolute
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    lines: tuple[int, ...]  # where each row stands in the file
    where: str  # what messages call it

    @property
    def headings(self) -> tuple[str, ...]:
        """The columns, for messages; none where the first line seems to be a patient's."""
        return () if any(map(_VALUE.fullmatch, self.columns)) else self.columns


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Names:
    """What a row may call a file by; empty where the file has no such name."""

    path: Path  # absolute; an image of a container lies as in a folder
    patient: str = ""
    study: str = ""
    series: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Join:
    """Which row belongs to which file."""

    kind: KeyKind
    column: str
    rows: tuple[Mapping[str, str] | None, ...]  # one per file
    unmatched: tuple[int, ...]  # numbers of the table's rows that name no file

    @property
    def n_matched(self) -> int:
        """Files that have a row."""
        return sum(row is not None for row in self.rows)


def read(path: Path, where: str = "") -> Table:
    """Return a label table: CSV (UTF-8, with or without byte order mark) or XLSX.

    In CSV, cells are separated by whichever of comma, semicolon and tab is most frequent in the
    first line.

    Args:
        path: Of the table.
        where: What messages call it; empty for its name.

    Raises:
        DataError: The file is missing, not UTF-8, has no header, or a row of another length.
        MissingExtra: It is XLSX, and openpyxl is not installed.
    """
    try:
        if path.suffix.lower() in spreadsheet.SUFFIXES:
            found = _checked(path, spreadsheet.lines(path))
        else:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                found = _checked(path, _lines(stream))
    except FileNotFoundError as error:
        raise DataError(
            "no such label table", where=str(path), fix="name a CSV or XLSX file with --labels"
        ) from error
    except OSError as error:
        raise DataError(
            "cannot read the label table", where=str(path), fix="check its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            "the label table is not UTF-8", where=str(path), fix="save it as CSV UTF-8"
        ) from error
    except csv.Error as error:
        raise DataError("not a CSV file", where=str(path), fix="save it as CSV UTF-8") from error
    return Table(path.resolve(), *found, where or path.name)


def _lines(stream: TextIO) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the cells of every line of a CSV file that has any, and where it ends."""
    separator = _separator(stream.readline())
    stream.seek(0)
    reader = csv.reader(stream, strict=True, delimiter=separator)
    for cells in reader:
        if cells or reader.line_num == 1:
            yield reader.line_num, cells


def _checked(
    path: Path, lines: Iterator[tuple[int, Sequence[str]]]
) -> tuple[tuple[str, ...], tuple[Mapping[str, str], ...], tuple[int, ...]]:
    """Return the columns, the rows and where each of them stands."""
    columns = tuple(name.strip() for name in next(lines, (0, ()))[1])
    _check_columns(path, columns)
    rows, numbers = [], []
    for number, cells in lines:
        _check_length(path, number, len(cells), len(columns))
        rows.append(dict(zip(columns, map(str.strip, cells), strict=True)))
        numbers.append(number)
    return columns, tuple(rows), tuple(numbers)


def _separator(first_line: str) -> str:
    return max(_SEPARATORS, key=first_line.count)


def targets(table: Table, wanted: Sequence[str], *, required: bool) -> tuple[str, ...]:
    """Return the label columns: those wanted, else `label`.

    Args:
        table: The label table.
        wanted: Columns the user named; may be empty.
        required: Whether a table without `label` is an error when none is named.

    Raises:
        DataError: A column does not exist.
    """
    if not wanted and DEFAULT_TARGET not in table.columns and not required:
        return ()
    names = tuple(wanted) or (DEFAULT_TARGET,)
    for name in names:
        require_column(table, name)
    return names


def require_column(table: Table, name: str) -> None:
    """Check that the table has a column.

    Raises:
        DataError: It has not; the message suggests one.
    """
    if name not in table.columns:
        raise DataError(
            f"no column {name!r}",
            where=table.where,
            fix=plugins.suggest(name, list(table.headings))
            if table.headings
            else "the first line of the table must name its columns",
        )


def join(
    table: Table,
    files: Sequence[Names],
    *,
    kind: KeyKind | None,
    column: str | None,
    targets: Sequence[str],
) -> Join | None:
    """Return the row of each file; None where no row names any of the files.

    Of several rows for one file those cells count in which the rows agree.

    Args:
        table: The label table.
        files: What the files are called.
        kind: What the key column holds; None to try all.
        column: The key column; None to try all.
        targets: Label columns, in which several rows for one file must agree. They are no key
            unless ``column`` says so.

    Raises:
        DataError: The column does not exist, or two rows for one file disagree about a label.
    """
    if column is not None:
        require_column(table, column)
    kinds = KINDS if kind is None else (kind,)
    labels = set(targets)
    columns = (column,) if column else [name for name in table.columns if name not in labels]
    best: tuple[int, KeyKind, str, list[str | None]] | None = None
    is_chosen = kind is not None or column is not None
    for each_kind in kinds:
        known = [_candidates(table, each_kind, file, folders=is_chosen) for file in files]
        for each_column in columns:
            keys = {_key(table, each_kind, row[each_column]) for row in table.rows} - {""}
            found = [next((name for name in names if name in keys), None) for names in known]
            n_found = len(set(found) - {None})
            if n_found > (best[0] if best else 0):
                best = (n_found, each_kind, each_column, found)
        if best and best[0] == len(table.rows):  # no other pair can find more
            break
    if best is None:
        return None
    _, best_kind, best_column, found = best
    if not is_chosen and best_kind == "path":
        return join(table, files, kind=best_kind, column=best_column, targets=targets)
    return _joined(table, best_kind, best_column, found, targets)


def no_match(table: Table) -> DataError:
    """Return the error for a table that names none of the files."""
    return DataError(
        "no row of the table names any of the files",
        where=table.where,
        fix="give the key column with --key-column and what it holds with --key "
        f"({', '.join(KINDS)}); columns: {', '.join(table.headings)}",
    )


def _joined(
    table: Table,
    kind: KeyKind,
    column: str,
    found: Sequence[str | None],
    targets: Sequence[str],
) -> Join:
    by_key: dict[str, list[int]] = {}
    for number, row in enumerate(table.rows):
        by_key.setdefault(_key(table, kind, row[column]), []).append(number)
    by_key.pop("", None)
    used = {key for key in found if key is not None}
    merged = {key: _merged(table, by_key[key], targets) for key in by_key if key in used}
    matched = {number for key in used for number in by_key[key]}
    return Join(
        kind=kind,
        column=column,
        rows=tuple(None if key is None else merged[key] for key in found),
        unmatched=tuple(n for n in range(len(table.rows)) if n not in matched),
    )


def _merged(table: Table, numbers: Sequence[int], targets: Iterable[str]) -> Mapping[str, str]:
    first = table.rows[numbers[0]]
    if len(numbers) == 1:
        return first
    agreed = {
        name: cell if all(table.rows[n][name] == cell for n in numbers) else ""
        for name, cell in first.items()
    }
    for name in targets:
        other = next((n for n in numbers if table.rows[n][name] != first[name]), None)
        if other is not None:
            raise DataError(
                f"lines {table.lines[numbers[0]]} and {table.lines[other]} name the same files "
                f"but disagree about {name!r}",
                where=table.where,
                fix="choose a key that tells them apart, for example --key path",
            )
    return agreed


def _candidates(table: Table, kind: KeyKind, file: Names, *, folders: bool) -> list[str]:
    """Return what a row may call the file, best first; with ``folders`` also those that hold it."""
    if kind == "path":
        inside = f"{table.path.parent}{os.sep}"
        paths = [str(file.path)]
        while folders and (above := paths[-1].rpartition(os.sep)[0]).startswith(inside):
            paths.append(above)
        return paths
    if kind == "stem":
        return [file.path.name, _stem(file.path.name)]
    name = {"patient": file.patient, "study": file.study, "series": file.series}[kind]
    return [name] if name else []


def _key(table: Table, kind: KeyKind, cell: str) -> str:
    if not cell or kind != "path":
        return cell
    return os.path.normpath(os.path.join(table.path.parent, cell))  # noqa: PTH118 - a million times


def _stem(name: str) -> str:
    """Return a file name without its suffix; digits are none, as in a file called by its UID."""
    stem, _, suffix = name.removesuffix(".gz").rpartition(".")
    return name if suffix.isdigit() else stem or name


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if not any(columns):
        raise DataError(
            "the label table has no header line",
            where=str(path),
            fix="name its columns in the first line",
        )
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise DataError(
            f"two columns are called {twice[0]!r}", where=str(path), fix="rename one of them"
        )


def _check_length(path: Path, line: int, n_cells: int, n_columns: int) -> None:
    if n_cells != n_columns:
        many = "more" if n_cells > n_columns else "fewer"
        raise DataError(
            f"the row has {many} cells than the header has columns",
            where=f"{path}:{line}",
            fix="quote cells that hold a comma",
        )
