"""`probable_alias.csv`: patients who are probably one person under two ids.

It is a table for a person to look at and to edit, hence CSV: rows that are no aliases are deleted,
or their kind is changed. It holds pseudonyms and numbers only, never a text of a file.
"""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from medssl.artifacts import run_folder
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError, DataError

NAME = "probable_alias.csv"
ALIAS, SHARED = "alias", "shared"
KINDS = (ALIAS, SHARED)
MOST_PROBLEMS = 5  # shown at once
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # begins no formula of a spreadsheet
_SEPARATORS = ",;\t"  # of which a spreadsheet writes one or the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """Two patients who share an image."""

    patient_key: str
    other_patient_key: str
    n_pairs: int  # pairs of images that look the same
    similarity: float  # of the most similar pair, 0 to 1
    metric: str  # strategy that measured it
    image_id: str  # of that pair, one of the first patient
    other_image_id: str
    kind: str  # alias, or shared: many patients share these images, a phantom perhaps


COLUMNS = tuple(field.name for field in fields(Alias))
_TEXTS = tuple(name for name in COLUMNS if name not in {"n_pairs", "similarity", "kind"})


def write(folder: Path, aliases: Iterable[Alias]) -> None:
    """Write the table of a reduce run: aliases first, then by similarity, the highest first."""
    rows = sorted(aliases, key=lambda row: (KINDS.index(row.kind), -row.similarity, _keys(row)))
    for row in rows:  # pseudonyms are made of letters and digits
        assert all(_NAME.fullmatch(getattr(row, name)) for name in _TEXTS)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, name) for name in COLUMNS] for row in rows)
    files.write_text(folder / NAME, stream.getvalue())


def path_of(given: Path) -> Path:
    """Return the table that a user means: the file itself, or that of a reduce run.

    Raises:
        ArtifactError: There is no such file, no such run, or one that looked for no aliases.
    """
    if given.is_dir():
        run_folder.require_finished(given, "reduce")
        if not (given / NAME).is_file():
            raise ArtifactError(
                "the run looked for no aliases",
                where=str(given),
                fix="run `medssl reduce` with --aliases",
            )
        return given / NAME
    if not given.is_file():
        raise ArtifactError(
            "no such file", where=str(given), fix=f"give a folder of `medssl reduce`, or a {NAME}"
        )
    return given


def read(path: Path) -> tuple[Alias, ...]:
    """Return the table, also as a spreadsheet saved it: with semicolons, tabs or decimal commas.

    Raises:
        DataError: It is not such a table; the first wrong cells are named by line and column.
            What stands in them is never repeated: it could be a name.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            separator = max(_SEPARATORS, key=first.count)
            reader = csv.reader(stream, strict=True, delimiter=separator)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            "not a readable CSV file", where=str(path), fix="save it as UTF-8 CSV"
        ) from error
    names = lines[0][1] if lines else []
    _require_columns(names, path)
    return _parse(names, [(number, cells) for number, cells in lines[1:] if any(cells)], path)


def groups(aliases: Iterable[Alias], kinds: Collection[str] = (ALIAS,)) -> Mapping[str, str]:
    """Return for every patient named the smallest key of all that are the same person.

    Being the same person carries over, so these are connected components. That is right for
    identities; it is not for images that look alike, see `thinning/leader.py`.

    Args:
        aliases: Pairs of patients.
        kinds: Which of them are one person.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    for row in aliases:
        if row.kind in kinds:
            low, high = sorted((root(row.patient_key), root(row.other_patient_key)))
            parent[high] = low
    return {key: root(key) for key in sorted(parent)}


def _keys(row: Alias) -> tuple[str, str]:
    return row.patient_key, row.other_patient_key


def _require_columns(names: Sequence[str], path: Path) -> None:
    counts = Counter(names)
    wrong = [f"lacks the column {name!r}" for name in COLUMNS if not counts[name]]
    wrong += [f"has {counts[name]} columns {name!r}" for name in COLUMNS if counts[name] > 1]
    if wrong:
        raise DataError(
            wrong[0],
            where=str(path),
            fix=f"its first line must be {','.join(COLUMNS)}; delete rows, not columns",
        )


def _parse(
    names: Sequence[str], lines: Iterable[tuple[int, Sequence[str]]], path: Path
) -> tuple[Alias, ...]:
    """Return typed rows; collect what is wrong and say it together."""
    rows: list[Alias] = []
    problems: list[str] = []
    for number, cells in lines:
        found = dict(zip(names, cells, strict=False))
        wrong = (
            list(_problems(found)) if len(cells) == len(names) else ["not as long as the header"]
        )
        problems += [f"line {number}: {text}" for text in wrong]
        if not problems:
            rows.append(_typed(found))
    if problems:
        shown = problems[:MOST_PROBLEMS]
        shown += [f"and {len(problems) - MOST_PROBLEMS} more"] * (len(problems) > MOST_PROBLEMS)
        raise DataError("; ".join(shown), where=str(path), fix="correct or delete these rows")
    return tuple(rows)


def _problems(row: Mapping[str, str]) -> Iterator[str]:
    """Say what is wrong with a row, without repeating any cell."""
    for name in _TEXTS:
        if not _NAME.fullmatch(row[name]):
            yield f"{name}: not a key or a name that medssl writes"
    if row["patient_key"] == row["other_patient_key"]:
        yield "the same patient twice"
    if row["kind"] not in KINDS:
        yield f"kind: not {' or '.join(KINDS)}"
    if not row["n_pairs"].isdecimal():
        yield "n_pairs: not a whole number"
    if not 0 <= _number(row["similarity"]) <= 1:
        yield "similarity: not a number from 0 to 1"


def _typed(row: Mapping[str, str]) -> Alias:
    values: dict[str, Any] = {name: row[name] for name in (*_TEXTS, "kind")}
    return Alias(**values, n_pairs=int(row["n_pairs"]), similarity=_number(row["similarity"]))


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan
