"""Calibration of raw and recalibrated probabilities in one figure."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medssl.reporting import figures
from medssl.reporting.figures import COLOURS, FAINT, STYLE, Curve

LOOKS = ((COLOURS[1], "--", "raw"), (COLOURS[0], "-", "recalibrated"))  # told apart in grey too


def draw(curves: Sequence[Curve]) -> str:
    """Return both curves with their bands over the ideal line, as SVG; of each column a panel.

    Args:
        curves: `recalibration.curves` of a report: of each column the raw one, then the other.
    """
    pairs = list(zip(curves[::2], curves[1::2], strict=True))
    across = 1 if len(pairs) == 1 else min(3, max(2, len(pairs)))
    down = -(-len(pairs) // across)
    size = (5.2, 5.0) if across == 1 else (10.4, 10.4 / across * down)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes in panels[len(pairs) :]:
            axes.set_visible(False)
        for axes, pair in zip(panels, pairs, strict=False):
            _panel(axes, pair)
            axes.set_title(pair[0]["column"] if across > 1 else "", loc="left", fontsize=10)
        return figures.svg(figure, "recalibrated")


def _panel(axes: Axes, pair: Sequence[Curve]) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=":", label="ideal")
    for curve, (colour, style, name) in zip(pair, LOOKS, strict=True):
        low, high = figures.floats(curve["low"]), figures.floats(curve["high"])
        axes.fill_between(curve["predicted"], low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(
            curve["predicted"],
            figures.floats(curve["observed"]),
            color=colour,
            linestyle=style,
            linewidth=1.8,
            label=name,
        )
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, yticks=ticks, aspect="equal")
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("Predicted probability")
    axes.set_ylabel("Observed share of positives")
    axes.legend(loc="best")
