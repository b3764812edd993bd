import re
from xml.etree import ElementTree

import numpy as np
import pytest

from medssl.reporting import amounts, figures

SVG = "{http://www.w3.org/2000/svg}"


def words(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def colours(svg):
    return {colour for colour in figures.COLOURS if colour in svg}


def roc_curve(seed=0):
    grid = np.linspace(0, 1, 11)
    middle = grid**0.4
    return {
        "false_positive_rate": grid.tolist(),
        "sensitivity": middle.tolist(),
        "grid": grid.tolist(),
        "low": (middle * 0.9).tolist(),
        "high": np.minimum(middle * (1.1 + seed / 100), 1).tolist(),
    }


def calibration_curve():
    grid = np.linspace(0.1, 0.9, 9).tolist()
    return {"predicted": grid, "observed": grid, "low": [None, *grid[1:]], "high": grid}


def risk_curve(lowest=0.0, highest=1.0):
    return {
        "bin_edges": np.linspace(lowest, highest, 11).tolist(),
        "positives": [0.0] * 8 + [3.0, 4.0],
        "negatives": [float(n) for n in range(10)],
    }


def test_roc_names_its_axes_and_curves():
    svg = figures.roc([roc_curve()], ["AUROC 0.800"])
    assert {"Sensitivity", "1 − specificity", "AUROC 0.800"} <= set(words(svg))
    assert colours(svg) == {figures.COLOURS[0]}


def test_each_class_has_its_own_look():
    svg = figures.roc([roc_curve(n) for n in range(8)], [f"class {n}" for n in range(8)])
    assert colours(svg) == set(figures.COLOURS)
    assert "stroke-dasharray" in svg.split("class 6")[0]  # the seventh differs by its line
    assert [word for word in words(svg) if word.startswith("class")] == [
        f"class {n}" for n in range(8)
    ]


def test_calibration_names_its_axes_and_curves():
    svg = figures.calibration([calibration_curve()] * 2, ["a", "b"])
    assert {"Predicted probability", "Observed share of positives", "ideal", "a", "b"} <= set(
        words(svg)
    )


def test_risks_say_how_many_there_are_of_each_outcome():
    svg = figures.risks([risk_curve()], [""], 0.5)
    assert {"Positives, 7", "Negatives, 45", "Predicted probability"} <= set(words(svg))
    assert "stroke-dasharray" in svg  # the threshold
    without = figures.risks([risk_curve(-3, 12)], [""], None)
    assert "Score" in words(without)
    assert "stroke-dasharray" not in without


def test_risks_of_several_classes_have_a_panel_each():
    names = ["a", "b", "_c", "$d$"]
    svg = figures.risks([risk_curve()] * 4, names, 0.5)
    assert [word for word in words(svg) if word in names] == names
    assert words(svg).count("Positives, 7") == 4


def test_fold_strip_has_a_dot_per_fold_and_leaves_undefined_ones_out():
    rows = [
        {"column": "f", "repeat": repeat, "fold": fold, "auroc": value}
        for repeat in range(2)
        for fold, value in enumerate([0.7, 0.8, None])
    ]
    svg = figures.fold_strip(rows, [{"column": "f", "mean_of_folds": 0.75}])
    dots = re.findall(r'<use [^>]*style="fill: #0072b2', svg)
    assert len(dots) == 4
    assert {"repeat 1", "repeat 2"} <= set(words(svg))


@pytest.mark.parametrize(
    ("columns", "repeats", "expected"),
    [(["f"], [0], {"all folds"}), (["a", "b"], [0], {"a", "b"}),
     (["a", "b"], [0, 1], {"a, repeat 1", "b, repeat 2"})],
)  # fmt: skip
def test_fold_strip_names_its_lines(columns, repeats, expected):
    rows = [
        {"column": column, "repeat": repeat, "fold": 0, "auroc": 0.7}
        for column in columns
        for repeat in repeats
    ]
    drift = [{"column": column, "mean_of_folds": 0.7} for column in columns]
    assert expected <= set(words(figures.fold_strip(rows, drift)))


def test_any_class_name_is_shown_as_it_is():
    labels = ["$a_$b", "$x$", "_x", "_nolegend_", r"\frac{", "00"]
    rows = [{"column": label, "repeat": 0, "fold": 0, "auroc": 0.7} for label in labels]
    drift = [{"column": label, "mean_of_folds": 0.7} for label in labels]
    for svg in (
        figures.roc([roc_curve(n) for n in range(6)], labels),
        figures.calibration([calibration_curve()] * 6, labels),
        figures.fold_strip(rows, drift),
    ):
        assert [word for word in words(svg) if word in labels] == labels
    assert set(labels) <= set(words(figures.risks([risk_curve()] * 6, labels, None)))


def test_drawing_twice_gives_the_same_text():
    first, second = (figures.roc([roc_curve()], ["x"]) for _ in range(2))
    assert first == second
    assert "<dc:date>" not in first
    assert figures.roc([roc_curve(5)], ["x"]) != first


def test_of_many_repeats_the_first_are_drawn():
    rows = [{"column": "a", "repeat": n, "auroc": 0.5} for n in range(100)]
    svg = figures.fold_strip(rows, [{"column": "a", "mean_of_folds": 0.5}])
    assert [word for word in words(svg) if word.startswith("repeat")] == [
        f"repeat {n + 1}" for n in range(12)
    ]


def test_limits_that_could_not_be_computed_are_left_out():
    curve = {
        "column": "a", "predicted": [0.0, 1.0], "label": [0.0, 2.0], "slope": None,
        "intercept": None, "limits": [None, 0.5, None], "low": [None] * 3, "high": [None] * 3,
    }  # fmt: skip
    assert "Mean of prediction and label" in words(amounts.draw([curve]))
