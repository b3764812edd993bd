"""Figures of a report as inline SVG: the same numbers give the same text, no date, no fonts."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from medssl.reporting.numbers import MOST_DRAWN

# Okabe & Ito's palette, black and yellow left out: told apart by colour-blind readers, on paper too
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
STYLES = ("-", "--", ":", "-.")
INK, FAINT = "#1b2733", "#8a97a5"
QUIET = "#566270"  # of small print: six times as dark as paper
LAYOUT_FONT = "DejaVu Sans"  # comes with matplotlib, so that the layout is the same everywhere
PAGE_FONTS = "'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"  # narrower
STYLE = {
    "svg.hashsalt": "medssl",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called "$a_$b"
    "font.family": LAYOUT_FONT,
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
}
Curve = Mapping[str, Any]  # one entry of report.json's curves
SPOKEN = {  # for who does not see a figure; the text beside it says what to look for
    "roc": "ROC curve",
    "calibration": "Calibration curve",
    "risks": "Distribution of the scores of positives and of negatives",
    "folds": "AUROC inside each test fold",
    "decision": "Decision curve: net benefit over thresholds",
    "recalibrated": "Calibration of raw and of recalibrated probabilities",
    "agreement": "Labels over predictions, and their differences",
    "subgroups": "Estimates of each group with their intervals",
    "accuracies": "Accuracy in the smallest group over that in the largest",
}


def roc(curves: Sequence[Curve], labels: Sequence[str]) -> str:
    """Return the ROC curves with their bands.

    Args:
        curves: Entries of `curves.roc` in a report.
        labels: One for each, for the legend.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 5.0), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 4)))
        lines = []
        for k, curve in enumerate(curves):
            colour, style = _look(k)
            _band(axes, curve["grid"], curve, colour, single=len(curves) == 1)
            lines += axes.plot(
                curve["false_positive_rate"],
                curve["sensitivity"],
                color=colour,
                linestyle=style,
                linewidth=1.8,
                clip_on=False,
            )
        _unit_square(axes)
        axes.set_xlabel("1 − specificity")
        axes.set_ylabel("Sensitivity")
        _legend(axes, lines, labels, "lower right")
        return svg(figure, "roc")


