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


def test_two_attributes_may_be_crossed(tmp_path):
    given = ("sex", "sex*age_band", "label:a*site")
    assert EvaluateSettings(run=tmp_path, subgroups=given).subgroups == given


def test_of_a_table_nothing_is_read_that_nobody_asked_for(tmp_path):
    def of(*given):
        more = {"subgroups": given} if given else {}
        return EvaluateSettings(predictions=tmp_path / "a.csv", **more).subgroups

    assert of() == of("auto") == ("site",)
    assert of("none") == ("none",)
    assert of("ward", "ward*sex") == ("ward", "ward*sex")
    assert subgroups.table_columns(of("ward*sex", "site")) == ("ward", "sex")
    assert EvaluateSettings(run=tmp_path).subgroups == subgroups.AUTO


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (("patient_id",), "the column 'patient_id' makes no groups"),
        (("image_id*sex",), "the column 'image_id' makes no groups"),
        (("sex*",), "an attribute without a name"),
        (("auto", "sex"), "auto stands alone"),
    ],
)
def test_ids_and_scores_of_a_table_make_no_groups(tmp_path, given, problem):
    with pytest.raises(UsageError) as caught:
        EvaluateSettings(predictions=tmp_path / "a.csv", subgroups=given)
    assert caught.value.problem == problem


@pytest.mark.parametrize("more", [{"task": "regression"}, {"key_file": "key"}])
def test_a_run_knows_its_task_and_its_pseudonyms(tmp_path, more):
    with pytest.raises(UsageError) as caught:
        EvaluateSettings(run=tmp_path, **more)
    assert caught.value.where in more


@pytest.mark.parametrize(
    ("given", "problem", "fix"),
    [
        (("sx",), "no attribute called 'sx'", "sex"),
        (("sex", "auto"), "auto stands alone", "--subgroups auto"),
        (("label:",), "no attribute called 'label:'", "label:"),
        (("patient_key",), "no attribute called 'patient_key'", ""),
        (("sex*sx",), "no attribute called 'sx'", "sex"),
        (("sex*sex",), "sex*sex is no pair of two attributes", "sex*age_band"),
        (("sex*view*site",), "sex*view*site is no pair of two attributes", "sex*age_band"),
        (("sex*auto",), "auto stands alone", "--subgroups auto"),
    ],
)
def test_other_names_are_refused(tmp_path, given, problem, fix):
    with pytest.raises(UsageError) as caught:
        EvaluateSettings(run=tmp_path, subgroups=given)
    assert caught.value.problem == problem
    assert fix in caught.value.fix
