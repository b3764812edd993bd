"""The record of what was tried."""

from dataclasses import replace

import pytest

from medssl.artifacts import trials
from medssl.artifacts.trials import Trial
from medssl.foundation.errors import ArtifactError

ONE = Trial(repeat=0, fold=1, trial=0, settings={"epochs": 10, "optim.weight_decay": 1 / 3},
            inner=(0.5, 0.75), value=0.625, state=trials.FINISHED, seconds=1.5)  # fmt: skip


def test_trials_read_back_to_the_last_bit(tmp_path):
    failed = replace(ONE, trial=1, inner=(), value=None, state=trials.DIVERGED, chosen=True)
    trials.write(tmp_path / "trials.parquet", [ONE, failed])
    assert trials.read(tmp_path / "trials.parquet") == [ONE, failed]


def test_the_best_is_the_first_of_the_highest_and_what_failed_is_none():
    found = [replace(ONE, trial=k, value=value) for k, value in enumerate((0.1, None, 0.9, 0.9))]
    assert trials.best(found).trial == 2
    assert trials.best(found[::-1]).trial == 2
    assert trials.best([found[1]]) is None
    assert trials.best([]) is None


def test_configurations_are_counted_once_whatever_the_fold_or_order_of_settings():
    turned = replace(ONE, fold=2, settings=dict(reversed(ONE.settings.items())))
    other = replace(ONE, settings={"epochs": 20, "optim.weight_decay": 1 / 3})
    assert trials.configurations([ONE, turned, other]) == 2


def test_a_missing_table_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        trials.read(tmp_path / "trials.parquet")
