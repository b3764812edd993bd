"""Subgroups and failures of a report: their records, and the groups as a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medssl.config.subgroups import CROSS
from medssl.evaluation.failures import Failures
from medssl.evaluation.subgroups import METRICS, Subgroups
from medssl.reporting import figures
from medssl.reporting.numbers import MOST_DRAWN

DIGITS = 6  # of a point of a curve
MOST_LETTERS = 24  # of a name beside a line
Record = Mapping[str, Any]


def record(found: Sequence[Subgroups]) -> list[dict[str, Any]]:
    """Return subgroups as JSON values, in their order."""
    rows = []
    for one in found:
        row = asdict(one)
        if one.accuracies is not None:
            row["accuracies"] = {
                key: value.round(DIGITS).tolist() if isinstance(value, np.ndarray) else value
                for key, value in row["accuracies"].items()
            }
        rows.append(row)
    return rows


def failures(found: Failures | None) -> dict[str, Any] | None:
    """Return failures as JSON values; None where they were not looked for."""
    return None if found is None else asdict(found)


def figures_of(report: Record) -> dict[str, str]:
    """Return the figures there are: of groups one per column, of accuracies one.

    Args:
        report: As read from `report.json`.
    """
    found = report["subgroups"]
    drawn = {}
    columns = dict.fromkeys(
        group["column"] for one in found for group in one["groups"] if group["values"]
    )
    for column in islice(columns, MOST_DRAWN):
        name = f"subgroups-{report['columns'].index(column)}"
        drawn[name] = draw(_lines(found, column), _overall(report, column), name)
    curves = [one for one in found if one["accuracies"]]
    if curves:
        fixed = report["threshold"] and curves[0]["calls"] == "threshold"
        at = report["threshold"]["value"] if fixed else None
        drawn["accuracies"] = accuracies(curves, at)
    return drawn


def draw(lines: Sequence[tuple[str, Record]], overall: Mapping[str, float], name: str) -> str:
    """Return a panel per metric with a line per group; a dashed line marks all patients.

    Args:
        lines: Name and group, those with values only.
        overall: Estimate among all, by metric.
        name: Of the figure; its ids start with it.
    """
    held = [{value["metric"]: value for value in group["values"]} for _, group in lines]
    shown = [metric for metric in METRICS if any(metric in values for values in held)]
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(10.4, 1.0 + 0.3 * len(lines)), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, shown, strict=True):
            _panel(axes, [values.get(metric) for values in held], overall.get(metric))
        panels[0].set_yticks(np.arange(len(lines)), [_short(text) for text, _ in lines])
        panels[0].set_ylim(len(lines) - 0.4, -0.6)
        return figures.svg(figure, name)


def _panel(axes: Axes, rows: Sequence[Record | None], overall: float | None) -> None:
    if overall is not None:
        axes.axvline(overall, color=figures.FAINT, linewidth=0.9, linestyle=(0, (4, 4)))
    for y, row in enumerate(rows):
        axes.axhline(y, color="#e6eaee", linewidth=0.8, zorder=0)
        if row is None:
            continue
        value, low, high = figures.floats([row["value"], row["low"], row["high"]])
        axes.plot([low, high], [y, y], color=figures.COLOURS[0], linewidth=2.2, alpha=0.55)
        axes.plot([value], [y], marker="o", color=figures.COLOURS[0], markersize=5)
        axes.set_xlabel(row["title"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))


def accuracies(found: Sequence[Record], threshold: float | None) -> str:
    """Return accuracy in the smallest group over that in the largest, a panel per attribute.

    Args:
        found: Entries of `subgroups` in a report that have them.
        threshold: Marked where there is one.
    """
    across = min(3, max(2, len(found)))
    down = -(-len(found) // across)
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(10.4, 10.4 / across * down), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes in panels[len(found) :]:
            axes.set_visible(False)
        for axes, one in zip(panels, found, strict=False):
            _pairs(axes, one["accuracies"], threshold)
            axes.set_title(_short(_spoken(one["attribute"])), loc="left", fontsize=10)
        return figures.svg(figure, "accuracies")


def _pairs(axes: Axes, curve: Record, threshold: float | None) -> None:
    """Draw the accuracies of two groups against each other."""
    x, y, at = (figures.floats(curve[k]) for k in ("of_larger", "of_smaller", "threshold"))
    axes.plot([0, 1], [0, 1], color=figures.FAINT, linewidth=0.9, linestyle=(0, (4, 4)))
    axes.plot(x, y, color=figures.COLOURS[0], linewidth=1.8)
    if threshold is not None:
        place = int(np.abs(at - threshold).argmin())
        axes.plot(x[place], y[place], marker="o", color=figures.INK, markersize=5)
    low = max(0.0, np.floor(10 * min(x.min(), y.min())) / 10 - 0.05)
    axes.set(xlim=(low, 1), ylim=(low, 1), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"Accuracy, {_short(curve['larger'])}")
    axes.set_ylabel(f"Accuracy, {_short(curve['smaller'])}")


def _lines(found: Sequence[Record], column: str) -> list[tuple[str, Record]]:
    return [
        (_called(one["attribute"], group["name"]), group)
        for one in found
        for group in one["groups"]
        if group["column"] == column and group["values"]
    ]


def _overall(report: Record, column: str) -> dict[str, float]:
    """Return the estimates among all, by the same calls as those of the groups."""
    rows = [row for row in report["estimates"] if row["column"] == column]
    if any(one["calls"] == "chosen_thresholds" for one in report["subgroups"]):
        rows += report["chosen_thresholds"]["shares"]
    return {row["metric"]: row["value"] for row in rows if row["value"] is not None}


def _called(attribute: str, group: str) -> str:
    """Return what a line is called; the words of two attributes need no names before them."""
    return group if CROSS in attribute else f"{_spoken(attribute)} {group}"


def _spoken(attribute: str) -> str:
    return attribute.replace("_", " ").replace(CROSS, " × ")


def _short(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
