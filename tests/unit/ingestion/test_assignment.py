from pathlib import Path

import pytest

from medssl.foundation.errors import UsageError
from medssl.ingestion import assignment
from medssl.ingestion.assignment import Rules
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.header import Facts, Frame, Header, Identity
from medssl.ingestion.identity import SiteKey

KEY = SiteKey(b"k" * 32)


def assign(name="a/a.dcm", row=None, rules=None, frames=1, facts=None, names=None, **identity):
    header = Header(
        reader="x", rows=1, columns=1, frames=(Frame(),) * frames, bits=8,
        identity=Identity(**identity), facts=facts or Facts(),
    )  # fmt: skip
    file = SourceFile(path=Path("/data") / name, source=0, relative=name)
    return assignment.assign(file, header, row, rules or Rules(), KEY, names or {})


def test_a_tag_and_a_table_give_one_person_one_key():
    from_tag = assign(patient=" P1 ", institution="North", issuer="X", study="1.2")
    from_table = assign("b.png", row={"patient_id": "P1", "site": "south"})
    assert from_tag.patient_key == from_table.patient_key == KEY.patient("P1")
    assert (from_tag.flags, from_table.flags) == ((), ())


def test_tags_go_before_the_table_for_patients_and_the_table_for_sites():
    entry = assign(
        patient="P1", institution="North", row={"patient_id": "P2", "site": "given by user"}
    )
    assert entry.patient_key == KEY.patient("P1")
    assert entry.site == "given by user"
    assert assign(institution="North").site == KEY.site("North")
    assert assign().site is None


def test_files_without_a_row_take_the_name_their_institution_has_in_the_table():
    tagged = [assign(institution=name).header for name in ("North", "North", "South", "South", "")]
    rows = [{"site": "n"}, None, {"site": "s"}, {"site": "t"}, {"site": "x"}]
    names = assignment.site_names(tagged, rows)
    assert names == {"North": "n"}
    assert assign(institution="North", names=names).site == "n"
    assert assign(institution="South", names=names).site == KEY.site("South")
    assert assign(institution="North", names=names, rules=Rules(site="tag")).site == KEY.site(
        "North"
    )


def test_a_placeholder_in_a_tag_leaves_the_word_to_the_table():
    assert assign(patient="ANON", row={"patient": "P2"}).patient_key == KEY.patient("P2")


def test_unnamed_patients_are_not_merged():
    one = assign("a", study="1.2", series="1.2.1", patient="0")
    same_study = assign("b", study="1.2", series="1.2.2", patient="0")
    other = assign("c", study="1.3", series="1.3.1", patient="0")
    loose = assign("d")
    assert one.patient_key == same_study.patient_key
    assert len({one.patient_key, other.patient_key, loose.patient_key}) == 3
    assert all("no_patient" in entry.flags for entry in (one, other, loose))


@pytest.mark.parametrize("scope", ["site", "issuer"])
def test_the_scope_tells_equal_ids_apart(scope):
    rules = Rules(scope=scope)
    keys = {
        assign(patient="1", institution=name, issuer=name, rules=rules).patient_key
        for name in ("North", "South")
    }
    assert len(keys) == 2


def test_rules_name_folders_and_columns():
    rules = Rules(patient="parent", site="col:hospital", series="parent")
    entry = assign("p7/a.png", row={"hospital": "south"}, rules=rules)
    assert entry.patient_key == KEY.patient("p7")
    assert entry.site == "south"
    assert entry.series_id == assign("p7/b.png", rules=rules).series_id
    assert entry.series_id != assign("p8/a.png", rules=rules).series_id
    assert rules.columns == ("hospital",)


def test_named_series_of_two_patients_stay_apart():
    rules = Rules(patient="col:who", series="col:series")
    one = assign("a", row={"who": "P1", "series": "1"}, rules=rules)
    other = assign("b", row={"who": "P2", "series": "1"}, rules=rules)
    assert one.study_key != other.study_key
    assert assignment.mixed_studies([one, other]) == frozenset()


def test_a_volume_is_a_series_by_itself():
    rules = Rules(series="parent")
    ids = {assign(name, rules=rules, frames=5).series_id for name in ("p/a", "p/b")}
    assert len(ids) == 2


def test_a_study_of_two_patients_is_found():
    entries = [assign(study="1", patient=name) for name in ("A", "B")] + [
        assign(study="2", patient="A")
    ]
    assert assignment.mixed_studies(entries) == {entries[0].study_key}


def test_ids_at_several_sites_are_counted():
    entries = [assign(patient="A", institution=name) for name in ("North", "South", "South")]
    assert assignment.shared_ids(entries) == 1


def test_the_table_fills_only_what_the_header_does_not_say():
    row = {"modality": "CR", "view": "PA", "sex": "female", "age": "36", "body_part": "Mr Smith"}
    facts = assign(row=row, facts=Facts(modality="DX")).facts
    assert (facts.modality, facts.view, facts.sex) == ("DX", "PA", "F")
    assert (facts.age_band, facts.body_part) == ("30-39", "other")


@pytest.mark.parametrize("rule", ["col:", "folder", ""])
def test_a_wrong_rule_is_refused(rule):
    with pytest.raises(UsageError, match="is no place to take the site from"):
        assignment.check(Rules(site=rule))


def test_right_rules_pass():
    assert assignment.check(Rules("tag", "parent", "col:x")) is None
