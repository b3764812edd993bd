"""The tables of a report as CSV, for other programs, and as LaTeX, for a paper.

CSV holds every number in full; LaTeX is a `tabular` without packages, with three digits.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medssl.foundation import files

ESTIMATES = (
    "metric", "title", "column", "threshold", "value", "low", "high", "interval", "no_skill",
    "ideal", "n_patients", "n_units", "n_events",
)  # fmt: skip
FOLDS = ("column", "repeat", "fold", "n_units", "n_events", "auroc")
OPERATING_POINTS = (
    "column", "threshold", "true_positives", "false_negatives", "false_positives",
    "true_negatives", "metric", "prevalence", "value", "low", "high", "interval",
)  # fmt: skip
SUBGROUPS = (
    "attribute", "column", "group", "n_patients", "n_units", "n_events", "patients_with",
    "patients_without", "metric", "title", "calls", "value", "low", "high", "interval", "undefined",
    "not_assessed",
)  # fmt: skip
SUBGROUP_GAPS = (
    "attribute", "column", "metric", "title", "worst", "best", "n_groups", "value", "low", "high",
    "interval",
)  # fmt: skip
NAMES = ("estimates", "folds", "operating_points", "subgroups", "subgroup_gaps")

_HEADS = {
    "title": "Metric", "metric": "Metric", "column": "Target", "threshold": "Threshold",
    "value": "Estimate", "interval": "Interval", "n_patients": "Patients", "n_units": "Units",
    "n_events": "Positive", "repeat": "Repeat", "fold": "Fold", "auroc": "AUROC",
    "prevalence": "Prevalence", "compared": "No skill or ideal", "true_positives": "TP",
    "false_negatives": "FN", "false_positives": "FP", "true_negatives": "TN", "attribute": "By",
    "group": "Group", "calls": "Calls at", "not_assessed": "Not assessed", "worst": "Worst group",
    "best": "Best group", "n_groups": "Groups",
}  # fmt: skip
_SHOWN = {  # columns of the LaTeX tables; `low to high` stands for two
    "estimates": (
        "title", "column", "threshold", "value", "low to high", "compared", "n_patients",
        "n_units", "n_events",
    ),
    "folds": FOLDS,
    "operating_points": (
        "column", "threshold", "true_positives", "false_negatives", "false_positives",
        "true_negatives", "metric", "prevalence", "value", "low to high",
    ),
    "subgroups": (
        "attribute", "column", "group", "n_patients", "n_units", "n_events", "title", "calls",
        "value", "low to high", "not_assessed",
    ),
    "subgroup_gaps": (
        "attribute", "column", "title", "worst", "best", "n_groups", "value", "low to high",
    ),
}  # fmt: skip
_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}",
    "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "–": "--", "\N{MINUS SIGN}": "$-$",
    "[": "{[}", "]": "{]}",  # after a line break LaTeX would take a bracket for a length
    "*": "{*}",  # and a star for a break that keeps lines on one page
}  # fmt: skip
_WORDS = (
    "title", "column", "metric", "attribute", "group", "calls", "not_assessed", "worst", "best",
    "variable", "category",
)  # fmt: skip
_FORMULA = re.compile(r"\s*[=+\-@]")


def write(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `tables/*.csv` and `tables/*.tex` of a report that has been composed.

    Raises:
        ResourceError: The disk is full or the folder cannot be written to.
    """
    place = folder / "tables"
    place.mkdir(exist_ok=True)
    for name in NAMES:
        rows, columns = _table(name, report)
        files.write_text(place / f"{name}.csv", as_csv(rows, columns))
        files.write_text(place / f"{name}.tex", as_latex(rows, _SHOWN[name]))


