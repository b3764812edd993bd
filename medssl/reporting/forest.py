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
    """Return two figures of one height: of the estimates, and of their differences.

    Args:
        estimates: Of one metric and column, one row per run, the one compared with first.
        differences: Of the same, one row per pair.
        name: Of the figures; their ids start with it.
    """
    rows = max(len(estimates), len(differences))
    side = "right" if differences[0]["higher_is_better"] else "left"
    no_skill = estimates[0]["no_skill"]
    said = estimates[0]["title"] + "; dashed: no skill" * (no_skill is not None)
    named = [_pair(row["run"], row["against"]) for row in differences]
    with mpl.rc_context(figures.STYLE):
        left, axes = _empty(rows)
        _lines(axes, estimates, [row["run"] for row in estimates], rows)
        if no_skill is not None:
            axes.axvline(no_skill, color=figures.FAINT, linewidth=0.9, linestyle=(0, (4, 4)))
        axes.set_xlabel(said)
        right, axes = _empty(rows)
        _lines(axes, differences, named, rows)
        axes.axvline(0, color=figures.INK, linewidth=0.9)
        axes.set_xlabel(f"Difference; {side} of the line is better")
        both = figures.svg(left, f"{name}-estimates"), figures.svg(right, f"{name}-differences")
    return "\n".join(both)


def _empty(rows: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 1.0 + 0.34 * rows), layout="constrained")
    return figure, figure.subplots()


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


def _pair(run: str, against: str) -> str:
    """Return both names; where they are long together, each with as much as there is room for."""
    whole = f"{run} − {against}"
    half = (MOST_LETTERS - 3) // 2
    return whole if len(whole) <= MOST_LETTERS else f"{_short(run, half)} − {_short(against, half)}"


def _short(name: str, most: int = MOST_LETTERS) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
