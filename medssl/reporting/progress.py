"""`progress.png`: the course of a training, one small panel per measured value.

Each panel says what it shows and, where there is such a value, marks with a dashed line what to
compare with: chance, a collapse, or the weights a run started from.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from medssl.artifacts.run_folder import RunLog
from medssl.foundation import files
from medssl.reporting import measures
from medssl.reporting.figures import COLOURS, INK, QUIET, STYLE, STYLES

Point = Mapping[str, Any]  # one line of metrics.jsonl

_LINES = {"total": "training", "val_loss": "validation patients"}
_TOGETHER = {"val_loss": "total"}  # drawn in the panel of
_NOT_DRAWN = {"step", "epoch"}
_COLUMNS = 3
_LONGEST = 20  # letters of a name in a legend
_FEW = 40  # points: below, each one is marked
_MARKERS = "os^Dv"
_ROW = 13  # points (1/72 inch) that a row of a legend takes
_SMALL = 7.5
_DASHED = (0, (4, 4))
_FROM_START = "knn_auroc"  # compared with what it was before the first step
_ROOM = 0.09  # of the height of a panel, that the name of a reference takes
_DPI = 130


@dataclass(frozen=True)
class ProgressFigure:
    """Draws `metrics.jsonl` of a folder now and then (a `Record`).

    It draws what the file holds, so the figure of a resumed run begins where the run began.

    Args:
        folder: Of the run.
        redraw_on: A line with this value is worth a new figure.
        floors: Name of a value -> where to draw a line that it should stay above.
    """

    NAME: ClassVar[str] = "progress.png"

    folder: Path
    redraw_on: str
    floors: Mapping[str, float] = field(default_factory=dict)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Draw again if there is enough news; the line must be in `metrics.jsonl` by now."""
        del step
        if self.redraw_on in values:
            self.draw()

    def pace(self, step: int, values: Mapping[str, float]) -> None:
        """Ignore the values."""

    def note(self, text: str) -> None:
        """Ignore the text."""

    def warn(self, text: str) -> None:
        """Ignore the text."""

    def draw(self) -> None:
        """Write the figure; nothing is written before there is something to show."""
        if course := RunLog(self.folder).history():
            files.write_bytes(self.folder / self.NAME, draw(course, self.floors))


