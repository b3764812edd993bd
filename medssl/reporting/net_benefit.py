"""Decision curves as inline SVG: net benefit of the model beside treating all and none."""

from collections.abc import Sequence
from itertools import zip_longest

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medssl.reporting import figures
from medssl.reporting.figures import COLOURS, FAINT, INK, STYLE, Curve

LOWEST = -0.35  # of an axis, as a share of its highest: treating all may fall without end


def draw(curves: Sequence[Curve], labels: Sequence[str]) -> str:
    """Return net benefit over the declared range of thresholds, a panel per curve.

    Args:
        curves: Entries of `curves.decision` in a report.
        labels: A title for each; an empty one is left out.
    """
    across = min(3, len(curves))
    down = -(-len(curves) // across)
    size = (5.2, 5.0) if across == 1 else (10.4, 3.4 * down)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, curve, label in zip_longest(panels, curves, labels):
            if curve is None:
                axes.set_visible(False)
                continue
            _panel(axes, curve)
            axes.set_title(label, loc="left", fontsize=10)
        return figures.svg(figure, "decision")


def _panel(axes: Axes, curve: Curve) -> None:
    at, model, everyone, low, high = (
        figures.floats(curve[name]) for name in ("threshold", "model", "treat_all", "low", "high")
    )
    axes.fill_between(at, low, high, color=COLOURS[0], alpha=0.18, linewidth=0)
    axes.plot(at, model, color=COLOURS[0], linewidth=1.8, label="model")
    axes.plot(at, everyone, color=COLOURS[1], linewidth=1.4, linestyle="--", label="treat all")
    axes.axhline(0, color=INK, linewidth=1.0, linestyle=":", label="treat none")
    top = float(np.nanmax([*high, *everyone, 0.01]))
    axes.set_ylim(
        max(LOWEST * top, float(np.nanmin([*low, *everyone, 0])) - 0.05 * top), 1.05 * top
    )
    axes.set_xlim(at[0], at[-1])
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(color=FAINT)
    axes.set_xlabel("Threshold probability")
    axes.set_ylabel("Net benefit")
    axes.legend(loc="best", fontsize=9)
