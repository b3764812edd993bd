"""A metric over the number of training patients, one line per start of the encoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from medssl.reporting import figures

MARKERS = ("o", "s", "^", "D", "v", "P")  # told apart without colour
_WIDE = 4.0  # from this ratio of sizes on, equal ratios are equally far apart
_APART = 0.02  # of the width: lines of one size stand side by side


def draw(curve: Mapping[str, Any], name: str, better: str) -> str:
    """Return the curves of one metric with the interval of each point.

    Args:
        curve: An entry of `label_efficiency` of a comparison: lines of points with intervals.
        name: Of the figure; its ids start with it.
        better: higher or lower.
    """
    lines = curve["lines"]
    sizes = sorted({point["patients"] for line in lines for point in line["points"]})
    logarithmic = sizes[0] > 0 and sizes[-1] / sizes[0] >= _WIDE
    place = dict(zip(sizes, np.log2(sizes) if logarithmic else sizes, strict=True))
    gap = _APART * (place[sizes[-1]] - place[sizes[0]])
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(5.8, 3.7 + 0.22 * len(lines)), layout="constrained")
        axes = figure.subplots()
        drawn = [
            _line(axes, line["points"], k, place, gap * (k - (len(lines) - 1) / 2))
            for k, line in enumerate(lines)
        ]
        said = f"{curve['title']}; better: {better}"
        if curve["no_skill"] is not None:
            axes.axhline(
                curve["no_skill"], color=figures.FAINT, linewidth=0.9, linestyle=(0, (4, 4))
            )
            said = f"{curve['title']}; dashed: no skill"
        _scale(axes, place)
        axes.set_xlabel("Training patients, mean over folds" + ", log scale" * logarithmic)
        axes.set_ylabel(said)
        _name(figure, drawn, [line["name"] for line in lines])
        return figures.svg(figure, name)


def _line(
    axes: Axes,
    points: Sequence[Mapping[str, Any]],
    k: int,
    place: Mapping[float, float],
    shift: float,
) -> Line2D:
    """Draw the points of one start, joined, each with its interval."""
    colour = figures.COLOURS[k % len(figures.COLOURS)]
    style = figures.STYLES[k % len(figures.STYLES)]
    x = np.array([place[point["patients"]] for point in points]) + shift
    value, low, high = (
        figures.floats([point[name] for point in points]) for name in ("value", "low", "high")
    )
    axes.vlines(x, low, high, color=colour, linewidth=2.2, alpha=0.45)
    (line,) = axes.plot(
        x,
        value,
        color=colour,
        linestyle=style,
        linewidth=1.6,
        marker=MARKERS[k % len(MARKERS)],
        markersize=6,
    )
    return line


def _scale(axes: Axes, place: Mapping[float, float]) -> None:
    axes.set_xticks(list(place.values()), [f"{size:.4g}" for size in place])
    axes.xaxis.set_major_locator(FixedLocator(list(place.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.06)


def _name(figure: Figure, lines: Sequence[Line2D], names: Sequence[str]) -> None:
    """Name the lines above them; texts are set afterwards, as a "_x" is left out of a legend."""
    legend = figure.legend(lines, [f"{k}" for k in range(len(lines))], loc="outside upper left")
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
