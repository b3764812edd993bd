"""Estimates of several runs beside their differences, one line each with its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medssl.reporting import figures

MOST_LETTERS = 34  # of a name beside a line


def draw(
    estimates: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]], name: str
) -> str:
    """Return estimates on the left and differences on the right.

    Args:
        estimates: Of one metric and column, one row per run, the one compared with first.
        differences: Of the same, one row per pair.
        name: Of the figure; its ids start with it.
    """
    rows = max(len(estimates), len(differences))
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(10.4, 1.0 + 0.34 * rows), layout="constrained")
        left, right = figure.subplots(1, 2)
        _lines(left, estimates, [row["run"] for row in estimates], rows)
        if estimates[0]["no_skill"] is not None:
            left.axvline(
                estimates[0]["no_skill"], color=figures.FAINT, linewidth=0.9, linestyle=(0, (4, 4))
            )
        left.set_xlabel(f"{estimates[0]['title']}; dashed: no skill")
        named = [f"{row['run']} − {row['against']}" for row in differences]
        _lines(right, differences, named, rows)
        right.axvline(0, color=figures.INK, linewidth=0.9)
        side = "right" if differences[0]["higher_is_better"] else "left"
        right.set_xlabel(f"Difference; {side} of the line is better")
        return figures.svg(figure, f"forest-{name}")


def _lines(
    axes: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str], height: int
) -> None:
    """Draw a dot with its interval per row, from the top."""
    for y, row in enumerate(rows):
        value, low, high = figures.floats([row["value"], row["low"], row["high"]])
        axes.axhline(y, color="#e6eaee", linewidth=0.8, zorder=0)
        axes.plot([low, high], [y, y], color=figures.COLOURS[0], linewidth=2.2, alpha=0.55)
        axes.plot([value], [y], marker="o", color=figures.COLOURS[0], markersize=6)
    axes.set_yticks(np.arange(len(rows)), [_short(name) for name in names])
    axes.set_ylim(height - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def _short(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
