"""Predictions of any tool: a CSV or Parquet table with `patient_id`, `label` and `score`.

Several classes have a column ``score_<class>`` each, and their name as the label; several targets,
or amounts, have a row each and a column `target`. Optional columns: `image_id`, `site`, `fold`,
`repeat`, and those that are asked for by name; others are left out. What a report shows of a table,
its sites too, are a few words of few letters. Foreign ids are replaced by the
pseudonyms an archive gives the same patients under the same key, before anything else sees them;
no message repeats what stands in a cell.
"""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.artifacts import foreign_columns, predictions, tables
from medssl.artifacts.foreign_columns import SCORE_OF, SITE, TARGET, Form
from medssl.config.subgroups import MOST_GROUPS
from medssl.config.task import Kind, Task
from medssl.foundation import numerals
from medssl.foundation.errors import DataError
from medssl.foundation.wording import counted

MOST_PROBLEMS = 5  # shown at once
MOST_WHOLE = 2**31 - 1  # of a fold or a repeat, as its column holds
LARGEST = 1e50  # number on either side of 0: its fourth power, of a correlation, can be computed
_LABELS = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}
_NO_ID = {"", "nan", "none", "null", "nat", "<na>"}  # what tools write for an absent value
_KEY = re.compile(r"[a-z2-7]{26}")  # what a pseudonym looks like
_SURPLUS = "\0surplus"  # key of cells beyond the header
_PLAIN = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer,
    pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null,
)  # fmt: skip
_NO_WORD = "a text, not a word"
_ROUNDING = 0.01  # of scores that are to add up to 1
Row = dict[str, Any]


