"""By which names groups of patients are asked for."""

import pytest

from medssl.artifacts import archive
from medssl.config import subgroups
from medssl.config.evaluate import EvaluateSettings
from medssl.foundation.errors import UsageError


def test_every_name_is_a_column_of_the_archive():
    assert set(subgroups.NAMES) <= set(archive.IMAGES.names)


def test_words_stand_for_names():
    assert subgroups.chosen(["auto"]) == subgroups.AUTO
    assert subgroups.chosen(["none"]) == ()
    assert subgroups.chosen(["label:a", "sex", "label:a"]) == ("label:a", "sex")


@pytest.mark.parametrize(
    ("given", "problem", "fix"),
    [
        (("sx",), "no attribute called 'sx'", "sex"),
        (("sex", "auto"), "auto stands alone", "--subgroups auto"),
        (("label:",), "no attribute called 'label:'", "label:"),
        (("patient_key",), "no attribute called 'patient_key'", ""),
    ],
)
def test_other_names_are_refused(tmp_path, given, problem, fix):
    with pytest.raises(UsageError) as caught:
        EvaluateSettings(run=tmp_path, subgroups=given)
    assert caught.value.problem == problem
    assert fix in caught.value.fix
