"""What the flow of the cohort and Table 1 say to reporting guidelines (see `checklist`)."""

from collections.abc import Mapping
from typing import Any

Report = Mapping[str, Any]

AUTHOR = "author must complete"
MOST_NAMED = 8  # sites, or kinds of images, that are named


def flow(report: Report) -> str | None:
    """Return from how many files the patients who are judged came, and who was left out."""
    steps = report["cohort_flow"]["steps"]
    if len(steps) < 2:
        return None
    last = " and ".join(
        f"{steps[-1][name]} {name}"
        for name in ("patients", "images")
        if steps[-1][name] is not None
    )
    left = _left_out(report)
    return f"{steps[0]['files']} files found; {left + '; ' if left else ''}{last} judged"


def _left_out(report: Report) -> str | None:
    """Return what every step left out."""
    left = [step["left_out"] for step in report["cohort_flow"]["steps"] if step["left_out"]]
    shown = [f"{row['title'][0].lower()}{row['title'][1:]} {row['count']}" for row in left]
    return f"left out: {', '.join(shown)}" if shown else None


def eligible(report: Report) -> str | None:
    """Return who was left out; why nobody else was is for the authors."""
    left = _left_out(report)
    return left and f"{left}; criteria of the study: {AUTHOR}"


def missing(report: Report) -> str | None:
    """Return how many images had no label; they were left out, not filled in."""
    steps = {step["step"]: step["left_out"] for step in report["cohort_flow"]["steps"]}
    if "labelled" not in steps:
        return None
    n = steps["labelled"]["count"] if steps["labelled"] else 0
    return f"{n} images without a label were left out, none was filled in; other values: {AUTHOR}"


def table_one(report: Report) -> str | None:
    """Return which characteristics of patients and images the report counts."""
    rows = report["table_one"]["rows"]
    known = [row["variable"] for row in rows if row["category"] and row["variable"] != "positive"]
    names = ", ".join(dict.fromkeys(known)).replace("_", " ")
    folds = " and by test fold" if report["table_one"]["folds"] else ""
    return f"{names}, in all{folds}; clinical characteristics: {AUTHOR}" if names else None


def acquisition(report: Report) -> str | None:
    """Return the manufacturers, modalities and views that are known."""
    shown = [
        f"{row['variable']} {row['category']} {row['count']} of {row['total']}"
        for row in report["table_one"]["rows"]
        if row["variable"] in ("manufacturer", "modality", "view")
    ]
    return f"{', '.join(shown[:MOST_NAMED])}; protocol: {AUTHOR}" if shown else None