def calibration(curves: Sequence[Curve], labels: Sequence[str]) -> str:
    """Return the smoothed calibration curves.

    Args:
        curves: Entries of `curves.calibration` in a report.
        labels: One for each, for the legend.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 5.0), layout="constrained")
        axes = figure.subplots()
        lines = axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 4)))
        for k, curve in enumerate(curves):
            colour, style = _look(k)
            _band(axes, curve["predicted"], curve, colour, single=len(curves) == 1)
            lines += axes.plot(
                curve["predicted"],
                floats(curve["observed"]),
                color=colour,
                linestyle=style,
                linewidth=1.8,
            )
        _unit_square(axes)
        axes.set_xlabel("Predicted probability")
        axes.set_ylabel("Observed share of positives")
        _legend(axes, lines, ["ideal", *labels], "best")
        return svg(figure, "calibration")


def risks(curves: Sequence[Curve], labels: Sequence[str], threshold: float | None) -> str:
    """Return how the scores spread: positives above the line, negatives below, each by count.

    Args:
        curves: Entries of `curves.risks` in a report.
        labels: A title for each; an empty one is left out.
        threshold: Marked where there is one.
    """
    across = 1 if len(curves) == 1 else min(3, max(2, len(curves)))
    down = -(-len(curves) // across)
    size = (5.2, 5.0) if across == 1 else (10.4, 3.1 * down)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        parts = figure.subfigures(down, across, squeeze=False).ravel()
        for part, curve, label in zip(parts, curves, labels, strict=False):
            above, below = part.subplots(2, 1, sharex=True, gridspec_kw={"hspace": 0.04})
            _counts(above, curve, "positives", COLOURS[1])
            _counts(below, curve, "negatives", COLOURS[0])
            below.invert_yaxis()
            below.spines["bottom"].set_visible(False)
            above.spines["bottom"].set_visible(False)
            above.tick_params(axis="x", length=0)
            below.set_xlabel("Predicted probability" if _is_share(curve) else "Score")
            above.set_title(label, loc="left", fontsize=10)
            if threshold is not None:
                for axes in (above, below):
                    axes.axvline(threshold, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        return svg(figure, "risks")


def fold_strip(rows: Sequence[Mapping[str, Any]], drift: Sequence[Mapping[str, Any]]) -> str:
    """Return one dot per test fold, a line of dots per column and repeat.

    Args:
        rows: `folds.rows` of a report; of many repeats the first are drawn.
        drift: `folds.drift` of a report: its mean of folds is marked by a bar.
    """
    columns = [entry["column"] for entry in drift]
    repeats = sorted({row["repeat"] for row in rows})[:MOST_DRAWN]
    lines = [(column, repeat) for column in columns for repeat in repeats]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 0.75 + 0.26 * len(lines)), layout="constrained")
        axes = figure.subplots()
        for y, (column, repeat) in enumerate(lines):
            values = [r["auroc"] for r in rows if (r["column"], r["repeat"]) == (column, repeat)]
            colour, _ = _look(columns.index(column))
            axes.axhline(y, color="#e6eaee", linewidth=0.8, zorder=0)
            axes.scatter(
                floats(values),
                np.full(len(values), y),
                s=34,
                color=colour,
                alpha=0.75,
                linewidth=0,
            )
        for k, entry in enumerate(drift):
            first = k * len(repeats)
            ends = [first - 0.4, first + len(repeats) - 0.6]
            axes.plot([entry["mean_of_folds"]] * 2, ends, color=INK, linewidth=1.4)
        names = [_line_name(column, repeat, columns, repeats) for column, repeat in lines]
        axes.set_yticks(range(len(lines)), names)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.03)
        axes.set_xlabel("AUROC inside each test fold; the bar marks their mean")
        return svg(figure, "folds")


def _look(k: int) -> tuple[str, str]:
    """Return a pair that no other of twelve lines has; its style tells it apart in grey."""
    return COLOURS[k % len(COLOURS)], STYLES[k % len(STYLES)]


def _line_name(column: str, repeat: int, columns: Sequence[str], repeats: Sequence[int]) -> str:
    parts = [column] * (len(columns) > 1) + [f"repeat {repeat + 1}"] * (len(repeats) > 1)
    return ", ".join(parts) or "all folds"


def _legend(axes: Axes, lines: Sequence[Line2D], labels: Sequence[str], place: str) -> None:
    """Name the lines; the texts are set afterwards, as matplotlib has its own use for "_x"."""
    legend = axes.legend(lines, [f"{k}" for k in range(len(lines))], loc=place)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)


def _band(axes: Axes, x: Sequence[float], curve: Curve, colour: str, *, single: bool) -> None:
    axes.fill_between(
        x,
        floats(curve["low"]),
        floats(curve["high"]),
        color=colour,
        alpha=0.18 if single else 0.08,
        linewidth=0,
    )


def _unit_square(axes: Axes) -> None:
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, yticks=ticks, aspect="equal")
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)


def _counts(axes: Axes, curve: Curve, outcome: str, colour: str) -> None:
    """Draw the number of units of one outcome per bin, with whole numbers on its own scale."""
    edges, counts = np.array(curve["bin_edges"]), np.array(curve[outcome])
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colour, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, max(1.0, 1.08 * counts.max()))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.set_ylabel(f"{outcome.capitalize()}, {int(counts.sum())}")
    axes.grid(axis="y", color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)


def _is_share(curve: Curve) -> bool:
    edges = curve["bin_edges"]
    return bool(edges[0] == 0 and edges[-1] == 1)


def floats(values: Sequence[float | None]) -> np.ndarray:
    """Return numbers of a record as an array; null is not-a-number."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element whose ids start with ``name``, so that several fit.

    It is an image with a name to who has a page read aloud; numbers stand in tables.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = stream.getvalue()
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text[text.index("<svg") :])
    text = text.replace(f"'{LAYOUT_FONT}'", PAGE_FONTS)
    spoken = SPOKEN.get(name.partition("-")[0], name.replace("-", " ").replace("_", " "))
    text = text.replace("<svg ", f'<svg role="img" aria-label={quoteattr(spoken)} ', 1)
    return re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", text, count=1)
