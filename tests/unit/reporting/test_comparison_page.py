"""The page of a comparison: every number of the record, and nothing that needs a network."""

import copy
import re
from xml.etree import ElementTree

import pytest
from html_outline import listed, outline, text_of

from medssl.evaluation.label_efficiency import BY_CHANCE, RANDOM, REDUCED, Arm
from medssl.reporting import page


@pytest.fixture(scope="module")
def compared(comparison_of):
    return comparison_of()


def test_a_comparison_shows_every_number_it_has(compared):
    text = text_of(page.render_comparison(compared))
    assert "2 runs compared on the same folds, 3 configurations tried in all" in text
    for row in compared["estimates"]:
        assert f"{page.number(row['value'])} {page.number(row['low'])} to" in text
    better = {"auroc": "higher", "average_precision": "higher", "brier": "lower",
              "scaled_brier": "higher"}  # fmt: skip
    assert compared["better"] == better
    for row in compared["differences"]:
        name = f"{row['run']} − {row['against']}"
        low, high = page.signed(row["low"]), page.signed(row["high"])
        told = f"{row['title']} {better[row['metric']]} {page.signed(row['value'])}"
        assert f"{name} {told} {low} to {high}" in text
    assert "schedule s0 s1" in text
    assert "Caution beware." in text
    assert "Note: of note." in text
    (test,) = compared["tests"]
    assert f"AUROC {page.chance(test['p'])} {page.chance(test['smallest_p'])}" in text
    assert "plain AUROC 0.071 0.700, 0.800" in text
    least = page.chance(test["smallest_p"])
    assert f"the smallest p that its patients and swaps allow is {least}" in text
    assert text.index("P-values") > text.index("From training to training")
    assert "Exploratory" in text
    assert "By start" not in text
    assert "By number" not in text


def test_several_differences_are_corrected_for_their_number(comparison_of):
    record = comparison_of(names=("a", "b", "c"), every=True)
    text = text_of(page.render_comparison(record))
    assert "Corrected for 3 (Holm)" in text
    assert "The 3 differences of this table are one family" in text
    assert "the smallest p of 3 can be 0.030 at best" in text  # 99 swaps, three times
    for row in record["tests"]:
        shown = [page.chance(row[name]) for name in ("p", "smallest_p", "p_holm")]
        corrected = row["corrected_t"]
        assert f"AUROC {' '.join(shown)} p {page.chance(corrected['p'])}" in text


def test_runs_of_several_starts_and_sizes_have_a_table_and_curves(comparison_of):
    names = ("r", "own", "r20", "own20")
    arms = [
        Arm(run="r", kind=RANDOM, start=RANDOM, schedule="full", patients=60.5),
        Arm(run="own", kind=REDUCED, start="vicreg <own>", schedule="full", patients=60.5),
        Arm(run="r20", kind=RANDOM, start=RANDOM, schedule="full", patients=20),
        Arm(run="own20", kind=REDUCED, start="vicreg <own>", schedule="full", patients=20),
    ]
    record = comparison_of(names=names, arms=arms)
    html = page.render_comparison(record)
    text = text_of(html)
    value = {row["run"]: row["value"] for row in record["estimates"] if row["metric"] == "auroc"}
    assert f"vicreg <own> own 60 {page.number(value['own'])}" in text
    assert f"vicreg <own> own20 20 {page.number(value['own20'])}" in text
    assert f"{BY_CHANCE} not among these runs" in text
    assert "against r" in text
    parsed = outline(html)
    assert len(set(parsed.ids)) == len(parsed.ids)
    drawn = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawn) == 7  # two of each metric, and the curves
    assert all(ElementTree.fromstring(svg).get("viewBox") for svg in drawn)


def test_a_comparison_needs_nothing_else_and_is_well_formed(compared):
    html = page.render_comparison(compared)
    parsed = outline(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", html)
    assert len(set(parsed.ids)) == len(parsed.ids)
    drawn = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawn) == 6  # of three metrics the estimates and their differences
    for svg in drawn:
        assert ElementTree.fromstring(svg).get("viewBox")
    assert "slow &amp; &lt;sure&gt;" in html
    assert page.render_comparison(copy.deepcopy(compared)) == html


def test_a_comparison_of_several_classes_draws_the_average(comparison_of):
    record = comparison_of(classes=("a", "b", "c", "d"))
    html = page.render_comparison(record)
    assert len(re.findall("<svg", html)) == 2
    text = text_of(html)
    assert "macro average" in text
    for name in "abcd":
        assert re.search(rf"− plain {name} AUROC higher [+−]?[\d.]+ ", text)


def test_every_value_has_its_name_where_tables_become_lists(comparison_of):
    record = comparison_of(names=("a", "b", "c"), every=True)
    tables, unnamed = listed(page.render_comparison(record))
    assert (tables, unnamed) == (6, [])  # runs, estimates, differences, seeds, p-values, settings
