from dataclasses import fields
from pathlib import Path

import pytest

from medssl.foundation.errors import UsageError
from medssl.ingestion import assignment
from medssl.ingestion.assignment import Item, Rules
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.header import Facts, Frame, Header, Identity
from medssl.ingestion.identity import SiteKey

KEY = SiteKey(b"k" * 32)


TOLD = {field.name for field in fields(Identity)}


def made(name="a/a.dcm", row=None, frames=1, **more):
    """Return a file, its header and its row; without UIDs its content is called like the file."""
    identity = Identity(**{key: more.pop(key) for key in TOLD & set(more)})
    defaults = {"reader": "x", "bits": 8, "digest": "" if identity.has_uid else name}
    header = Header(
        rows=1, columns=1, frames=(Frame(),) * frames, identity=identity, **defaults | more
    )
    return SourceFile(path=Path("/data") / name, source=0, relative=name), header, row


def assign_all(*parts, rules=None):
    files, headers, rows = zip(*parts, strict=True)
    items = [Item(file, header) for file, header in zip(files, headers, strict=True)]
    return assignment.assign(items, rows, rules or Rules(), KEY)


def assign(*args, rules=None, **more):
    return assign_all(made(*args, **more), rules=rules)[0]


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
    told = [("North", "n"), ("North", None), ("South", "s"), ("South", "t"), ("South", None)]
    parts = [
        made(f"{n}", institution=name, row=site and {"site": site})
        for n, (name, site) in enumerate((*told, ("", "x")))
    ]
    names = assignment.site_names([header for _, header, _ in parts], [row for *_, row in parts])
    assert names == {"North": "n"}
    sites = [entry.site for entry in assign_all(*parts)]
    assert sites == ["n", "n", "s", "t", KEY.site("South"), "x"]
    assert assign_all(*parts, rules=Rules(site="tag"))[0].site == KEY.site("North")


def test_a_placeholder_in_a_tag_leaves_the_word_to_the_table():
    assert assign(patient="ANON", row={"patient": "P2"}).patient_key == KEY.patient("P2")


@pytest.mark.parametrize("name", ["0", "000", "x", "na", "ANON"])
def test_what_the_user_named_is_no_placeholder(name):
    named = KEY.patient(name)
    assert assign(row={"who": name}, rules=Rules(patient="col:who")).patient_key == named
    assert assign(f"{name}/a.png", rules=Rules(patient="parent")).patient_key == named
    assert assign(patient="0", row={"patient_id": name}).patient_key == named
    assert assign(patient=name, rules=Rules(patient="tag")).flags == ("no_patient",)


def test_an_empty_cell_names_nobody():
    for row in ({"who": ""}, {"who": " "}, None):
        assert assign(row=row, rules=Rules(patient="col:who")).flags == ("no_patient",)


def test_unnamed_files_of_a_study_belong_to_the_one_patient_it_names():
    uids = {"study": "1.2", "series": "1.2.1"}
    named, unnamed, other = assign_all(
        made("a", patient="P1", image="1", **uids), made("b", image="2", **uids), made("c"),
    )  # fmt: skip
    assert named.patient_key == unnamed.patient_key == KEY.patient("P1")
    assert (unnamed.flags, other.flags) == ((), ("no_patient",))
    assert assignment.mixed_studies([named, unnamed, other]) == frozenset()


def test_a_study_of_two_named_patients_is_mixed_and_its_unnamed_files_stay_unnamed():
    entries = assign_all(*(made(name, patient=name, study="1", image=name) for name in ("A", "B")),
                         made("c", study="1", image="c"))  # fmt: skip
    assert entries[2].flags == ("no_patient",)
    assert assignment.mixed_studies(entries) == {entries[0].study_key}


def test_files_without_uids_are_called_by_their_content_wherever_they_lie():
    here, there = assign("a/1.png", digest="d1"), assign("b/c/2.png", digest="d1")
    other = assign("a/1.png", digest="d2")
    assert (here.patient_key, here.study_key) == (there.patient_key, there.study_key)
    assert here.content == there.content
    assert {here.patient_key, here.study_key}.isdisjoint({other.patient_key, other.study_key})


def test_equal_files_of_one_ingest_are_counted():
    one, two, three = assign_all(*(made(name, digest="d") for name in ("a", "b", "c")))
    assert len({entry.patient_key for entry in (one, two, three)}) == 3
    assert one.content == assign("z", digest="d").content


@pytest.mark.parametrize("rules", [Rules(series="parent"), Rules(series="col:s")])
def test_folders_and_names_of_other_ingests_are_other_series(rules):
    def folder(digests):
        parts = (made(f"p/{n}", digest=d, row={"s": "1"}) for n, d in enumerate(digests))
        return assign_all(*parts, rules=rules)

    first, other, again = folder("ab"), folder("cd"), folder("ba")
    assert len({entry.series_id for entry in first}) == 1
    assert first[0].series_id == again[0].series_id
    assert first[0].series_id != other[0].series_id
    assert first[0].patient_key != other[0].patient_key
    assert len({entry.patient_key for entry in first}) == 1


@pytest.mark.parametrize(
    ("reader", "bits", "row", "unit"),
    [
        ("nifti", 16, {"modality": "CT"}, "HU"), ("nifti", 16, {"modality": "MR"}, "arbitrary"),
        ("nifti", None, {"modality": "CT"}, "arbitrary"), ("nifti", 16, None, "arbitrary"),
        ("nifti", 8, {"modality": "CT"}, "arbitrary"),
        ("picture", 16, {"modality": "CT"}, "arbitrary"),
    ],
)  # fmt: skip
def test_nifti_integers_that_the_table_calls_ct_are_hounsfield_units(reader, bits, row, unit):
    assert assign(reader=reader, bits=bits, row=row).header.unit == unit


def test_where_auto_found_things_is_told():
    entries = assign_all(
        made("a", patient="P", study="1", series="1.1", image="1", institution="N"),
        made("b", study="1", series="1.1", image="2", row={"site": "n"}),
        made("c", patient="0", row={"patient_id": "Q"}), made("d"),
    )  # fmt: skip
    assert [assignment.patient_from(entry) for entry in entries] == [
        "tag",
        "study",
        "table",
        "none",
    ]
    assert [assignment.site_from(entry) for entry in entries] == [
        "institution", "table", "none", "none",
    ]  # fmt: skip
    assert [assignment.series_from(entry) for entry in entries] == ["UID"] * 2 + [
        "each file alone"
    ] * 2


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
    entry, beside, elsewhere = assign_all(
        made("p7/a.png", row={"hospital": "south"}), made("p7/b.png"), made("p8/a.png"), rules=rules
    )
    assert entry.patient_key == KEY.patient("p7")
    assert entry.site == "south"
    assert entry.series_id == beside.series_id
    assert entry.series_id != elsewhere.series_id
    assert rules.columns == ("hospital",)


def test_named_series_of_two_patients_stay_apart():
    rules = Rules(patient="col:who", series="col:series")
    one, other = assign_all(
        *(made(f"{name}.png", row={"who": name, "series": "1"}) for name in ("P1", "P2")),
        rules=rules,
    )
    assert one.series_id == other.series_id
    assert one.study_key != other.study_key
    assert assignment.mixed_studies([one, other]) == frozenset()


def test_a_volume_is_a_series_by_itself():
    rules = Rules(series="parent")
    entries = assign_all(*(made(name, frames=5) for name in ("p/a", "p/b")), rules=rules)
    assert len({entry.series_id for entry in entries}) == 2


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
