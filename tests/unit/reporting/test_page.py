import copy
import re
from xml.etree import ElementTree

import pytest
from html_outline import outline, text_of
from jinja2 import UndefinedError

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


def _of_classes(report, n):
    """The report with as many columns, each with the curves of its first."""
    record = copy.deepcopy(report)
    record["columns"] = [f"class{k:03d}" for k in range(n)]
    for name in ("roc", "calibration", "risks", "decision"):
        first = record["curves"][name][0]
        record["curves"][name] = [{**first, "column": column} for column in record["columns"]]
    auroc = next(row for row in record["estimates"] if row["metric"] == "auroc")
    record["estimates"] = [{**auroc, "column": column} for column in record["columns"]]
    record["folds"]["drift"] = [
        {**record["folds"]["drift"][0], "column": column} for column in record["columns"]
    ]
    return record


def test_of_a_hundred_classes_the_first_are_drawn_and_all_stand_in_the_table(foreign_report):
    html = page.render(_of_classes(foreign_report, 100))
    drawn = {
        figure: set(re.findall(r"class\d{3}", svg))
        for figure, svg in re.findall(r'<figure.*?aria-label="(.*?)".*?(<svg.*?</svg>)', html, re.S)
    }
    first = {f"class{k:03d}" for k in range(12)}
    assert len(drawn) == 5
    assert all(words == first for words in drawn.values()), drawn
    text = text_of(html)
    assert text.count("Drawn are the first 12 of 100 classes; the tables hold all.") == 5
    assert all(f"class{k:03d}" in text for k in range(100))
    assert "Drawn are" not in text_of(page.render(_of_classes(foreign_report, 12)))


def test_unknown_patients_are_not_counted(report):
    changed = copy.deepcopy(report)
    changed["cohort"]["patients"] = None
    text = words_of(changed)
    assert "60 images, 30 of them positive" in text
    assert "Patients – unknown" in text


def test_what_is_missing_is_left_out(report):
    changed = copy.deepcopy(report)
    changed["curves"]["calibration"] = changed["curves"]["decision"] = []
    changed["calibration_error"] = changed["delong"] = changed["adequacy"] = []
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
    lights = [svg for svg in drawn if svg.startswith('<svg class="light"')]
    assert (len(drawn) - len(lights), len(lights)) == (6, 2)
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.get("viewBox")
        assert root.get("role") == "img"
        assert root.get("aria-label") or root.get("aria-labelledby")
        assert root.get("width") is None
    assert html.count('role="group" aria-label=') == 6


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
    ("value", "shown"),
    [
        (0.0312, "+0.031"),
        (-0.2, "−0.200"),
        (0.0, "0.000"),
        (-0.0004, "0.000"),
        (0.0004, "0.000"),
        (-0.0006, "−0.001"),
        (-123.04, "−123.0"),
        (None, "–"),
    ],
)
def test_differences_have_a_sign_unless_they_are_shown_as_0(value, shown):
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


def test_the_first_page_goes_from_the_lights_over_the_figures_to_the_cohort(html):
    order = ("Controls", "Discrimination", "From the files", "Who was judged", "Estimates",
             "Per fold", "Calls at", "Net benefit", "How the numbers", "Provenance",
             "Annex")  # fmt: skip
    places = [re.search(rf"<h2[^>]*>{name}", html).start() for name in order]
    assert places == sorted(places)


def test_every_count_of_the_cohort_is_drawn_and_told_in_words(html):
    text = text_of(html)
    for said in ("1 234 files", "Left out", "1 134", "60 patients", "positive: 30 of 60 patients"):
        assert said in text
    assert "Without a label: 40" in html  # for who does not see the figure
    assert "images here: 3, but images there: 4" in text
    for said in ("17 28.3 %", "9 29.0 %", "8 27.6 %", "6-12 & up", "41.500 10.200", "43.000"):
        assert said in text
    assert "Not known: sex (not known of any image)" in text
    assert "<b></th>" not in html


def test_a_table_of_another_tool_says_that_the_way_is_not_known(foreign_report):
    changed = copy.deepcopy(foreign_report)
    changed["cohort_flow"]["steps"] = [
        {"step": "analysed", "title": "Analysed", "left_out": None}
    ]  # fmt: skip
    assert "Who was left out on the way is not known: it is a table" in words_of(changed)


def test_the_number_needed_to_evaluate_stands_beside_its_predictive_value(html, report):
    (point,) = report["operating_points"]
    for row in point["needed"]:
        ends = [page.number(row[name], 1) for name in ("value", "low", "high")]
        assert "{} ({} to {})".format(*ends) in text_of(html)
    changed = copy.deepcopy(report)
    changed["operating_points"][0]["needed"][0] |= {"value": None, "high": None}
    assert "none is right" in words_of(changed)
    changed["operating_points"][0]["needed"][0] |= {"value": 5.0, "low": 2.0}
    assert "5.0 (2.0 to ∞)" in words_of(changed)


def test_the_printed_head_names_target_and_folds_and_nothing_breaks_out_of_it(report):
    changed = copy.deepcopy(report) | {"target": 'a"; } </style><script>'}
    html = page.fill("report.html.j2", changed, {"roc": "", "risks": "", "folds": ""})
    assert "<script>" not in html
    assert html.count("</style>") == 1
    assert r'content: "a\22 \3B \20 \7D \20 \3C \2F style\3E \3C script\3E "' in html
    assert page.css(f"folds {report['splits']['digest']}") in html


def test_what_was_not_measured_is_called_so(report):
    text = words_of(report)
    assert "energy not measured" in text
    changed = copy.deepcopy(report)
    changed["provenance"]["models"]["energy_joules"] = 7.2e6
    assert "energy 2 kWh" in words_of(changed)
