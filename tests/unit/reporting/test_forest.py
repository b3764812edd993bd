import re
from xml.etree import ElementTree

import pytest

from medssl.reporting import figures, forest


def rows(*values, **more):
    return [
        {"title": "AUROC", "no_skill": 0.5, "value": value, "low": low, "high": high} | more
        for value, low, high in values
    ]


def words(svg):
    drawn = re.findall(r"<svg.*?</svg>", svg, flags=re.DOTALL)
    assert len(drawn) == 2
    found = (ElementTree.fromstring(one).iter("{http://www.w3.org/2000/svg}text") for one in drawn)
    return [element.text for one in found for element in one]


def drawn(higher=True, names=("plain", "slow")):
    estimates = rows((0.7, 0.6, 0.8), (0.8, 0.7, 0.9))
    named = [row | {"run": name} for row, name in zip(estimates, names, strict=True)]
    difference = {"run": names[1], "against": names[0], "higher_is_better": higher}
    return forest.draw(named, rows((0.1, -0.05, 0.2), **difference), "auroc")


def test_each_run_and_each_difference_has_a_line():
    svg = drawn()
    assert {"plain", "slow", "slow − plain", "AUROC; dashed: no skill"} <= set(words(svg))
    assert len(re.findall(r'<use [^>]*style="fill: #0072b2', svg)) == 3


@pytest.mark.parametrize(("higher", "side"), [(True, "right"), (False, "left")])
def test_the_better_side_is_named(higher, side):
    assert f"Difference; {side} of the line is better" in words(drawn(higher))


def test_ids_carry_the_name_so_that_several_fit_on_a_page():
    svg = drawn()
    named = set(re.findall(r'\bid="(auroc-estimates|auroc-differences|)', svg))
    assert named == {"auroc-estimates", "auroc-differences"}
    assert len(set(re.findall(r'\bid="([^"]+)"', svg))) == len(re.findall(r'\bid="', svg))


def test_a_name_is_shown_as_it_is_and_cut_where_it_is_long():
    shown = words(drawn(names=("$a_$b", "x" * 80)))
    assert "$a_$b" in shown
    assert "x" * (forest.MOST_LETTERS - 1) + "…" in shown


def test_what_has_no_value_without_skill_has_no_dashed_line():
    estimates = [row | {"run": "a", "no_skill": None, "title": "Error"} for row in rows((3, 2, 4))]
    difference = {"run": "b", "against": "a", "higher_is_better": False}
    svg = forest.draw(estimates, rows((0.1, 0.05, 0.2), **difference), "mae")
    assert "Error" in words(svg)
    assert "stroke-dasharray: 3.6" not in svg
    assert "stroke-dasharray: 3.6" in drawn()


def test_two_long_names_are_both_seen():
    shown = words(drawn(names=("first" * 9, "second" * 9)))
    assert "secondsecondse… − firstfirstfirs…" in shown


def test_an_undefined_interval_leaves_the_dot():
    estimates = [row | {"run": "a"} for row in rows((0.7, None, None))]
    difference = {"run": "b", "against": "a", "higher_is_better": True}
    svg = forest.draw(estimates, rows((0.1, None, None), **difference), "auroc")
    assert figures.COLOURS[0] in svg
