"""What is proposed: inside the space, from the arguments alone, and better as more is known."""

from dataclasses import replace
from importlib import util
from math import log10

import numpy as np
import pytest

from medssl.artifacts import trials
from medssl.artifacts.trials import Trial
from medssl.config.tune import Dimension
from medssl.foundation.errors import MissingExtra
from medssl.training import search

SPACE = (
    Dimension(setting="schedule", choices=("full", "lp_ft", "linear_probe")),
    Dimension(setting="schedule_options.release", choices=([0.1, 0.3], [0.0, 0.0])),
    Dimension(setting="epochs", low=5, high=9),
    Dimension(setting="optim.weight_decay", low=1e-5, high=1e-2, log=True),
)
BLANK = Trial(repeat=0, fold=0, trial=0, settings={}, inner=(), value=None,
              state=trials.FINISHED, seconds=0.0)  # fmt: skip


def search_for(worth, n, seed=0):
    found = []
    for number in range(n):
        values = search.propose(SPACE, found, seed + number)
        found.append(replace(BLANK, trial=number, settings=values, value=worth(values)))
    return found


def worth(values):
    return -abs(log10(values["optim.weight_decay"]) + 3) + (values["schedule"] == "lp_ft")


def test_proposals_are_values_of_the_space_in_their_own_type():
    found = [one.settings for one in search_for(lambda _: 0.5, 12)]
    assert {one["schedule"] for one in found} == {"full", "lp_ft", "linear_probe"}
    assert all(one["schedule_options.release"] in SPACE[1].choices for one in found)
    assert {type(one["epochs"]) for one in found} == {int}
    assert all(5 <= one["epochs"] <= 9 for one in found)
    decays = [one["optim.weight_decay"] for one in found]
    assert all(1e-5 <= decay <= 1e-2 for decay in decays)
    assert sum(decay < 10**-3.5 for decay in decays) >= 3  # half, evenly over magnitudes; 3 % else


def test_a_proposal_follows_from_what_was_tried_and_the_seed():
    found = search_for(worth, 11)
    assert search_for(worth, 11) == found
    assert [one.settings for one in search_for(worth, 11, seed=50)] != [
        one.settings for one in found
    ]
    assert search.propose(SPACE, found[:5], 5) == found[5].settings  # as after a stop


def test_what_has_no_value_teaches_nothing():
    found = search_for(worth, 11)
    failed = replace(found[0], value=None, state=trials.DIVERGED)
    assert search.propose(SPACE, [*found, failed], 3) == search.propose(SPACE, found, 3)


def test_what_is_found_after_the_random_start_is_better_than_the_start():
    runs = [[one.value for one in search_for(worth, 25, seed=100 * k)] for k in range(2)]
    start, later = (np.mean([run[part] for run in runs])
                    for part in (slice(10), slice(15, None)))  # fmt: skip
    assert later > start + 0.3


def test_without_optuna_the_line_that_installs_it_is_said(monkeypatch):
    def absent(name):
        return None if name == "optuna" else util.find_spec(name)

    monkeypatch.setattr(search, "find_spec", absent)
    with pytest.raises(MissingExtra) as refusal:
        search.propose(SPACE, [], 0)
    assert refusal.value.fix == "pip install 'medssl[tune]'"
    assert refusal.value.exit_code == 5