def operating_points(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row per column, metric and prevalence; counts are units called so.

    `prevalence` is null where a value is that of the cohort, `threshold` where the calls are by
    thresholds chosen on inner parts.
    """
    for point in report["operating_points"]:
        counts = {name: point[name] for name in OPERATING_POINTS[:6]}
        for row in report["estimates"]:
            if (row["column"], row["threshold"]) == (point["column"], point["threshold"]):
                yield counts | {name: row.get(name) for name in OPERATING_POINTS[6:]}
        for row in point["predictive"]:
            yield counts | {name: row.get(name) for name in OPERATING_POINTS[6:]}
    chosen = report.get("chosen_thresholds")
    if chosen:
        counts = {name: chosen.get(name) for name in OPERATING_POINTS[:6]}
        counts["column"] = report["columns"][0]  # thresholds are chosen for two classes
        for row in (*chosen["shares"], *chosen["predictive"]):
            yield counts | {name: row.get(name) for name in OPERATING_POINTS[6:]}


def subgroups(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row per group and metric; one with the reason where nothing was assessed.

    `calls` says by which thresholds a sensitivity or specificity is: threshold, that of the report,
    or chosen_thresholds, those of each model.
    """
    for one in report["subgroups"]:
        if one["reason"]:
            yield {"attribute": one["attribute"], "not_assessed": one["reason"]}
        for group in one["groups"]:
            counts = {name: group.get(name) for name in SUBGROUPS if name in group}
            of = {"attribute": one["attribute"], "group": group["name"], **counts}
            if group["too_few"]:
                yield of | {"not_assessed": too_few(group)}
            for value in group["values"]:
                called = value["metric"] in ("sensitivity", "specificity")
                yield of | value | {"calls": one["calls"] if called else None}


def subgroup_gaps(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row per attribute, column and metric that two groups or more have."""
    for one in report["subgroups"]:
        for gap in one["gaps"]:
            yield {"attribute": one["attribute"], **gap}


def too_few(group: Mapping[str, Any]) -> str:
    """Return why a group is counted and not judged.

    >>> too_few({"patients_with": 1, "patients_without": 24})
    'too few patients: 1 positive, 24 negative'
    """
    counts = f"{group['patients_with']} positive, {group['patients_without']} negative"
    return f"too few patients: {counts}"


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    r"""Return rows as CSV with full precision, empty where there is no value.

    A text that a spreadsheet would take for a formula is led by an apostrophe.

    >>> as_csv([{"a": 0.1 + 0.2, "b": None, "c": "=1+1"}], ("a", "b", "c"))
    "a,b,c\n0.30000000000000004,,'=1+1\n"
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return stream.getvalue()


def as_latex(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    heads: Mapping[str, str] = _HEADS,
) -> str:
    """Return rows as a LaTeX `tabular` that needs no package."""
    drawn = [" & ".join(_shown(row, name) for name in columns) + r" \\" for row in rows]
    sides = "".join("l" if name in _WORDS else "r" for name in columns)
    above = " & ".join(escape(heads.get(name, "Low to high")) for name in columns) + r" \\"
    lines = [rf"\begin{{tabular}}{{{sides}}}", r"\hline", above, r"\hline"]
    return "\n".join([*lines, *drawn, r"\hline", r"\end{tabular}", ""])


def escape(text: str) -> str:
    r"""Return text as LaTeX sets it, without one sign that LaTeX acts on.

    >>> print(escape("50_% & \\up"))
    50\_\% \& \textbackslash{}up
    """
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    return "".join(_ESCAPES.get(sign, sign) for sign in plain)


def _table(name: str, report: Mapping[str, Any]) -> tuple[list[Any], tuple[str, ...]]:
    if name == "estimates":
        return list(report["estimates"]), ESTIMATES
    if name == "folds":
        return list(report["folds"]["rows"]), FOLDS
    if name == "subgroups":
        return list(subgroups(report)), SUBGROUPS
    if name == "subgroup_gaps":
        return list(subgroup_gaps(report)), SUBGROUP_GAPS
    return list(operating_points(report)), OPERATING_POINTS


def _cell(value: Any) -> Any:  # noqa: ANN401 - a cell holds text or a number
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _shown(row: Mapping[str, Any], name: str) -> str:
    if name == "low to high":
        low, high = _shown(row, "low"), _shown(row, "high")
        return f"{low} to {high}" if row.get("low") is not None else "--"
    value = row.get(name)
    if name == "compared":
        value = row["no_skill"] if row["ideal"] is None else row["ideal"]
    if isinstance(value, str):
        return escape(value)
    if value is None or not math.isfinite(value):
        return "--"
    if isinstance(value, int):
        return str(value)
    digits = f"{value:g}" if name in ("threshold", "prevalence") else f"{value:.3f}"
    return digits.replace("-", "$-$")