class Pseudonyms(Protocol):
    """What names patients and images, such as the institution's key."""

    def patient(self, patient: str) -> str:
        """Return the pseudonym of a patient id."""

    def image(self, *parts: str) -> str:
        """Return the pseudonym of what the parts name together."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Foreign:
    """A table of another tool, under pseudonyms."""

    table: pa.Table  # columns as in `predictions.parquet`, all rows for testing
    task: Task
    words: Mapping[str, Mapping[str, str | None]]  # by column that was asked for, then by image id


def read(
    path: Path,
    pseudonyms: Callable[[], Pseudonyms],
    *,
    kind: Kind | None = None,
    columns: Sequence[str] = (),
) -> Foreign:
    """Return a foreign table.

    Without `image_id` a row is an image: the only one of its patient, or one of several.

    Args:
        path: CSV or Parquet.
        pseudonyms: Called once the table is known to be sound.
        kind: Of the task; None: the columns tell it, and no number is taken for an amount.
        columns: Whose words are wanted; those that are not there are left out.

    Raises:
        DataError: The file is missing or unreadable, a column is missing or there twice, columns
            of two kinds of task are mixed, a column has too many words for groups, or a cell is
            wrong; the first wrong cells are named by line and column. What stands in the file is
            never repeated: a row that slipped by one cell has a name where a label should be.
    """
    if not path.is_file():
        raise DataError("no such file", where=str(path), fix="give a CSV or Parquet table")
    is_parquet = path.suffix.lower() in {".parquet", ".pq"}
    names, rows = (_read_parquet if is_parquet else _read_csv)(path, columns)
    form = foreign_columns.form_of(names, kind, columns, path)
    parsed = _parse(rows, form, path, "row" if is_parquet else "line")
    del rows  # large, and needed no more
    for row, raw in zip(parsed, _image_names(parsed, path, named="image_id" in names), strict=True):
        row["image"] = raw
    task = _task(parsed, form, kind, path)
    _require_groups(parsed, form, path)
    return _under_pseudonyms(parsed, form, task, pseudonyms())


def _read_csv(
    path: Path, columns: Sequence[str]
) -> tuple[list[str], list[tuple[int, Mapping[str, str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey=_SURPLUS, restval="", strict=True)
            names = list(reader.fieldnames or [])
            foreign_columns.require_each_once(names, columns, path)
            return names, [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            "not a readable CSV file", where=str(path), fix="save it as UTF-8 CSV, or as Parquet"
        ) from error


def _read_parquet(
    path: Path, columns: Sequence[str]
) -> tuple[list[str], list[tuple[int, Mapping[str, str]]]]:
    try:
        with pq.ParquetFile(path) as file:
            every = file.schema_arrow.names
            foreign_columns.require_each_once(every, columns, path)
            names = [name for name in every if foreign_columns.is_read(name, columns)]
            _require_plain(file.schema_arrow, names, path)
            rows = file.read(columns=names).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            "not a readable Parquet file", where=str(path), fix="write it again, or as CSV"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            "holds text that is not UTF-8", where=str(path), fix="write its text as UTF-8"
        ) from error
    texts = [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
    return names, list(enumerate(texts, start=1))


def _require_plain(schema: pa.Schema, names: Sequence[str], path: Path) -> None:
    """Refuse columns of anything but text and numbers, such as dates and nested values."""
    for name in names:
        held = schema.field(name).type
        held = held.value_type if pa.types.is_dictionary(held) else held
        if not any(is_plain(held) for is_plain in _PLAIN):
            raise DataError(
                f"the column {foreign_columns.spoken(name)} holds neither text nor numbers",
                where=str(path),
                fix="write it as text or as numbers, or leave it out",
            )


def _parse(
    rows: Iterable[tuple[int, Mapping[str, str]]], form: Form, path: Path, word: str
) -> list[Row]:
    """Return typed rows; collect what is wrong and say it together."""
    parsed: list[Row] = []
    problems: list[tuple[int, str]] = []
    for number, row in rows:
        problems += [(number, text) for text in _problems(row, form)]
        if not problems:
            parsed.append(_typed(row, form))
    if problems:
        (first, text), *others = problems
        shown = [text, *(f"{word} {n}: {other}" for n, other in others[: MOST_PROBLEMS - 1])]
        shown += [f"and {len(problems) - MOST_PROBLEMS} more"] * (len(problems) > MOST_PROBLEMS)
        fix = "correct the cells named above"
        if any(text.endswith(_NO_WORD) for _, text in problems):
            fix += "; recode a text as words, or leave its column out"
        raise DataError("; ".join(shown), where=f"{path}:{first}", fix=fix)
    if not parsed:
        raise DataError("holds no rows", where=str(path), fix="give at least one row per patient")
    return parsed


def _problems(row: Mapping[str, str], form: Form) -> Iterator[str]:
    """Say what is wrong with a row, without repeating any cell."""
    if _SURPLUS in row:
        yield "more cells than the header has columns"
        return
    for name in (form.who, "image_id", TARGET):
        if name in row and row[name].strip().lower() in _NO_ID:
            yield f"{name}: no {'name' if name == TARGET else 'id'}"
    if form.who == "patient_key" and not _KEY.fullmatch(row[form.who].strip()):
        yield "patient_key: not a key of an archive"
    yield from _wrong_scores(row, form)
    for name in ("fold", "repeat"):
        if row.get(name, "").strip() and not _is_whole(row[name]):
            yield f"{name}: not a whole number from 0 to {MOST_WHOLE}"
    for name in (*form.words, *(name for name in (SITE, TARGET) if name in row)):
        if not foreign_columns.is_word(row[name].strip()):
            yield f"{name}: {_NO_WORD}"


def _wrong_scores(row: Mapping[str, str], form: Form) -> Iterator[str]:
    label = row["label"].strip()
    if form.classes and label not in form.classes:
        yield f"label: no class with a column {SCORE_OF}"
    elif form.kind == "regression" and _amiss(label):
        yield f"label: {_amiss(label)}"
    elif not form.classes and form.kind != "regression" and label.lower() not in _LABELS:
        yield "label: not 0 or 1"
    wrong = {name: amiss for name in form.scores if (amiss := _amiss(row[name]))}
    yield from (f"{name}: {amiss}" for name, amiss in wrong.items())
    if form.classes and not wrong:
        shares = [float(row[name]) for name in form.scores]
        if min(shares) < 0 or abs(sum(shares) - 1) > _ROUNDING:
            yield f"{SCORE_OF}: not probabilities that add up to 1"


def _typed(row: Mapping[str, str], form: Form) -> Row:
    label = row["label"].strip()
    amount = float(label) if form.kind == "regression" else _LABELS.get(label.lower(), 0.0)
    return {
        "patient": row[form.who].strip(),
        "image_id": row.get("image_id", "").strip(),
        "site": _word(row.get(SITE, "")),
        "target": row.get(TARGET, "").strip() or foreign_columns.UNNAMED,
        "labels": tuple(float(label == name) for name in form.classes) or (amount,),
        "scores": tuple(float(row[name]) for name in form.scores),
        "fold": int(float(row["fold"])) if row.get("fold", "").strip() else None,
        "repeat": int(float(row["repeat"])) if row.get("repeat", "").strip() else 0,
        "words": tuple(_word(row[name]) for name in form.words),
    }


def _word(text: str) -> str | None:
    return None if text.strip().lower() in _NO_ID else text.strip()


def _image_names(rows: Sequence[Row], path: Path, *, named: bool) -> list[tuple[str, ...]]:
    """Return what names the image of each row, whatever the order of rows.

    Without image ids the rows of one image in several repeats, or of several targets, cannot be
    told apart: a patient has one image then. Otherwise several rows are several images, and their
    content says which is which.
    """
    if named:
        return [("named", row["image_id"]) for row in rows]
    held: dict[str, list[int]] = defaultdict(list)
    for n, row in enumerate(rows):
        held[row["patient"]].append(n)
    places = Counter((row["patient"], row["repeat"], row["target"]) for row in rows)
    if max(places.values()) == 1:
        return [("patient", row["patient"]) for row in rows]
    if len({(row["repeat"], row["target"]) for row in rows}) > 1:
        raise DataError(
            "a patient has several rows in one repeat, and the images cannot be told apart",
            where=str(path),
            fix="add a column image_id",
        )
    found: list[tuple[str, ...]] = [()] * len(rows)
    for patient, members in held.items():
        for rank, n in enumerate(sorted(members, key=lambda n: repr(sorted(rows[n].items())))):
            found[n] = ("row", patient, str(rank))
    return found


def _task(rows: Sequence[Row], form: Form, kind: Kind | None, path: Path) -> Task:
    """Return what was predicted; of several targets only their number was not known before."""
    names = tuple(sorted({row["target"] for row in rows}))
    found = form.kind
    if found == "binary" and len(names) > 1:
        found = "multi_label"
    if kind not in (None, found):
        raise DataError(
            f"{counted(len(names), 'target')} of two classes each, and not {kind}",
            where=str(path),
            fix=f"--task {found}, or leave it out",
        )
    if len(names) > MOST_GROUPS:
        raise DataError(
            f"the column {TARGET} has {len(names)} different values",
            where=str(path),
            fix=f"judge at most {MOST_GROUPS} targets at once; look for rows that slipped",
        )
    two = found == "binary"
    return Task(
        kind=found,
        targets=names,
        classes=form.classes or (() if found == "regression" else ("0", "1")),
        positive="1" if two else None,
    )


def _require_groups(rows: Sequence[Row], form: Form, path: Path) -> None:
    """Refuse columns that make no groups, and images with two words in one of them."""
    held = {
        name: {(row["image"], row["words"][place]) for row in rows}
        for place, name in enumerate(form.words)
    }
    held[SITE] = {(row["image"], row["site"]) for row in rows if row["site"] is not None}
    for name, pairs in held.items():
        n_words = len({word for _, word in pairs if word is not None})
        if n_words > MOST_GROUPS:
            raise DataError(
                f"the column {name!r} has {n_words} different values, and at most {MOST_GROUPS} "
                "make groups",
                where=str(path),
                fix="recode it, or leave the column out of the table"
                if name == SITE
                else f"put them into bands, such as 40-49, or leave {name} out of --subgroups",
            )
        if len(pairs) > len({image for image, _ in pairs}):
            raise DataError(
                f"an image has two values in the column {name!r}",
                where=str(path),
                fix="write the same value in all rows of an image",
            )


def _under_pseudonyms(rows: Sequence[Row], form: Form, task: Task, key: Pseudonyms) -> Foreign:
    """Return the rows, one for each class, with pseudonyms in place of ids."""
    known = form.who == "patient_key"  # pseudonyms already
    patients = {row["patient"]: row["patient"] if known else "" for row in rows}
    for name in patients if not known else ():
        patients[name] = key.patient(name)
    images = {
        raw: raw[1] if known and raw[0] == "named" and _KEY.fullmatch(raw[1])
        else key.image("table", raw[0], *raw[1:])
        for raw in {row["image"] for row in rows}
    }  # fmt: skip
    built = [
        {
            "image_id": images[row["image"]],
            "patient_key": patients[row["patient"]],
            "site": row["site"],
            "target": f"{row['target']}={form.classes[k]}" if form.classes else row["target"],
            "label": label,
            "score": score,
            "repeat": row["repeat"],
            "fold": row["fold"],
            "part": "test",
        }
        for row in rows
        for k, (label, score) in enumerate(zip(row["labels"], row["scores"], strict=True))
    ]
    words = {
        name: {images[row["image"]]: row["words"][place] for row in rows}
        for place, name in enumerate(form.words)
    }
    return Foreign(table=tables.build(built, predictions.PREDICTIONS), task=task, words=words)


def _is_whole(text: str) -> bool:
    return numerals.is_finite(text) and 0 <= float(text) <= MOST_WHOLE and float(text).is_integer()


def _amiss(text: str) -> str:
    """Return what is wrong with a number, empty where nothing is."""
    if not numerals.is_finite(text):
        return "not a number" + ", as a decimal comma is none" * ("," in text)
    return f"beyond {LARGEST:g}" * (abs(float(text)) > LARGEST)
