import copy
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from jinja2 import UndefinedError

from medssl.reporting import page

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Outline(HTMLParser):
    """Collects tags, ids and text, and fails on a tag that is not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.words = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


def outline(html):
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


def text_of(html):
    return " ".join(" ".join(outline(html).words).split())


@pytest.fixture(scope="module")
def html(report):
    return page.render(report)


def test_the_page_needs_nothing_else(html, foreign_report):
    for content in (html, page.render(foreign_report)):
        parsed = outline(content)
        assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
        assert "@import" not in content
        assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", content)
        assert not re.search(r"url\((?!#)", content)


def test_ids_are_unique_although_there_are_several_figures(html):
    ids = outline(html).ids
    assert len(ids) > 20
    assert len(set(ids)) == len(ids)


def test_references_inside_figures_resolve(html):
    ids = set(outline(html).ids)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', html)
    assert used
    assert set(used) <= ids


def test_every_estimate_stands_beside_its_interval(html, report):
    text = text_of(html)
    for row in report["estimates"]:
        low, high = page.number(row["low"]), page.number(row["high"])
        assert f"{row['title']} {page.number(row['value'])} {low} to {high}" in text
    prevalence = page.number(report["estimates"][1]["no_skill"])
    assert f"{prevalence} (prevalence)" in text


def test_the_facts_are_there(html, report):
    text = text_of(html)
    assert text.count("esearch use; not a medical device") == 2
    assert "60 patients, 30 of them positive for “1”" in text
    assert "Unit of analysis patient every patient has one image" in text
    assert report["splits"]["digest"] in text
    assert "north, south" in text
    assert "For display only, not for testing" in text
    assert "ab" * 32 in text


def test_cautions_and_notes_are_shown(report):
    changed = copy.deepcopy(report)
    changed["cautions"] = ["Patients unknown: beware"]
    changed["notes"] = ["Something was left out"]
    text = text_of(page.render(changed))
    assert "Caution Patients unknown: beware." in text
    assert "Note: Something was left out." in text


def test_names_are_escaped(foreign_report):
    html = page.render(foreign_report)
    assert "<script" not in html
    assert "b&lt;script&gt;alert(1)" in html
    assert "Note: x &lt; y." in html


def test_several_classes_have_a_row_each(foreign_report):
    text = text_of(page.render(foreign_report))
    assert "AUROC, macro average" in text
    assert "4 classes in 80 patients" in text
    for row in foreign_report["estimates"][1:]:
        if row["metric"] == "auroc":  # beside its curve in the legend
            assert f"{row['column']} {page.number(row['value'])}" in text
    assert "each class against the rest" in text
    assert "how they were made is not known here" in text


def test_unknown_patients_are_not_counted(report):
    changed = copy.deepcopy(report)
    changed["cohort"]["patients"] = None
    text = text_of(page.render(changed))
    assert "60 images, 30 of them positive" in text
    assert "Patients – unknown" in text


def test_what_is_missing_is_left_out(report):
    changed = copy.deepcopy(report)
    changed["curves"]["calibration"] = []
    changed["folds"] = {"drift": [], "rows": []}
    text = text_of(page.render(changed))
    assert "Calibration" not in text
    assert "Per fold" not in text


def test_undefined_numbers_are_dashes(report):
    changed = copy.deepcopy(report)
    changed["estimates"][0] |= {"low": None, "high": None}
    changed["curves"]["roc"][0]["low"][3] = None
    assert "– to –" in text_of(page.render(changed))


def test_the_same_report_gives_the_same_page(report, html):
    assert page.render(copy.deepcopy(report)) == html


def test_a_missing_fact_is_not_papered_over(report):
    changed = copy.deepcopy(report)
    del changed["cohort"]["sites"]
    with pytest.raises(UndefinedError, match="sites"):
        page.render(changed)


def test_figures_are_well_formed_and_described(html):
    drawn = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawn) == 3
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.get("viewBox")
        assert root.get("width") is None
    assert html.count('role="group" aria-label=') == 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.87654, "0.877"), (-0.1, "−0.100"), (None, "–"), (float("nan"), "–"), (0, "0.000")],
)
def test_numbers(value, shown):
    assert page.number(value) == shown


def test_counts_and_percents():
    assert page.count(12345) == "12\N{NARROW NO-BREAK SPACE}345"
    assert page.count(None) == "–"
    assert page.percent(0.95) == "95 %"
    assert page.percent(0.975) == "97.5 %"
