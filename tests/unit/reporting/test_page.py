import copy
import re
from xml.etree import ElementTree

import pytest
from html_outline import outline, text_of
from jinja2 import UndefinedError

from medssl.evaluation.label_efficiency import BY_CHANCE, RANDOM, REDUCED, Arm
from medssl.reporting import page


def words_of(report):
    """The text of a page, without drawing its figures, which takes nearly all the time."""
    return text_of(page.fill("report.html.j2", report, {"roc": "", "risks": "", "folds": ""}))


@pytest.fixture(scope="module")
def html(report):
    return page.render(report)


@pytest.fixture(scope="module")
def foreign_html(foreign_report):
    return page.render(foreign_report)


def test_the_page_needs_nothing_else(html, foreign_html):
    for content in (html, foreign_html):
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
    assert f"{prevalence} no skill (prevalence)" in text


def test_a_slope_is_held_against_its_ideal(html):
    text = text_of(html)
    assert re.search(r"Calibration slope [\d.]+ [\d.]+ to [\d.]+ 1 ideal", text)
    assert re.search(r"Calibration intercept [−\d.]+ [−\d.]+ to [−\d.]+ 0 ideal", text)


def test_the_threshold_is_stated_with_its_counts(html, report):
    text = text_of(html)
    assert "A patient is called positive from a score of 0.5 on" in text
    assert "was not chosen on these data" in text
    (point,) = report["operating_points"]
    hits, missed = point["true_positives"], point["false_negatives"]
    assert f"Positive {hits} {missed} {hits + missed}" in text
    ppv, npv = (page.number(row["value"]) for row in point["predictive"])
    assert re.search(rf"5 % {ppv} \(.*?\) {npv} \(", text)


def test_a_given_threshold_is_not_vouched_for(report):
    changed = copy.deepcopy(report)
    changed["threshold"] = {"value": 0.31, "chosen": "given"}
    text = words_of(changed)
    assert "from a score of 0.31 on" in text
    assert "too good" in text
    assert "was not chosen on these data" not in text


def test_an_interval_by_wilson_is_marked(report, html):
    changed = copy.deepcopy(report)
    assert "* Wilson" not in html
    changed["estimates"][-2]["interval"] = "wilson"
    assert "* Wilson interval on the number of patients" in words_of(changed)


def test_predictive_values_by_wilson_are_marked_for_one_class_and_for_several(
    report, foreign_report
):
    for known in (report, foreign_report):
        changed = copy.deepcopy(known)
        for row in changed["operating_points"][0]["predictive"]:
            row["interval"] = "wilson"
        marked, plain = (words_of(one).count(" *)") for one in (changed, known))
        assert marked - plain == 2


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
    text = words_of(changed)
    assert "Caution Patients unknown: beware." in text
    assert "Note: Something was left out." in text


def test_names_are_escaped(foreign_html):
    assert "<script" not in foreign_html
    assert "b&lt;script&gt;alert(1)" in foreign_html
    assert "Note: x &lt; y." in foreign_html


def test_several_classes_have_a_row_each(foreign_report, foreign_html):
    text = text_of(foreign_html)
    assert "AUROC, macro average" in text
    assert "4 classes in 80 patients" in text
    for row in foreign_report["estimates"][1:]:
        if row["metric"] == "auroc":  # beside its curve in the legend
            assert f"{row['column']} {page.number(row['value'])}" in text
    assert "each class against the rest" in text
    assert "is called positive for a class from a score of 0.5 on" in text
    for point in foreign_report["operating_points"]:
        of = point["true_positives"] + point["false_negatives"]
        assert f"{point['column']} {point['true_positives']} / {of}" in text
    assert "how they were made is not known here" in text


def test_unknown_patients_are_not_counted(report):
    changed = copy.deepcopy(report)
    changed["cohort"]["patients"] = None
    text = words_of(changed)
    assert "60 images, 30 of them positive" in text
    assert "Patients – unknown" in text


