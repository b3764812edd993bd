"""Estimates on the console: short, with what to hold each against."""

import pytest

from medssl.cli import console, options
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.operating_points import OperatingPoint, Predictive


def estimate(metric, column="finding", **changes):
    facts = {
        "title": metric,
        "threshold": None,
        "value": 0.8,
        "low": 0.7,
        "high": 0.9,
        "interval": "percentile",
        "undefined": 0,
        "no_skill": 0.5,
        "ideal": None,
        "n_patients": 40,
        "n_units": 40,
        "n_events": 20,
        "meaning": "",
    }
    return Estimate(metric=metric, column=column, **(facts | changes))


def test_each_stands_beside_what_it_is_compared_with():
    rows = console.estimates(
        [
            estimate("auroc"),
            estimate("calibration_slope", no_skill=None, ideal=1.0),
            estimate("sensitivity", no_skill=None, threshold=0.25),
            estimate("npv", no_skill=0.3, threshold=0.25),
        ]
    )
    assert rows == [
        ("auroc", "0.800  (0.700 to 0.900; no skill 0.500)"),
        ("calibration_slope", "0.800  (0.700 to 0.900; ideal 1)"),
        ("at threshold", "0.25"),
        ("  sensitivity", "0.800  (0.700 to 0.900)"),
        ("  npv", "0.800  (0.700 to 0.900; no skill 0.300)"),
    ]


def test_of_several_classes_only_the_aurocs_are_shown():
    found = [estimate("auroc", "macro average")]
    found += [estimate(metric, name) for name in "abc" for metric in ("auroc", "brier")]
    names = [name for name, _ in console.estimates(found)]
    assert names == ["auroc macro average", "auroc a", "auroc b", "auroc c", "more"]


def test_predictive_values_name_their_prevalence():
    row = Predictive(
        metric="ppv", prevalence=0.05, value=0.3, low=0.2, high=0.4, interval="percentile"
    )
    point = OperatingPoint(
        column="a",
        threshold=0.5,
        true_positives=1,
        false_negatives=2,
        false_positives=3,
        true_negatives=4,
        predictive=(row,),
    )
    assert console.predictive([point]) == [("  PPV at 0.05", "0.300  (0.200 to 0.400)")]
    assert [name for name, _ in console.predictive([point, point])] == ["  PPV at 0.05 a"] * 2


@pytest.mark.parametrize(
    ("text", "expected"), [(None, None), ("a", ("a",)), ("a, b,", ("a", "b")), ("", ())]
)
def test_an_option_may_hold_several_parts(text, expected):
    assert options.several(text) == expected
