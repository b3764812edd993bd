"""Histograms one below the other on one axis, as one SVG.

Colours stand in attributes, so that the figure holds alone in a paper; the classes let a page set
its own. Bars are full and marks are dashed: nothing is told by colour alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from medssl.reporting.figures import INK, PAGE_FONTS
from medssl.reporting.numbers import percent

SOFT = "#52606d"
WIDTH, LEFT, RIGHT = 520, 46, 24  # of the figure, of the space beside the bars; px
HEIGHT, APART, FOOT = 74, 34, 44  # of the bars, above them, below the last; px
_TICKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One histogram."""

    title: str
    counts: Sequence[int]
    of: int  # what the counts are a share of


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A value marked in every panel."""

    value: float
    text: str


def draw(
    name: str,
    panels: Sequence[Panel],
    edges: Sequence[float],
    axis: str,
    mark: Mark | None = None,
    *,
    in_percent: bool = False,
) -> str:
    """Return the figure.

    Args:
        name: Begins its ids, so that several fit on a page.
        panels: At least one; each has its own height.
        edges: Of the bins, ascending, one more than counts.
        axis: What the values are.
        mark: Drawn where it lies within the edges.
        in_percent: Whether to write the values as shares.
    """
    edges = list(edges)
    height = len(panels) * (HEIGHT + APART) + FOOT
    parts = [_panel(panel, edges, n) for n, panel in enumerate(panels)]
    parts.append(_axis(edges, axis, len(panels), in_percent=in_percent))
    if mark is not None and edges[0] <= mark.value <= edges[-1]:
        parts.append(_mark(mark, edges, len(panels)))
    said = words(panels, edges, axis, in_percent=in_percent)
    return (
        f'<svg class="histogram" xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{name}-title {name}-words" '
        f'font-size="12.5" font-family="{PAGE_FONTS}"><title id="{name}-title">{escape(axis)}'
        f'</title><desc id="{name}-words">{escape(said)}</desc>{"".join(parts)}</svg>'
    )


def words(
    panels: Sequence[Panel], edges: Sequence[float], axis: str, *, in_percent: bool = False
) -> str:
    """Return the figure in words: the fullest bin of each panel."""
    said = []
    for panel in panels:
        if not panel.of or not any(panel.counts):
            said.append(f"{panel.title}: none.")
            continue
        most = max(range(len(panel.counts)), key=lambda k: panel.counts[k])
        low, high = (_value(edges[most + k], in_percent=in_percent) for k in (0, 1))
        share = percent(round(panel.counts[most] / panel.of, 3))
        said.append(f"{panel.title}: {share} between {low} and {high}.")
    return f"{axis}. {' '.join(said)}"


def _panel(panel: Panel, edges: Sequence[float], n: int) -> str:
    """Return the bars of one panel, its title above and its largest share beside them."""
    floor = (n + 1) * (HEIGHT + APART)
    highest = max(panel.counts, default=0)
    drawn = _text(LEFT, floor - HEIGHT - 12, panel.title, bold=True)
    for k, count in enumerate(panel.counts):
        if count:
            x, end = (_x(edges[k + j], edges) for j in (0, 1))
            tall = max(1.0, HEIGHT * count / highest)
            drawn += (
                f'<rect class="bar" x="{x:.2f}" y="{floor - tall:.2f}" width="{end - x - 0.6:.2f}" '
                f'height="{tall:.2f}" fill="{SOFT}"/>'
            )
    drawn += _line(LEFT, floor, WIDTH - RIGHT, floor, "base", INK)
    if highest:
        share = percent(round(highest / panel.of, 2 if highest >= panel.of / 100 else 4))
        drawn += _text(LEFT - 6, floor - HEIGHT + 10, share, anchor="end", soft=True)
        drawn += _line(LEFT - 3, floor - HEIGHT, LEFT, floor - HEIGHT, "base", INK)
    return drawn


def _axis(edges: Sequence[float], axis: str, n: int, *, in_percent: bool) -> str:
    floor = n * (HEIGHT + APART)
    drawn = ""
    for k in range(_TICKS + 1):
        value = edges[0] + (edges[-1] - edges[0]) * k / _TICKS
        x = _x(value, edges)
        drawn += _line(x, floor, x, floor + 4, "base", INK)
        drawn += _text(x, floor + 18, _value(value, in_percent=in_percent), anchor="middle")
    return drawn + _text((LEFT + WIDTH - RIGHT) / 2, floor + 37, axis, anchor="middle")


def _mark(mark: Mark, edges: Sequence[float], n: int) -> str:
    """Return a dashed line through the panels, its text above the first on the freer side."""
    x = _x(mark.value, edges)
    drawn = "".join(
        f'<path class="mark" d="M{x:.2f} {(k + 1) * (HEIGHT + APART)}v-{HEIGHT + 6}" '
        f'stroke="{INK}" stroke-width="1.4" stroke-dasharray="5 3" fill="none"/>'
        for k in range(n)
    )
    return drawn + _text(WIDTH - RIGHT, 12, f"┆ {mark.text}", anchor="end")


def _x(value: float, edges: Sequence[float]) -> float:
    return LEFT + (WIDTH - RIGHT - LEFT) * (value - edges[0]) / (edges[-1] - edges[0])


def _value(value: float, *, in_percent: bool) -> str:
    return percent(value) if in_percent else f"{value:.4g}"


def _line(x: float, y: float, to_x: float, to_y: float, kind: str, colour: str) -> str:
    return (
        f'<path class="{kind}" d="M{x:.2f} {y:.2f}L{to_x:.2f} {to_y:.2f}" stroke="{colour}" '
        f'fill="none"/>'
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False, soft: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    look = f'class="soft-ink" fill="{SOFT}"' if soft else f'class="ink" fill="{INK}"'
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}"{weight} {look}>{escape(text)}</text>'
    )
