"""`schedule.png` of a pretraining: learning rate and weight decay over the epochs."""

import io
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medssl.reporting.figures import COLOURS, STYLE

_DPI = 150
_FEW = 40  # steps: below, each one is marked
_TITLES = {"lr": "Learning rate", "weight_decay": "Weight decay"}


def draw(curves: Mapping[str, NDArray[np.float64]], steps_per_epoch: float) -> bytes:
    """Return a PNG with one panel for each value that changes, and a line on those that do not.

    Args:
        curves: ``lr`` and ``weight_decay`` at every step, shape (steps,) each.
        steps_per_epoch: Optimiser steps in an epoch.
    """
    moving = [name for name, values in curves.items() if name == "lr" or np.ptp(values) > 0]
    fixed = [name for name in curves if name not in moving]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 2.6 * len(moving)), layout="constrained")
        panels = figure.subplots(len(moving), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, moving, strict=True):
            values = curves[name]
            epochs = np.arange(len(values)) / steps_per_epoch
            marker = "o" if len(values) <= _FEW else ""
            axes.plot(epochs, values, color=COLOURS[0], linewidth=1.8, marker=marker, markersize=3)
            axes.set(ylabel=_TITLES[name], xlim=(0, len(values) / steps_per_epoch))
            axes.set_ylim(0, 1.12 * max(values.max(), 1e-12))
            axes.ticklabel_format(axis="y", scilimits=(-2, 2))
            axes.grid(color="#eef1f4", linewidth=0.8)
        panels[-1].set_xlabel("Epoch")
        said = ", ".join(f"{_TITLES[name].lower()} {curves[name][0]:g}" for name in fixed)
        if said:
            panels[0].set_title(f"{said} throughout", loc="right", fontsize=9)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()
