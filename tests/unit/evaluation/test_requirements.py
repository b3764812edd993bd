"""What `--fail-under` and `--strict` ask for, and what becomes of it."""

import math
from pathlib import Path

import numpy as np
import pytest

from medssl.evaluation import assessment, intervals, requirements
from medssl.evaluation.chosen_calls import CallShare
from medssl.evaluation.controls.verdicts import Verdict
from medssl.foundation.errors import UsageError


@pytest.fixture
def estimates(one_each):
    units = one_each(90, seed=0)
    draws = intervals.draw_both(units.stratum, 200, np.random.default_rng(0))
    return assessment.estimates(assessment.measure(units, draws, 0.5), 0.95)


def check(text, estimates, shares=()):
    (outcome,) = requirements.check([requirements.parse(text)], estimates, shares)
    return outcome


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auroc=0.75", ("auroc", 0.75, "value", True)),
        ("auroc=0.75:lower", ("auroc", 0.75, "lower", True)),
        (" brier = 0.2 : upper", ("brier", 0.2, "upper", False)),
        ("npv=1e-1:value", ("npv", 0.1, "value", True)),
        ("r2=-0.5", ("r2", -0.5, "value", True)),
    ],
)
def test_a_requirement_is_read(text, expected):
    found = requirements.parse(text)
    assert (found.metric, found.bound, found.end, found.higher_is_better) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("auroc", "auroc=0.75:lower"),
        ("auroc=", "auroc=0.75:lower"),
        ("auroc=high", "auroc=0.75:lower"),
        ("auroc=nan", "auroc=0.75:lower"),
        ("auroc=0.7:middle", "auroc=0.75:lower"),
        ("aurok=0.7", "did you mean 'auroc'?"),
        ("sensitivty=0.7", "did you mean 'sensitivity'?"),
        ("calibration_slope=0.9", "such as brier"),
    ],
)
def test_what_is_no_requirement_is_refused_with_a_way_out(text, said):
    with pytest.raises(UsageError) as caught:
        requirements.parse(text)
    assert caught.value.exit_code == 2
    assert said in caught.value.fix


def test_the_estimate_or_an_end_is_compared(estimates):
    values = {row.metric: row for row in estimates}
    auroc, brier = values["auroc"], values["brier"]
    assert check(f"auroc={auroc.value}", estimates).met  # reached exactly
    assert not check(f"auroc={auroc.value + 1e-9}", estimates).met
    assert check(f"auroc={auroc.low}:lower", estimates).met
    assert not check(f"auroc={auroc.value}:lower", estimates).met
    assert check(f"brier={brier.value}", estimates).met  # less is better
    assert not check(f"brier={brier.value - 1e-9}", estimates).met
    assert not check(f"brier={brier.value}:upper", estimates).met
    assert check(f"brier={brier.high}:upper", estimates).met


def test_a_metric_without_a_value_is_not_met(estimates):
    few = [row for row in estimates if row.metric != "sensitivity"]
    outcome = check("sensitivity=0", few)
    assert (outcome.met, outcome.found) == (False, None)
    assert "has no value in this report" in outcome.said()


def test_of_several_columns_the_average_counts_or_each_of_them(estimates):
    from dataclasses import replace

    auroc = next(row for row in estimates if row.metric == "auroc")
    columns = [replace(auroc, column=name, value=value) for name, value in (("a", 0.9), ("b", 0.6))]
    asked = [requirements.parse("auroc=0.7")]
    assert [one.met for one in requirements.check(asked, columns)] == [True, False]
    average = replace(auroc, column=assessment.MACRO, value=0.75)
    (outcome,) = requirements.check(asked, [average, *columns])
    assert (outcome.met, outcome.column) == (True, "macro average")


def test_calls_at_chosen_thresholds_count_before_those_at_a_fixed_one(estimates):
    share = CallShare(metric="sensitivity", title="Sensitivity", value=0.91, low=0.85, high=0.96,
                      interval="bca", n_patients=30)  # fmt: skip
    assert math.isclose(check("sensitivity=0.9", estimates, [share]).found, 0.91)
    assert not check("sensitivity=0.9:lower", estimates, [share]).met
    assert check("auroc=0", estimates, [share]).column == "finding"


def test_a_failed_control_stops_a_script_and_others_do_not(estimates):
    given = {"split": "pass", "site": "fail", "metadata": "warn"}
    lights = [Verdict(name=name, light=one, said=f"said of {name}") for name, one in given.items()]
    found = requirements.problem((), lights, Path("report.html"))
    assert (found.problem, found.where) == ("control site: said of site", "strict")
    unmet = check("brier=0", estimates)
    both = requirements.problem((unmet,), lights, Path("report.html"))
    assert both.where == "fail_under and strict"
    assert both.problem == f"{unmet.said()}; control site: said of site"
    assert requirements.problem((), lights[:1], Path("report.html")) is None
