"""`tables/table_one.*`: who was judged; as CSV a row per fold, as LaTeX folds side by side."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medssl.artifacts import report_tables
from medssl.foundation import files

NAME = "table_one"
COLUMNS = ("variable", "category", "counted", "fold", "count", "total")


def write(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `tables/table_one.csv` and `.tex` of a report that has been composed.

    Raises:
        ResourceError: The disk is full or the folder cannot be written to.
    """
    place, table = folder / "tables", report["table_one"]
    files.write_text(place / f"{NAME}.csv", report_tables.as_csv(rows(table), COLUMNS))
    titles = {f"{n}": title for n, title in enumerate(("All", *table["folds"]))}
    heads = {"variable": "", "category": ""} | titles  # by number: a fold may have any name
    cells = (dict(zip(heads, row, strict=True)) for row in _side_by_side(table))
    tex = report_tables.as_latex(cells, tuple(heads), heads)
    files.write_text(place / f"{NAME}.tex", tex)


def rows(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row per kind and fold, first that of everybody, without a fold.

    Counts are of `counted`.

    Of an amount the `count` is its mean, or its standard deviation, and there is no total.
    """
    for row in table["rows"]:
        known = {name: row[name] for name in COLUMNS[:3]}
        yield known | {"fold": None, "count": row["count"], "total": row["total"]}
        for fold, many, whole in _by_fold(table, row):
            yield known | {"fold": fold, "count": many, "total": whole}
    yield from _of_amounts(table)


def _of_amounts(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in table["amounts"]:
        for name, title in (("mean", "mean"), ("sd", "standard deviation")):
            known = {"variable": row["column"], "category": title, "counted": "amount"}
            folds = zip(table["folds"], row[f"{name}_by_fold"], strict=True)
            for fold, value in ((None, row[name]), *folds):
                yield known | {"fold": fold, "count": value, "total": None}


def _by_fold(table: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    return zip(table["folds"], row["by_fold"], row["total_by_fold"], strict=True)


def _side_by_side(table: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the cells of a row for each kind and each amount: two words, everybody, each fold."""
    for row in table["rows"]:
        share = row["category"] != ""
        kind = row["variable"] if not share else f"{row['variable']}, {row['counted']}"
        counts = ((row["count"], row["total"]), *(pair for _, *pair in _by_fold(table, row)))
        yield [
            kind.replace("_", " "),
            row["category"],
            *(_count(many, whole, share=share) for many, whole in counts),
        ]
    for row in table["amounts"]:
        both = zip(row["mean_by_fold"], row["sd_by_fold"], strict=True)
        spreads = (_spread(mean, sd) for mean, sd in ((row["mean"], row["sd"]), *both))
        yield [row["column"], "mean (standard deviation)", *spreads]


def _count(many: int, whole: int, *, share: bool) -> str:
    return f"{many} ({100 * many / whole:.1f} %)" if share and whole else str(many)


def _spread(mean: float | None, sd: float | None) -> str:
    """Return a mean with its standard deviation, where there is one."""
    if mean is None or math.isnan(mean):
        return "--"
    return f"{mean:.1f}" + ("" if sd is None or math.isnan(sd) else f" ({sd:.1f})")
