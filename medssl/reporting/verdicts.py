"""The verdict lights of a report: what each control found, told by shape and word, then colour."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from markupsafe import Markup

from medssl.evaluation.controls.verdicts import Verdict

WORDS = {"pass": "passed", "warn": "caution", "fail": "failed", "not assessed": "not assessed"}
_COLOURS = {"pass": "#0b6e4f", "warn": "#a35a00", "fail": "#b3261e", "not assessed": "#52606d"}
# Attributes, which hold where no style sheet reaches into a figure; one that does goes first.
_MARK = 'class="mark" fill="none" stroke="#ffffff" stroke-width="2.4"'
_LINE = f'fill="none" stroke="{_COLOURS["not assessed"]}" stroke-width="2"'
_SHAPES = {  # in a box of 24 x 24
    "pass": f'<circle cx="12" cy="12" r="10"/><path {_MARK} d="M7 12.5l3.5 3.5L17 9"/>',
    "warn": f'<path d="M12 2L23 22H1z"/><path {_MARK} d="M12 9v6M12 18v1"/>',
    "fail": f'<path d="M8 2h8l6 6v8l-6 6H8l-6-6V8z"/><path {_MARK} d="M8 8l8 8M16 8l-8 8"/>',
    "not assessed": f'<circle class="hollow" {_LINE} stroke-dasharray="4 3" cx="12" cy="12" '
    f'r="9.5"/><path class="stroke" {_LINE} d="M8 12h8"/>',
}


def record(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return verdicts as JSON values, in their order."""
    return [{"title": verdict.title} | asdict(verdict) for verdict in verdicts]


def shape(light: str) -> Markup:
    """Return the shape of a light as an SVG element, named for who does not see it."""
    drawn = f'<svg class="light" viewBox="0 0 24 24" fill="{_COLOURS[light]}" role="img" '
    drawn += f'aria-label="{WORDS[light]}">'
    return Markup(f"{drawn}{_SHAPES[light]}</svg>")


def word(light: str) -> str:
    """Return the word that stands beside a light."""
    return WORDS[light]


def summary(controls: Sequence[Mapping[str, Any]]) -> str:
    """Return how many lights of each kind there are, the gravest first.

    >>> summary([{"light": "pass"}, {"light": "fail"}, {"light": "pass"}])
    '1 failed, 2 passed'
    """
    lights = [row["light"] for row in controls]
    order = ("fail", "warn", "pass", "not assessed")
    words = WORDS | {"warn": "caution" if lights.count("warn") == 1 else "cautions"}
    return ", ".join(f"{lights.count(one)} {words[one]}" for one in order if one in lights)
