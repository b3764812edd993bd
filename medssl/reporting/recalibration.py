"""Calibration of raw and recalibrated probabilities in one figure."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from medssl.reporting import figures
from medssl.reporting.figures import COLOURS, FAINT, STYLE, Curve

LOOKS = ((COLOURS[1], "--", "raw"), (COLOURS[0], "-", "recalibrated"))  # told apart in grey too


def draw(curves: Sequence[Curve]) -> str:
    """Return both curves with their bands over the ideal line, as SVG.

    Args:
        curves: The raw and the recalibrated entry of `recalibration.curves` in a report.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 5.0), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=":", label="ideal")
        for curve, (colour, style, name) in zip(curves, LOOKS, strict=True):
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
        axes.legend(loc="upper left")
        return figures.svg(figure, "recalibrated")
