"""What is judged, how, and what the runs of a comparison are called."""

from pathlib import Path

import pytest

from medssl.config.compare import CompareSettings
from medssl.config.evaluate import EvaluateSettings
from medssl.config.loading import Sources, resolve
from medssl.foundation.errors import UsageError


def compare(*runs, **more):
    return CompareSettings(runs=tuple(Path(run) for run in runs), **more)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (("r/full", "r/gradual"), ("full", "gradual")),
        (("a/full", "b/full", "b/other"), ("a/full", "b/full", "other")),
        (("r/full", "r/full"), ("full (1)", "full (2)")),
        (("x/a/full", "y/a/full"), ("a/full (1)", "a/full (2)")),
    ],
)
def test_runs_are_called_by_their_folders_told_apart(runs, expected):
    assert compare(*runs).called() == expected


def test_given_names_are_kept():
    assert compare("a", "b", names=("one", "two")).called() == ("one", "two")


@pytest.mark.parametrize(
    ("runs", "names", "problem"),
    [
        (("a", "b"), ("x",), "1 names for 2 runs"),
        (("a", "b"), ("x", "x"), "a name stands twice"),
    ],
)
def test_wrong_runs_and_names_are_refused(runs, names, problem):
    with pytest.raises(UsageError, match=problem):
        compare(*runs, names=names)


def test_one_run_alone_is_compared_with_those_beside_it():
    assert compare("a").beside


def test_no_runs_at_all_are_asked_for():
    with pytest.raises(UsageError, match="give two or more runs"):
        resolve(CompareSettings, "compare", Sources())


@pytest.mark.parametrize(
    ("text", "expected"), [("0.3", 0.3), ("auto", "auto"), ("none", "none"), ("-2", -2.0)]
)
def test_a_threshold_is_a_number_or_a_word(text, expected):
    for sources in (Sources(flags={"threshold": text}), Sources(sets=[f"threshold={text}"])):
        given = Sources(flags={"run": Path("r"), **sources.flags}, sets=sources.sets)
        assert resolve(EvaluateSettings, "evaluate", given).threshold == expected


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"threshold": "half"}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"prevalence": (0.0,)}, "prevalence"),
        ({"prevalence": (5,)}, "prevalence"),
        ({"prevalence": (0.1,), "threshold": "none"}, "predictive values need a threshold"),
    ],
)
def test_thresholds_and_prevalences_that_mean_nothing_are_refused(changes, problem):
    with pytest.raises(UsageError, match=problem):
        resolve(EvaluateSettings, "evaluate", Sources(flags={"run": Path("r"), **changes}))


def test_a_smoke_run_draws_little():
    assert EvaluateSettings(run=Path("r"), smoke=True).draws == 200
    assert EvaluateSettings(run=Path("r"), smoke=True, resamples=100).draws == 100
    assert EvaluateSettings(run=Path("r")).draws == 2000