def test_what_is_missing_is_left_out(report):
    changed = copy.deepcopy(report)
    changed["curves"]["calibration"] = changed["curves"]["decision"] = []
    changed["calibration_error"] = changed["delong"] = []
    changed["estimates"] = [row for row in report["estimates"] if row["threshold"] is None][:2]
    changed["operating_points"] = []
    changed["threshold"] = None
    changed["folds"] = {"drift": [], "rows": []}
    text = text_of(page.render(changed))
    assert "Calibration" not in text
    assert "Per fold" not in text
    assert "called positive" not in text
    assert "Confusion" not in text


def test_undefined_numbers_are_dashes(report):
    changed = copy.deepcopy(report)
    changed["estimates"][0] |= {"low": None, "high": None}
    changed["curves"]["roc"][0]["low"][3] = None
    assert "– to –" in words_of(changed)


def test_the_same_report_gives_the_same_page(report, html):
    assert page.render(copy.deepcopy(report)) == html


def test_a_missing_fact_is_not_papered_over(report):
    changed = copy.deepcopy(report)
    del changed["cohort"]["sites"]
    with pytest.raises(UndefinedError, match="sites"):
        page.render(changed)


def test_figures_are_well_formed_and_described(html):
    drawn = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawn) == 5
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.get("viewBox")
        assert root.get("width") is None
    assert html.count('role="group" aria-label=') == 5


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


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0312, "+0.031"), (-0.2, "−0.200"), (0.0, "0.000"), (None, "–")]
)
def test_differences_have_a_sign(value, shown):
    assert page.signed(value) == shown


@pytest.mark.parametrize(
    ("low", "high", "higher", "words"),
    [
        (0.1, 0.2, True, "leaves out 0, in favour of new"),
        (0.1, 0.2, False, "leaves out 0, in favour of old"),
        (-0.2, -0.1, True, "leaves out 0, in favour of old"),
        (-0.1, 0.2, True, "holds 0: either may be better"),
        (0.0, 0.0, True, "the same"),
        (None, None, True, "no interval"),
    ],
)
def test_a_verdict_says_no_more_than_the_interval(low, high, higher, words):
    row = {"run": "new", "against": "old", "low": low, "high": high, "higher_is_better": higher}
    assert words in page.verdict(row)


@pytest.fixture(scope="module")
def compared(comparison_of):
    return comparison_of()


def test_a_comparison_shows_every_number_it_has(compared):
    text = text_of(page.render_comparison(compared))
    assert "2 runs compared on the same folds, 3 configurations tried in all" in text
    for row in compared["estimates"]:
        assert f"{page.number(row['value'])} {page.number(row['low'])} to" in text
    for row in compared["differences"]:
        name = f"{row['run']} − {row['against']}"
        low, high = page.signed(row["low"]), page.signed(row["high"])
        assert f"{name} {row['title']} {page.signed(row['value'])} {low} to {high}" in text
    assert "schedule s0 s1" in text
    assert "Caution beware." in text
    assert "Note: of note." in text
    (test,) = compared["tests"]
    assert f"AUROC {page.chance(test['p'])} {page.chance(test['smallest_p'])}" in text
    assert "plain 0.071 0.700, 0.800" in text
    assert "By start" not in text
    assert "By number" not in text


def test_several_differences_are_corrected_for_their_number(comparison_of):
    record = comparison_of(names=("a", "b", "c"), every=True)
    text = text_of(page.render_comparison(record))
    assert "Corrected for 3 (Holm)" in text
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
    assert f"vicreg <own> own 60.5 {page.number(value['own'])}" in text
    assert f"vicreg <own> own20 20 {page.number(value['own20'])}" in text
    assert f"{BY_CHANCE} not among these runs" in text
    assert "against r" in text
    parsed = outline(html)
    assert len(set(parsed.ids)) == len(parsed.ids)
    drawn = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawn) == 4
    assert all(ElementTree.fromstring(svg).get("viewBox") for svg in drawn)


