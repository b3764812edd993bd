"""The annex: all items of the guidelines, facts only where the run has them, no verdict."""

import copy
import re

import pytest
from html_outline import outline, text_of

from medssl.reporting import checklist, page


@pytest.fixture(scope="module")
def filled(report):
    return {one.name: one for one in checklist.fill(report)}


def numbers(one):
    return [item.number for item in one.items]


def said(filled, name, number):
    if name == "CLAIM 2024":  # its items have no numbers here
        return filled[name].items[int(number) - 1].said
    return next(item.said for item in filled[name].items if item.number == number)


def test_every_item_of_the_guidelines_is_there_once_and_in_order(filled):
    assert numbers(filled["CLAIM 2024"]) == [""] * 38 + ["39"] + [""] * 5
    assert numbers(filled["METRICS"]) == [str(n) for n in range(1, 31)]
    tripod = numbers(filled["TRIPOD+AI"])
    assert len(tripod) == len(set(tripod)) == 52
    assert list(dict.fromkeys(int(re.match(r"\d+", n)[0]) for n in tripod)) == [*range(1, 28)]


def test_facts_are_those_of_the_report(filled, report):
    first = report["estimates"][0]
    assert f"{first['value']:.3f} ({first['low']:.3f} to {first['high']:.3f})" in said(
        filled, "TRIPOD+AI", "23a"
    )
    assert "60 patients, 60 images" in said(filled, "CLAIM 2024", "7")
    assert said(filled, "METRICS", "4") == "2 sites: north, south"
    assert "100 resamples of patients" in said(filled, "METRICS", "21")


def test_what_a_run_cannot_know_is_left_to_the_author(filled):
    for name, number in (("TRIPOD+AI", "17"), ("TRIPOD+AI", "3c"), ("CLAIM 2024", "10"),
                         ("CLAIM 2024", "44"), ("METRICS", "28")):  # fmt: skip
        assert said(filled, name, number) is None
    for one in filled.values():
        assert 0 < one.n_filled < len(one.items)


def test_a_table_of_predictions_says_nothing_of_training(foreign_report):
    filled = {one.name: one for one in checklist.fill(foreign_report)}
    for number in ("12a", "12c", "12g", "13", "22"):
        assert said(filled, "TRIPOD+AI", number) is None
    for number in ("19", "20", "24", "32", "33"):
        assert said(filled, "CLAIM 2024", number) is None


@pytest.mark.parametrize(("by", "internal"), [("folds", True), ("site", False), ("time", True)])
def test_testing_is_internal_unless_sites_are_held_out(report, by, internal):
    changed = copy.deepcopy(report)
    changed["splits"]["by"] = by
    filled = {one.name: one for one in checklist.fill(changed)}
    assert (said(filled, "METRICS", "26") is not None) is internal
    assert (said(filled, "METRICS", "27") is not None) is not internal


def test_controls_that_ran_are_told_and_others_are_not(report):
    ran = {"title": "Metadata alone", "name": "metadata", "light": "warn", "said": "AUROC 0.65"}
    idle = {"title": "Site alone", "name": "site", "light": "not assessed", "said": "one site"}
    filled = {one.name: one for one in checklist.fill(report | {"controls": [ran, idle]})}
    assert said(filled, "METRICS", "19") == "Metadata alone, warn: AUROC 0.65"
    assert said(filled, "TRIPOD+AI", "12d") is None


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("report", ("roc", "risks", "folds")),
        ("foreign_report", ("roc", "risks", "folds")),
        ("amounts_report", ("agreement",)),
    ],
)
def test_every_link_of_the_annex_leads_to_a_section_that_is_there(request, name, drawn):
    drawn = dict.fromkeys(drawn, "")
    html = page.fill("report.html.j2", request.getfixturevalue(name), drawn)
    annex = html[html.index('id="annex"') :]
    linked = set(re.findall(r'href="#([^"]+)"', annex))
    assert linked
    assert linked <= set(outline(html).ids)


def test_the_annex_calls_nobody_compliant(report):
    drawn = {"roc": "", "risks": "", "folds": ""}
    text = text_of(page.fill("report.html.j2", report, drawn))
    annex = text[text.index("Annex: reporting guidelines") :]
    assert "nobody is told that a study is compliant" in annex
    assert len(re.findall(r"complian|adheren|fulfilled", annex)) == 2  # both in that sentence
    assert "author must complete" in annex


def test_the_cohort_answers_what_guidelines_ask_about_it(report):
    filled = {one.name: one for one in checklist.fill(report)}
    flow = said(filled, "TRIPOD+AI", "20a")
    assert flow == said(filled, "CLAIM 2024", "35")
    for part in ("1234 files found", "left out 1134", "without a label 40", "60 patients"):
        assert part in flow
    assert said(filled, "TRIPOD+AI", "6b").startswith("left out: left out 1134, without a label 40")
    assert "age band, in all and by test fold" in said(filled, "TRIPOD+AI", "20b")
    unknown = copy.deepcopy(report)
    unknown["cohort_flow"]["steps"] = []
    unknown["table_one"]["rows"] = []
    filled = {one.name: one for one in checklist.fill(unknown)}
    assert "60 patients, 60 images" in said(filled, "TRIPOD+AI", "20a")
    for number in ("6b", "11", "20b"):
        assert said(filled, "TRIPOD+AI", number) is None


def test_subgroups_failures_and_external_tests_are_told_where_there_are_any(report):
    changed = copy.deepcopy(report)
    group = {"values": [{"metric": "auroc"}]}
    changed["subgroups"] = [{"attribute": "age_band", "groups": [group]}]
    changed["failures"] = {"rows": [{}, {}]}
    changed["external"] = {"n_models": 3, "known_patients": 0, "beside": []}
    filled = {one.name: one for one in checklist.fill(changed)}
    assert said(filled, "TRIPOD+AI", "23a").endswith("; subgroups by age band")
    assert said(filled, "CLAIM 2024", "39").startswith("2 listed by a fixed rule")
    assert said(filled, "METRICS", "27").startswith("60 patients, 60 images of another archive")
    before = {one.name: one for one in checklist.fill(report)}
    assert "subgroups by" not in said(before, "TRIPOD+AI", "23a")
    for number in ("33", "39"):
        assert said(before, "CLAIM 2024", number) is None


@pytest.mark.parametrize(("by", "known"), [("hold_out", "sites held out"), ("time", None)])
def test_patients_held_out_of_the_archive_of_the_run_are_no_external_data(report, by, known):
    changed = copy.deepcopy(report)
    changed["splits"]["by"] = by
    changed["external"] = {"n_models": 1, "known_patients": 40, "beside": [], "own": True}
    filled = {one.name: one for one in checklist.fill(changed)}
    found = said(filled, "METRICS", "27")
    assert found is None if known is None else found.startswith(known)
    kept = [item.said for one in filled.values() for item in one.items if item.said]
    assert not any("another archive" in text for text in kept)
    assert any("patients held out of all models tested" in text for text in kept)
