"""Lights of sample size and calibration: by the rules they state, at their boundaries."""

from dataclasses import replace

import numpy as np
import pytest

from medssl.evaluation import adequacy, assessment, intervals
from medssl.evaluation.assessment import Estimate


@pytest.fixture
def cohort(units_of):
    """(positive patients, negative patients) -> units of one image each."""

    def build(positive, negative, **changes):
        label = [1] * positive + [0] * negative
        score = np.linspace(0.9, 0.1, len(label))
        return units_of([f"k{n:04d}" for n in range(len(label))], label, score, **changes)

    return build


@pytest.mark.parametrize(
    ("positive", "light"), [(9, "fail"), (10, "warn"), (99, "warn"), (100, "pass")]
)
def test_the_rarest_class_decides(cohort, positive, light):
    found = adequacy.sample_size(cohort(positive, 120))
    assert (found.light, found.value) == (light, positive)
    assert found.said.startswith(f"{positive} patients in the rarest class, positive")
    assert adequacy.sample_size(cohort(120, positive)).light == light


def test_images_are_not_called_patients(cohort):
    assert "patients" not in adequacy.sample_size(cohort(120, 120, grouped=False)).said


def row(metric, low, high, column="finding"):
    ideal = 1.0 if metric.endswith("slope") else 0.0
    facts = dict.fromkeys(Estimate.__dataclass_fields__)
    return Estimate(
        **facts
        | {"metric": metric, "title": metric.replace("_", " ").capitalize(), "column": column,
           "value": (low + high) / 2, "low": low, "high": high, "ideal": ideal}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("slope", "intercept", "light", "said"),
    [
        ((0.8, 1.2), (-0.1, 0.1), "pass", "the intervals hold the ideal, 0 and 1"),
        ((1.0, 1.2), (0.0, 0.1), "pass", "the intervals hold the ideal, 0 and 1"),
        ((0.7, 0.99), (-0.1, 0.1), "warn", "1 of 2 intervals leaves out the ideal"),
        ((0.7, 0.99), (0.01, 0.1), "warn", "2 of 2 intervals leave out the ideal"),
        ((-0.5, 3.0), (-0.1, 0.1), "warn", "too wide to tell"),
    ],
)
def test_an_interval_holds_the_ideal_or_leaves_it_out(slope, intercept, light, said):
    rows = [row("calibration_intercept", *intercept), row("calibration_slope", *slope)]
    found = adequacy.calibration(rows)
    assert found.light == light
    assert said in found.said


def test_of_several_classes_those_that_are_off_are_named():
    good = [row("calibration_slope", 0.9, 1.1, f"class {k}") for k in range(6)]
    found = adequacy.calibration([*good, row("calibration_slope", 0.2, 0.4, "rare")])
    assert "slope of rare 0.300 (0.200 to 0.400)" in found.said
    assert "class" not in found.said
    assert found.value == 1
    off = [replace(one, low=1.5, high=1.6) for one in good]
    assert "and 2 more: 6 of 6 intervals" in adequacy.calibration(off).said


def test_nothing_is_passed_that_was_not_estimated():
    found = adequacy.calibration([row("auroc", 0.8, 0.9)])
    assert found.light == "not assessed"
    empty = replace(row("calibration_slope", 0.9, 1.1), value=float("nan"))
    assert adequacy.calibration([empty]).light == "not assessed"


def test_calibrated_scores_pass_and_sharpened_ones_do_not(units_of):
    """From the simulated truth, as a whole."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0.1, 0.9, 1000)
    label = rng.random(1000) < share
    lights = []
    for score in (share, share**2 / (share**2 + (1 - share) ** 2)):
        units = units_of([f"k{n:04d}" for n in range(1000)], label, score)
        draws = intervals.draw_both(units.stratum, 200, np.random.default_rng(0))
        measured = assessment.measure(units, draws, None, leave_out=False)
        found = adequacy.find(units, assessment.estimates(measured, 0.95))
        lights.append([one.light for one in found])
    assert lights == [["pass", "pass"], ["pass", "warn"]]
