"""Predicted amounts as inline SVG: label over prediction, and differences over their mean."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medssl.reporting import figures
from medssl.reporting.figures import COLOURS, FAINT, INK, STYLE, Curve


def draw(curves: Sequence[Curve]) -> str:
    """Return a scatter and a Bland-Altman plot side by side, a row per amount.

    Args:
        curves: Entries of `curves.agreement` in a report.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.6 * len(curves)), layout="constrained")
        rows = figure.subplots(len(curves), 2, squeeze=False)
        for (left, right), curve in zip(rows, curves, strict=True):
            _scatter(left, curve)
            _differences(right, curve)
            if len(curves) > 1:
                left.set_title(curve["column"], loc="left", fontsize=10)
        return figures.svg(figure, "agreement")


def _scatter(axes: Axes, curve: Curve) -> None:
    x, y = figures.floats(curve["predicted"]), figures.floats(curve["label"])
    ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
    margin = 0.04 * max(float(np.ptp(ends)), 1e-9)
    ends += np.array([-margin, margin])
    axes.plot(ends, ends, color=FAINT, linewidth=0.9, linestyle=(0, (4, 4)))
    _dots(axes, x, y)
    if curve["slope"] is not None:
        inside = np.array([x.min(), x.max()])
        line = curve["intercept"] + curve["slope"] * inside
        axes.plot(inside, line, color=COLOURS[1], linewidth=1.8)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="Predicted", ylabel="Label")
    axes.grid(color="#eef1f4", linewidth=0.8)


def _differences(axes: Axes, curve: Curve) -> None:
    x, y = figures.floats(curve["predicted"]), figures.floats(curve["label"])
    _dots(axes, (x + y) / 2, x - y)
    axes.axhline(0, color=FAINT, linewidth=0.9, linestyle=(0, (4, 4)))
    limits = zip(curve["limits"], curve["low"], curve["high"], ("--", "-", "--"), strict=True)
    for value, low, high, style in limits:
        if value is None:
            continue
        if low is not None and high is not None:
            axes.axhspan(low, high, color=COLOURS[1], alpha=0.12, linewidth=0)
        axes.axhline(
            value, color=COLOURS[1] if style == "-" else INK, linewidth=1.4, linestyle=style
        )
    axes.set(xlabel="Mean of prediction and label", ylabel="Prediction − label")
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)


def _dots(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    opacity = float(np.clip(60 / max(1, len(x)), 0.15, 0.7))
    axes.scatter(x, y, s=18, color=COLOURS[0], alpha=opacity, linewidth=0, rasterized=False)
    axes.set_axisbelow(True)