def test_a_comparison_needs_nothing_else_and_is_well_formed(compared):
    html = page.render_comparison(compared)
    parsed = outline(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", html)
    assert len(set(parsed.ids)) == len(parsed.ids)
    drawn = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawn) == 3
    for svg in drawn:
        assert ElementTree.fromstring(svg).get("viewBox")
    assert "slow &amp; &lt;sure&gt;" in html
    assert page.render_comparison(copy.deepcopy(compared)) == html


def test_a_comparison_of_several_classes_draws_the_average(comparison_of):
    record = comparison_of(classes=("a", "b", "c", "d"))
    html = page.render_comparison(record)
    assert len(re.findall("<svg", html)) == 1
    text = text_of(html)
    assert "macro average" in text
    for name in "abcd":
        assert re.search(rf"− plain {name} AUROC [+−]?[\d.]+ ", text)


def test_a_second_opinion_stands_beside_the_interval(html, report):
    text = text_of(html)
    (check,) = report["delong"]
    low, high = page.number(check["low"]), page.number(check["high"])
    assert f"after DeLong: {low} to {high} (95 % interval; standard error" in text


def test_a_calibration_error_never_stands_alone(html, report):
    text = text_of(html)
    (error,) = report["calibration_error"]
    value, expected = page.number(error["value"]), page.number(error["expected"])
    stated = f"{value}, where a perfectly calibrated model with these scores has {expected}"
    assert text.count(stated) == 1
    assert "calibration error" not in text.lower().replace(text[: text.index(stated)].lower(), "")


def test_net_benefit_names_the_range_and_both_defaults(html, report):
    text = text_of(html)
    (curve,) = report["curves"]["decision"]
    assert "The range was declared, not read off the curve" in text
    for place in (0, 5, 10):
        model, gain = page.number(curve["model"][place]), page.signed(curve["gain"][place])
        assert f"{curve['threshold'][place]:g} {model} " in text
        assert gain in text


def test_net_benefit_at_a_threshold_alone_is_no_curve(report):
    changed = copy.deepcopy(report)
    (curve,) = changed["curves"]["decision"]
    for name, values in curve.items():
        curve[name] = values[:1] if isinstance(values, list) else values
    curve["declared"] = False
    text = text_of(page.render(changed))
    assert re.search(r"No range was declared .*what stands here is the default threshold", text)
    assert "Net benefit per patient" not in text


def test_an_improper_metric_is_called_so(html):
    text = text_of(html)
    assert "F1 score (improper)" in text
    assert "An improper metric can be better for a model that predicts worse" in text


def test_intervals_say_which_kind_and_why(report):
    changed = copy.deepcopy(report)
    assert "Why this kind: BCa needs 1,000 resamples." in words_of(report)
    changed["intervals"]["made"] = {"bca": 9, "percentile": 2, "wilson": 1}
    assert "9 are BCa, 2 are by percentiles, 1 is Wilson" in words_of(changed)


def test_amounts_have_a_page_without_classes(amounts_report):
    content = page.render(amounts_report)
    text = text_of(content)
    assert "Mean absolute error, age" in text
    assert "2 amounts in 60 patients" in text
    assert "30 patients with a label" in text
    assert "Limits of agreement" in text
    for word in ("positive", "ROC", "AUROC", "Calibration curve", "None"):
        assert word not in text
    assert len(re.findall(r"<svg", content)) == 1
    ElementTree.fromstring(re.search(r"<svg.*?</svg>", content, flags=re.DOTALL)[0])


def test_amounts_of_single_patients_are_shown_with_three_digits(amounts_report):
    for row in amounts_report["curves"]["agreement"]:
        for value in (*row["predicted"], *row["label"]):
            assert value == float(f"{value:.3g}")
        assert row["predicted"] == sorted(row["predicted"])
