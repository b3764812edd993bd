"""`schedule.png`: which layer groups train when, and how fast."""

import io
from collections.abc import Collection, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from medssl.reporting.figures import COLOURS, FAINT, INK, STYLE, STYLES

_DPI = 150
_WIDE = 30.0  # between the peaks of two groups: on one axis from 0 the lower one would look like 0


def draw(
    rates: Mapping[str, NDArray[np.float64]],
    steps_per_epoch: int,
    phases: Sequence[tuple[str, int]],
    norms: Collection[str] = (),
) -> bytes:
    """Return a PNG: learning rates above, the layer groups that train below, over epochs.

    Args:
        rates: Layer group, the head first -> rate at each step, not-a-number while it is frozen.
        steps_per_epoch: Optimiser steps in an epoch.
        phases: Name of each phase and the epochs before it.
        norms: Layer groups of which the norms alone train.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 5.2), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        epochs = len(next(iter(rates.values()))) / steps_per_epoch
        for k, (name, values) in enumerate(rates.items()):
            colour = COLOURS[k % len(COLOURS)]
            at = np.arange(len(values)) / steps_per_epoch
            above.plot(at, values, color=colour, linestyle=STYLES[k % len(STYLES)], linewidth=1.8,
                       drawstyle="steps-post")  # fmt: skip
            _band(below, k, at, values, colour)
            title = f"{name} norms" if name in norms else name
            below.text(-0.01, k, title, transform=below.get_yaxis_transform(), ha="right",
                       va="center", fontsize=9)  # fmt: skip
        _mark(above, phases)
        above.set(ylabel="Learning rate", xlim=(0, epochs))
        _scale(above, _peaks(rates, [int(start * steps_per_epoch) for _, start in phases]))
        above.grid(color="#eef1f4", linewidth=0.8)
        below.set(xlabel="Epoch", ylim=(len(rates) - 0.4, -0.6), yticks=[])
        below.spines["left"].set_visible(False)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _peaks(rates: Mapping[str, NDArray[np.float64]], starts: Sequence[int]) -> list[float]:
    """Return the highest rate of each layer group in each phase it trains in."""
    parts = [part for values in rates.values() for part in np.split(values, starts[1:])]
    found = [float(np.nanmax(part)) for part in parts if np.isfinite(part).any()]
    return [peak for peak in found if peak > 0] or [1.0]


def _scale(axes: Axes, peaks: Sequence[float]) -> None:
    """Set an axis on which every layer group can be seen to move."""
    highest, lowest = max(peaks), min(peaks)
    if highest < _WIDE * lowest:
        axes.set_ylim(0, 1.12 * highest)
        axes.ticklabel_format(axis="y", scilimits=(-2, 2))
        return
    axes.set_yscale("log")
    axes.set_ylim(lowest / _WIDE, 2.5 * highest)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("Learning rate (log)")


def _band(
    axes: Axes, row: int, at: NDArray[np.float64], values: NDArray[np.float64], colour: str
) -> None:
    """Draw a thin line over the whole run, and a bar where the group trains."""
    axes.axhline(row, color=FAINT, linewidth=0.8, zorder=0)
    trains = np.isfinite(values)
    if not trains.any():
        axes.text(0.5, row, " never trains ", transform=axes.get_yaxis_transform(), ha="center",
                  va="center", fontsize=8, color=FAINT, backgroundcolor="white")  # fmt: skip
        return
    step = at[1] - at[0] if len(at) > 1 else 1.0
    edges = np.flatnonzero(np.diff(trains.astype(int), prepend=0, append=0))
    for first, last in edges.reshape(-1, 2):
        axes.barh(row, (last - first) * step, left=at[first], height=0.55, color=colour)


def _mark(axes: Axes, phases: Sequence[tuple[str, int]]) -> None:
    """Name the phases, with a line before each but the first."""
    for name, start in phases:
        if start:
            axes.axvline(start, color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
        axes.annotate(name, (start, 1), xycoords=("data", "axes fraction"), xytext=(4, -2),
                      textcoords="offset points", va="top", fontsize=9, color=INK)  # fmt: skip
