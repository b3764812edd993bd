"""`progress.png`: the course of a training, one small panel per measured value."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from medssl.artifacts.run_folder import RunLog
from medssl.foundation import files
from medssl.reporting.figures import COLOURS, FAINT, INK, STYLE

Point = Mapping[str, Any]  # one line of metrics.jsonl

_TITLES = {
    "total": "Loss",
    "feature_std": "Spread of the features",
    "effective_rank": "Effective rank of the features",
    "knn_auroc": "AUROC of nearest neighbours",
    "feature_alignment": "Distance between two views",
    "feature_uniformity": "Evenness on the sphere (lower is more even)",
    "lr": "Learning rate",
}
_LINES = {"total": "training", "val_loss": "validation patients"}
_FROM_CHANCE = "knn_auroc"  # drawn from 0.5 to 1, so that a small change looks small
_TOGETHER = {"val_loss": "total"}  # drawn in the panel of
_NOT_DRAWN = {"step", "epoch"}
_COLUMNS = 3
_LONGEST = 20  # letters of a name in a legend
_FEW = 40  # points: below, each one is marked
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
            _panel(axes, course, name, members)
            if floors and name in floors:
                _floor(axes, floors[name])
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
    order = list(_TITLES)
    return dict(
        sorted(panels.items(), key=lambda item: order.index(item[0]) if item[0] in order else 99)
    )


def _panel(axes: Axes, course: Sequence[Point], name: str, members: Sequence[str]) -> None:
    lines = []
    for k, member in enumerate(members):
        points = [(point["step"], point[member]) for point in course if member in point]
        x, y = zip(*points, strict=True)
        marker = "o" if len(x) <= _FEW else ""
        lines += axes.plot(
            x, y, color=COLOURS[k % len(COLOURS)], linewidth=1.6, marker=marker, markersize=3,
            clip_on=False,
        )  # fmt: skip
    if name == _FROM_CHANCE:
        axes.set_ylim(min(0.5, axes.get_ylim()[0]), 1)
    rows = 0
    if len(members) > 1:
        labels = [_LINES.get(member, member.partition(".")[2] or member) for member in members]
        rows = _legend(axes, lines, labels)
    title = _TITLES.get(name, name.replace("_", " ").capitalize())
    axes.set_title(title, fontsize=10, loc="left", pad=5 + rows * 13)
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")  # no power of ten above it
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(labelsize=8.5)


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


def _floor(axes: Axes, value: float) -> None:
    axes.axhline(value, color=INK, linewidth=0.9, linestyle=(0, (4, 4)))
    axes.set_ylim(bottom=0)
    axes.annotate("collapsed below", (1, value), xycoords=("axes fraction", "data"),
                  xytext=(-2, 3), textcoords="offset points", ha="right", va="bottom",
                  fontsize=7.5, color=FAINT)  # fmt: skip


def _name_the_steps(panels: Sequence[Axes], columns: int) -> None:
    """Label the lowest panel of each column, and only that."""
    for k, axes in enumerate(panels):
        lowest = k + columns >= len(panels)
        axes.tick_params(labelbottom=lowest)
        if lowest:
            axes.set_xlabel("Step", fontsize=8.5)
