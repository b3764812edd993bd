"""Settings of an external test, which belong together."""

import pytest

from medssl.config.evaluate import EvaluateSettings
from medssl.foundation.errors import UsageError


def test_a_table_has_no_models_that_could_judge_an_archive():
    with pytest.raises(UsageError, match="no models"):
        EvaluateSettings(predictions="table.csv", archive="archive")


@pytest.mark.parametrize("name", ["target", "classes"])
def test_labels_of_no_archive_are_refused(name):
    with pytest.raises(UsageError, match="none is given"):
        EvaluateSettings(run="run", **{name: ("yes=1",)})


def test_classes_are_told_in_pairs_or_left_out():
    told = EvaluateSettings(run="run", archive="archive", classes=("yes=1", "a=b=0", "unclear="))
    assert told.words() == {"yes": "1", "a=b": "0", "unclear": None}


@pytest.mark.parametrize("classes", [("yes",), ("=1",), ("yes=1", "yes=0")])
def test_a_class_is_told_once_and_by_name(classes):
    with pytest.raises(UsageError, match="named twice"):
        EvaluateSettings(run="run", archive="archive", classes=classes)
