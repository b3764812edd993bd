"""Predictions of any tool: a CSV or Parquet table with `patient_id`, `label` and `score`.

Optional columns: `image_id`, `site`, `fold`, `repeat`; others are left out. Foreign ids are
replaced by running numbers on reading. The numbers follow the sorted order of the ids, so that
results do not depend on the order of rows; they serve the computation and are not written.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.artifacts import predictions, tables
from medssl.foundation.errors import DataError

REQUIRED = ("patient_id", "label", "score")
OPTIONAL = ("image_id", "site", "fold", "repeat")
TARGET = "label"
MOST_PROBLEMS = 5  # shown at once
_LABELS = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}
_NO_ID = {"", "nan", "none", "null", "nat", "<na>"}  # what tools write for an absent value
_SURPLUS = "\0surplus"  # key of cells beyond the header


def read(path: Path) -> pa.Table:
    """Return a foreign table with the columns of `predictions.parquet`, all rows for testing.

    A missing `image_id` makes every row an image of its own.

    Raises:
        DataError: The file is missing or unreadable, a column is missing or there twice, or a cell
            is wrong; the first wrong cells are named by line and column. What stands in the file
            is never repeated: a row that slipped by one cell has a name where a label should be.
    """
    if not path.is_file():
        raise DataError("no such file", where=str(path), fix="give a CSV or Parquet table")
    is_parquet = path.suffix.lower() in {".parquet", ".pq"}
    names, rows = _read_parquet(path) if is_parquet else _read_csv(path)
    parsed = _parse(rows, path, "row" if is_parquet else "line")
    if "image_id" not in names:
        _require_one_row_each(parsed, path)
    return _numbered(parsed)


def _require_columns(names: Sequence[str], path: Path) -> None:
    counts = Counter(names)
    wrong = [f"lacks the column {name!r}" for name in REQUIRED if not counts[name]]
    wrong += [f"has {counts[n]} columns {n!r}" for n in (*REQUIRED, *OPTIONAL) if counts[n] > 1]
    if wrong:
        raise DataError(
            wrong[0],
            where=str(path),
            fix=f"name the columns {', '.join(REQUIRED)} (optional: {', '.join(OPTIONAL)}), "
            "each once",
        )


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, Mapping[str, str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey=_SURPLUS, restval="", strict=True)
            names = list(reader.fieldnames or [])
            _require_columns(names, path)
            return names, [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            "not a readable CSV file", where=str(path), fix="save it as UTF-8 CSV, or as Parquet"
        ) from error


def _read_parquet(path: Path) -> tuple[list[str], list[tuple[int, Mapping[str, str]]]]:
    try:
        with pq.ParquetFile(path) as file:
            _require_columns(file.schema_arrow.names, path)
            names = [name for name in file.schema_arrow.names if name in {*REQUIRED, *OPTIONAL}]
            rows = file.read(columns=names).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            "not a readable Parquet file", where=str(path), fix="write it again, or as CSV"
        ) from error
    texts = [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
    return names, list(enumerate(texts, start=1))


def _parse(
    rows: Iterable[tuple[int, Mapping[str, str]]], path: Path, word: str
) -> list[dict[str, object]]:
    """Return typed rows; collect what is wrong and say it together."""
    parsed: list[dict[str, object]] = []
    problems: list[tuple[int, str]] = []
    for number, row in rows:
        problems += [(number, text) for text in _problems(row)]
        if not problems:
            parsed.append(_typed(row, number))
    if problems:
        (first, text), *others = problems
        shown = [text, *(f"{word} {n}: {other}" for n, other in others[: MOST_PROBLEMS - 1])]
        shown += [f"and {len(problems) - MOST_PROBLEMS} more"] * (len(problems) > MOST_PROBLEMS)
        raise DataError(
            "; ".join(shown), where=f"{path}:{first}", fix="correct the cells named above"
        )
    if not parsed:
        raise DataError("holds no rows", where=str(path), fix="give at least one row per patient")
    return parsed


def _problems(row: Mapping[str, str]) -> Iterator[str]:
    """Say what is wrong with a row, without repeating any cell."""
    if _SURPLUS in row:
        yield "more cells than the header has columns"
        return
    for name in ("patient_id", "image_id"):
        if name in row and row[name].strip().lower() in _NO_ID:
            yield f"{name}: no id"
    if row["label"].strip().lower() not in _LABELS:
        yield "label: not 0 or 1"
    if not _is_finite(row["score"]):
        yield "score: not a number"
    for name in ("fold", "repeat"):
        if row.get(name, "").strip() and not _is_whole(row[name]):
            yield f"{name}: not a whole number from 0"


def _typed(row: Mapping[str, str], number: int) -> dict[str, object]:
    return {
        "patient_id": row["patient_id"].strip(),
        "image_id": row.get("image_id", "").strip() or f"\0{number}",
        "site": row.get("site", "").strip() or None,
        "label": _LABELS[row["label"].strip().lower()],
        "score": float(row["score"]),
        "fold": int(float(row["fold"])) if row.get("fold", "").strip() else None,
        "repeat": int(float(row["repeat"])) if row.get("repeat", "").strip() else 0,
    }


def _require_one_row_each(rows: list[dict[str, object]], path: Path) -> None:
    """Without image ids the rows of one image in several repeats cannot be told apart.

    Several rows of a patient are then several images, which only works within one repeat, or one
    row per patient and repeat, which makes the patient the image.
    """
    if len({row["repeat"] for row in rows}) == 1:
        return
    if len({(row["patient_id"], row["repeat"]) for row in rows}) < len(rows):
        raise DataError(
            "a patient has several rows in one repeat, and the images cannot be told apart",
            where=str(path),
            fix="add a column image_id",
        )
    for row in rows:
        row["image_id"] = row["patient_id"]


def _numbered(rows: list[dict[str, object]]) -> pa.Table:
    patients = _ranks("p", {str(row["patient_id"]) for row in rows})
    images = _ranks("i", {str(row["image_id"]) for row in rows})
    return tables.build(
        [
            {
                **row,
                "patient_key": patients[str(row["patient_id"])],
                "image_id": images[str(row["image_id"])],
                "target": TARGET,
                "part": "test",
            }
            for row in rows
        ],
        predictions.PREDICTIONS,
    )


def _ranks(letter: str, ids: set[str]) -> dict[str, str]:
    return {name: f"{letter}{rank:09d}" for rank, name in enumerate(sorted(ids))}


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_whole(text: str) -> bool:
    return _is_finite(text) and float(text) >= 0 and float(text).is_integer()
