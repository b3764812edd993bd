"""The flow of files through an ingest as one SVG: what was found, left out and written.

Colours stand in attributes, so that the figure holds alone in a paper; the classes let a page set
its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from medssl.reporting.figures import INK, PAGE_FONTS
from medssl.reporting.numbers import count

Row = Mapping[str, Any]

SOFT, PAPER, WASH = "#52606d", "#ffffff", "#f5f7f9"
WIDTH, LEFT, RIGHT = 960, 340, 500  # of the figure, of a step, of what it leaves out; px
LINE, PAD = 19, 13  # height of a line of text, space inside a box; px
APART = 22  # least space above and below a box on the right
MOST_REASONS = 12  # in one box
LANDMARKS = ("written",)  # steps that are drawn though they leave nothing out
TALL = (
    1100  # px, beyond which a figure beside other things on a page of paper has too small letters
)
_MIDDLE = LEFT / 2


def draw(flow: Sequence[Row], title: str = "Flow of files") -> str:
    """Return the figure.

    Args:
        flow: As in the record of an ingest, or of the cohort of a report. A step that left nothing
            out is not drawn. ``lines`` of a step are told below its counts.
        title: Of the figure, for who does not see it.
    """
    steps = [
        row for n, row in enumerate(flow) if not n or row["left_out"] or row["step"] in LANDMARKS
    ]
    if steps[-1] is not flow[-1]:
        steps.append(flow[-1])
    parts: list[str] = []
    y = 1.0
    for number, step in enumerate(steps):
        if number:
            drawn, y = _between(step["left_out"], y)
            parts.append(drawn)
        drawn, y = _step(step, y, is_end=number in {0, len(steps) - 1})
        parts.append(drawn)
    kind = "flow tall" if y > TALL else "flow"
    return (
        f'<svg class="{kind}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 1:g}" '
        f'role="img" aria-labelledby="flow-title flow-words" font-size="14" '
        f'font-family="{PAGE_FONTS}"><title id="flow-title">{escape(title)}</title>'
        f'<desc id="flow-words">{escape(words(flow))}</desc>{"".join(parts)}</svg>'
    )


def words(flow: Sequence[Row]) -> str:
    """Return the figure in words."""
    said = []
    for step in flow:
        if left := step["left_out"]:
            reasons = ", ".join(f"{row['title']} {count(_many(row))}" for row in left["codes"])
            said.append(f"{left['title']}: {count(_many(left))} ({reasons}).")
        if left or step in (flow[0], flow[-1]):
            said.append(f"{step['title']}: {', '.join(_lines(step))}.")
    return " ".join(said)


def _lines(step: Row) -> list[str]:
    """Return what is known of a step, at most three counts a line."""
    known = [
        f"{count(step[name])} {name if step[name] != 1 or name == 'series' else _single(name)}"
        for name in ("files", "patients", "studies", "series", "images")
        if step[name] is not None
    ]
    counts = [known[0], *(" · ".join(known[k : k + 2]) for k in range(1, len(known), 2))]
    return [*counts, *step.get("lines", ())]


def _many(row: Row) -> int:
    """Return how many files were left out; of a cohort, how many images or series."""
    return int(row["count"] if "count" in row else row["files"])


def _single(name: str) -> str:
    return {"studies": "study"}.get(name, name.removesuffix("s"))


def _step(step: Row, y: float, *, is_end: bool) -> tuple[str, float]:
    """Return one box on the left and where it ends."""
    lines = _lines(step)
    height = 2 * PAD + LINE * (1 + len(lines))
    drawn = _box(1, y, LEFT, height, fill=WASH if is_end else PAPER)
    drawn += _text(_MIDDLE, y + PAD + LINE - 5, step["title"], anchor="middle", bold=True)
    for n, line in enumerate(lines):
        drawn += _text(_MIDDLE, y + PAD + LINE * (n + 2) - 5, line, anchor="middle")
    return drawn, y + height


def _between(left: Row | None, y: float) -> tuple[str, float]:
    """Return the arrow down and what is left out on the way, and where the next step begins."""
    if left is None:
        return _arrow(_MIDDLE, y, _MIDDLE, y + 2 * APART), y + 2 * APART
    shown, hidden = left["codes"][:MOST_REASONS], left["codes"][MOST_REASONS:]
    told = _patients(left)
    height = 2 * PAD + LINE * (1 + len(shown) + bool(hidden) + bool(told))
    top, x = y + APART, WIDTH - RIGHT - 1
    middle = top + height / 2
    drawn = _arrow(_MIDDLE, y, _MIDDLE, top + height + APART) + _arrow(_MIDDLE, middle, x, middle)
    drawn += _box(x, top, RIGHT, height, fill=PAPER)
    baseline = top + PAD + LINE - 5
    drawn += _entry(x, baseline, left["title"], _many(left), bold=True)
    for row in shown:
        baseline += LINE
        drawn += _mark(x + PAD, baseline - 9, is_reject=row["is_reject"])
        drawn += _entry(x + 16, baseline, row["title"], _many(row))
    if hidden:
        baseline += LINE
        rest = f"{len(hidden)} more reasons"
        drawn += _entry(x + 16, baseline, rest, sum(_many(row) for row in hidden))
    if told:
        drawn += _text(x + PAD, baseline + LINE, told, soft=True)
    return drawn, top + height + APART


def _patients(left: Row) -> str:
    n, lost = left["patients"], left["patients_without_image"]
    if not n:
        return ""
    text = f"{count(n)} {'patient' if n == 1 else 'patients'} affected"
    return f"{text}, {count(lost)} with no image left" if lost else text


def _entry(x: float, y: float, title: str, files: int, *, bold: bool = False) -> str:
    """Return a title at the left of a box on the right, and its number of files at the right."""
    number = _text(WIDTH - 1 - PAD, y, count(files), anchor="end", bold=bold)
    return _text(x + PAD, y, title, bold=bold) + number


def _mark(x: float, y: float, *, is_reject: bool) -> str:
    """Return a small square, full for a reject and empty for what is left out by design."""
    fill = f'fill="{SOFT}" class="mark full"' if is_reject else 'fill="none" class="mark"'
    return f'<rect x="{x:g}" y="{y:g}" width="8" height="8" stroke="{SOFT}" {fill}/>'


def _box(x: float, y: float, width: float, height: float, *, fill: str) -> str:
    return (
        f'<rect class="box{" end" if fill == WASH else ""}" x="{x:g}" y="{y:g}" '
        f'width="{width:g}" height="{height:g}" rx="4" fill="{fill}" stroke="{SOFT}"/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    bold: bool = False,
    soft: bool = False,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    look = f'class="soft-ink" fill="{SOFT}"' if soft else f'class="ink" fill="{INK}"'
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"{weight}'
    return f"<text {place} {look}>{escape(text)}</text>"


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return an arrow to the right or down."""
    head = f"M{to_x:g} {to_y:g}{'l-8 -4v8z' if y == to_y else 'l-4 -8h8z'}"
    return (
        f'<path class="line" d="M{x:g} {y:g}L{to_x:g} {to_y:g}" stroke="{SOFT}" fill="none"/>'
        f'<path class="head" d="{head}" fill="{SOFT}"/>'
    )
