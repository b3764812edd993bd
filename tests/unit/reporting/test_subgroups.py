"""Groups and failures on the page: their records, tables and figures."""

import copy
import json

import numpy as np
import pytest
from html_outline import outline, text_of

from medssl.evaluation import failures, intervals
from medssl.evaluation import subgroups as groups
from medssl.evaluation.attributes import Attribute
from medssl.reporting import page, subgroups


def _group(units, name, words, chosen=(), **facts):
    attribute = Attribute(name=name, values=tuple(words), **facts)
    draws = intervals.draw_both(units.stratum, 100, np.random.default_rng(0))
    return groups.assess(attribute, units, draws, groups.calls(units, 0.5, chosen), 0.95)


@pytest.fixture(scope="module")
def shown(findings_of, report):
    """A report of 60 patients with three groups by age, one of them small, and no sex."""
    units = findings_of().units
    ages = ["80-89"] * 8 + ["6-12", "6-12", "18-29", "18-29"] * 13
    found = [_group(units, "age_band", ages), _group(units, "sex", [None] * 60, reason="unknown")]
    names = [(f"key{n:02d}", None) for n in range(60)]
    record = copy.deepcopy(report)
    record["subgroups"] = subgroups.record(found)
    record["subgroup_guard"] = 10
    record["failures"] = subgroups.failures(failures.find(units, names, 0.5, 3))
    return json.loads(json.dumps(record))


def _page(report):
    """The page without the figures of other parts."""
    drawn = subgroups.figures_of(report) if report["subgroups"] else {}
    return page.fill("report.html.j2", report, drawn)


@pytest.fixture(scope="module")
def html(shown):
    return _page(shown)


def test_every_group_and_gap_stands_on_the_page(html, shown):
    text = text_of(html)
    (by_age, _) = shown["subgroups"]
    assert [group["name"] for group in by_age["groups"]] == ["6-12", "18-29", "80-89"]
    for group in by_age["groups"][:2]:
        for row in group["values"]:
            ends = f"{page.number(row['low'])} to {page.number(row['high'])}"
            assert f"{page.number(row['value'])} {ends}" in text
    assert "not assessed: 4 patients with a positive, 4 with a negative label" in text
    assert "at the threshold of the whole report, 0.5" in text
    n = len(by_age["gaps"])
    assert f"2 groups by 1 attribute make {n} gaps, of which some leave out 0 by chance" in text
    for gap in by_age["gaps"]:
        assert f"age band {gap['title']} {gap['worst']} {gap['best']} 2" in text
    assert "Not assessed: sex (unknown)" in text


def test_failures_stand_on_the_page_in_their_order(html, shown):
    keys = [row["patient_key"] for row in shown["failures"]["rows"]]
    places = [html.index(key) for key in keys]
    assert len(places) == 6
    assert places == sorted(places)


def test_both_figures_are_drawn_with_ids_of_their_own(html, shown):
    assert set(subgroups.figures_of(shown)) == {"subgroups-0", "accuracies"}
    ids = outline(html).ids
    assert len(set(ids)) == len(ids)
    assert "age band 18-29" in html
    assert "age band 80-89" not in html  # it is not judged


def test_without_groups_nothing_is_said_of_them(report):
    record = copy.deepcopy(report) | {"subgroups": [], "failures": None}
    text = text_of(_page(record))
    assert "Subgroups" not in text
    assert "Called wrongly" not in text


def test_a_name_that_looks_like_markup_is_text(shown):
    record = copy.deepcopy(shown)
    for group in record["subgroups"][0]["groups"]:
        group["name"] = "<b>$a_$b</b>"
    assert "<b>$a_$b" not in _page(record)


def test_a_figure_stands_under_the_name_of_its_own_column(shown, monkeypatch):
    """The groups of the first column are all too small, so that nothing is drawn of it."""
    record = copy.deepcopy(shown)
    first = record["columns"][0]
    record["columns"] = ["rare", first]
    for group in record["subgroups"][0]["groups"]:
        group["column"] = first
    record["task"] = "multi_label"
    monkeypatch.setattr(subgroups, "draw", lambda *_: "<svg></svg>")
    assert "subgroups-0" not in subgroups.figures_of(record)
    assert f"<figcaption>{first}: estimate and" in _page(record)
    assert "<figcaption>rare" not in _page(record)


def test_the_line_of_all_is_drawn_by_the_calls_of_the_groups(shown, monkeypatch):
    """At thresholds chosen on inner parts both are those of the calls made there."""
    record = copy.deepcopy(shown)
    seen = {}

    def draw(lines, overall, name):
        seen[name] = ([text for text, _ in lines], overall)
        return ""

    monkeypatch.setattr(subgroups, "draw", draw)
    by_age = record["subgroups"][0]
    subgroups.figures_of(record)
    values = {row["metric"]: row["value"] for row in record["estimates"]}
    assert seen["subgroups-0"][1]["sensitivity"] == values["sensitivity"]
    assert seen["subgroups-0"][0] == ["age band 6-12", "age band 18-29"]
    by_age |= {"calls": "chosen_thresholds", "attribute": "sex*age_band"}
    shares = [{"metric": "sensitivity", "value": 0.8125}, {"metric": "ppv", "value": None}]
    record["chosen_thresholds"] = {"shares": shares}
    subgroups.figures_of(record)
    assert seen["subgroups-0"][1]["sensitivity"] == 0.8125
    assert seen["subgroups-0"][1]["auroc"] == values["auroc"]
    assert seen["subgroups-0"][0] == ["6-12", "18-29"]
