"""Curves over the number of training patients."""

import re
from xml.etree import ElementTree

from medssl.reporting import efficiency, figures


def line(name, *points):
    return {
        "name": name,
        "points": [
            {"run": f"{name}-{n}", "patients": n, "value": v, "low": v - 0.1, "high": v + 0.1}
            for n, v in points
        ],
    }


def drawn(*lines, no_skill=0.5, title="AUROC", better="higher"):
    curve = {"lines": list(lines), "no_skill": no_skill, "title": title}
    return efficiency.draw(curve, "efficiency-0", better)


def words(svg):
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [element.text for element in found]


def test_each_start_has_a_line_with_a_look_of_its_own_and_a_name():
    svg = drawn(line("_random", (20, 0.6), (60, 0.7)), line("$own$", (60, 0.8)))
    shown = words(svg)
    assert {"_random", "$own$", "20", "60", "AUROC; dashed: no skill"} <= set(shown)
    assert "Training patients, mean over folds" in shown
    for colour in figures.COLOURS[:2]:
        assert f"stroke: {colour}" in svg
    assert set(re.findall(r'\bid="(efficiency|)', svg)) == {"efficiency"}


def test_sizes_far_apart_are_drawn_by_their_ratio():
    svg = drawn(line("own", (10, 0.6), (20, 0.7), (80, 0.8)))
    assert "Training patients, mean over folds, log scale" in words(svg)


def test_an_undefined_point_leaves_the_others():
    known = line("own", (20, 0.6), (40, 0.7))
    known["points"][0] |= {"value": None, "low": None, "high": None}
    assert "efficiency" in drawn(known)


def test_an_amount_has_no_line_of_no_skill_and_says_what_is_better():
    points = (20, 9.5), (40, 8.0)
    shown = words(drawn(line("own", *points), no_skill=None, title="Error", better="lower"))
    assert "Error; better: lower" in shown