def draw(course: Sequence[Point], floors: Mapping[str, float] | None = None) -> bytes:
    """Return a PNG with a panel for each value, and `name.member` together under `name`.

    Args:
        course: Points in the order of their steps, each with `step` and some values.
        floors: Value -> where to draw a line.
    """
    panels = _panels(course)
    rows = math.ceil(len(panels) / _COLUMNS)
    with mpl.rc_context(STYLE):
        columns = min(_COLUMNS, len(panels))
        figure = Figure(figsize=(3.7 * columns, 2.5 * rows), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
        for axes, (name, members) in zip(grid, panels.items(), strict=False):
            references = _references(course, name, members, floors or {})
            _panel(axes, course, name, members, [value for value, _ in references])
            _compare(axes, references)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        _name_the_steps(grid[: len(panels)], columns)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _panels(course: Iterable[Point]) -> dict[str, list[str]]:
    """Return the values of each panel; those everyone looks at first come first."""
    names = dict.fromkeys(name for point in course for name in point if name not in _NOT_DRAWN)
    panels: dict[str, list[str]] = {}
    for name in names:
        family = name.partition(".")[0]
        panels.setdefault(_TOGETHER.get(family, family), []).append(name)
    for name, members in panels.items():
        if name in members:  # what the panel is named after has the first colour
            members.insert(0, members.pop(members.index(name)))
    order = list(measures.MEASURES)
    return dict(
        sorted(panels.items(), key=lambda item: order.index(item[0]) if item[0] in order else 99)
    )


def _panel(
    axes: Axes,
    course: Sequence[Point],
    name: str,
    members: Sequence[str],
    shown: Sequence[float] = (),
) -> None:
    """Draw the curves of a panel, its limits so that the values of ``shown`` lie inside."""
    measure, lines = measures.of(name), []
    for k, member in enumerate(members):
        points = [(point["step"], point[member]) for point in course if member in point]
        x, y = zip(*points, strict=True)
        lines += axes.plot(
            x, y, color=COLOURS[k % len(COLOURS)], linestyle=STYLES[k % len(STYLES)], linewidth=1.6,
            marker=_MARKERS[k % len(_MARKERS)] if len(x) <= _FEW else "", markersize=3,
            clip_on=False,
        )  # fmt: skip
    _limit(axes, course, lines, [*measure.within, *shown])
    rows = 0
    if list(members) != [name]:
        labels = [_LINES.get(member, member.partition(".")[2] or member) for member in members]
        rows = _legend(axes, lines, labels)
    axes.set_title(measure.title, fontsize=10, loc="left", pad=16 + rows * _ROW)
    axes.annotate(
        measure.meaning, (0, 1), xycoords="axes fraction", xytext=(0, 5 + rows * _ROW),
        textcoords="offset points", fontsize=_SMALL, color=QUIET,
    )  # fmt: skip
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")  # no power of ten above it
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(labelsize=8.5)


def _limit(
    axes: Axes, course: Sequence[Point], lines: Sequence[Line2D], within: Sequence[float]
) -> None:
    """Set limits that show a single point, or a value that never changes, as what it is."""
    axes.set_xlim(0, max(1, *(point["step"] for point in course), 1))
    values = [y for _, y in _points(lines)]
    low, high = min([*values, *within]), max([*values, *within])
    if low == high:
        around = 0.5 * abs(low) or 1.0
        low, high = low - around, high + around
    spare = 0.06 * (high - low)
    axes.set_ylim(low if low in within else low - spare, high if high == 0 else high + spare)


def _legend(axes: Axes, lines: Sequence[Line2D], labels: Sequence[str]) -> int:
    """Name the lines above the panel, where they cross none; return the rows that takes.

    The texts are set afterwards, as matplotlib has its own use for "_x".
    """
    shown = [label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…" for label in labels]
    columns = 3 if max(map(len, shown)) * 3 <= _LONGEST * 2 else 2
    legend = axes.legend(
        lines, [f"{k}" for k in range(len(lines))], fontsize=8, ncols=columns, loc="lower left",
        bbox_to_anchor=(0, 1), borderaxespad=0, borderpad=0.2, columnspacing=1, frameon=False,
    )  # fmt: skip
    for text, label in zip(legend.get_texts(), shown, strict=True):
        text.set_text(label)
    return math.ceil(len(lines) / columns)


def _references(
    course: Sequence[Point], name: str, members: Sequence[str], floors: Mapping[str, float]
) -> list[tuple[float, str]]:
    """Return what a panel is to be compared with: where, and what is there."""
    reference = measures.of(name).reference
    found = [reference] if reference else []
    if name in floors:
        found.append((floors[name], "collapsed below"))
    first = course[0]
    if name == _FROM_START and len(members) == 1 and first["step"] == 0 and members[0] in first:
        found.append((first[members[0]], "first weights"))
    return found


def _points(lines: Iterable[Line2D]) -> list[tuple[float, float]]:
    """Return the points of some curves, (step, value)."""
    return [(float(x), float(y)) for line in lines for x, y in np.asarray(line.get_xydata())]


def _compare(axes: Axes, references: Sequence[tuple[float, str]]) -> None:
    """Draw a line for each reference, named where the curves are farthest from it."""
    curves = _points(axes.lines)
    low, high = axes.get_ylim()
    middle, room = sum(axes.get_xlim()) / 2, _ROOM * (high - low)
    taken: list[tuple[bool, float]] = []  # sides and heights of names
    for value, text in references:
        axes.axhline(value, color=INK, linewidth=0.9, linestyle=_DASHED, zorder=1.5)
        offsets = {
            right: [y - value for x, y in curves if (x > middle) == right]
            for right in (True, False)
        }
        nearest = {right: min(map(abs, found), default=high) for right, found in offsets.items()}
        right = nearest[True] >= nearest[False]
        if any(side == right and abs(at - value) < 3 * room for side, at in taken):
            right = not right
        taken.append((right, value))
        curve_above = sum(offsets[right]) > 0
        fits_above, fits_below = high - value > room, value - low > room
        above = fits_above and not (curve_above and fits_below and nearest[right] < 2 * room)
        axes.annotate(
            text, (float(right), value), xycoords=("axes fraction", "data"),
            xytext=(-3 if right else 4, 3 if above else -4), textcoords="offset points",
            ha="right" if right else "left", va="bottom" if above else "top",
            fontsize=_SMALL, color=QUIET,
        )  # fmt: skip


def _name_the_steps(panels: Sequence[Axes], columns: int) -> None:
    """Label the lowest panel of each column, and only that."""
    for k, axes in enumerate(panels):
        lowest = k + columns >= len(panels)
        axes.tick_params(labelbottom=lowest)
        if lowest:
            axes.set_xlabel("Step", fontsize=8.5)
