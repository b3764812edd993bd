from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.artifacts import ingest_report, tables
from medssl.artifacts.archive import IMAGES, LABELS, ArchiveInfo
from medssl.artifacts.quarantine import QUARANTINE
from medssl.ingestion import accounting, assignment, composition, geometry, grouping
from medssl.ingestion.accounting import Account, Finding, Step
from medssl.ingestion.assignment import Item, Rules
from medssl.ingestion.codes import STEPS, Code
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.geometry import Plane
from medssl.ingestion.header import Facts, Frame, Header, Identity
from medssl.ingestion.identity import SiteKey

KEY = SiteKey(b"k" * 32)
DEFAULT = {
    "study_key": "t0", "site": "north", "modality": "CT", "slice_index": 0, "rows": 64,
    "columns": 48, "shard": 0, "row": 0, "unit": "HU", "slope": 1.0, "intercept": 0.0,
    "lossy": False, "transfer_syntax": "1.2.840.10008.1.2.1", "pixel_sha256": "", "flags": [],
}  # fmt: skip


def stacks(gathered: grouping.Gathered) -> dict[str, geometry.Stack]:
    return {one.key: one.stack for one in gathered.series if one.stack is not None}


def image(number, patient="p0", series="s0", **more):
    row = {"image_id": f"i{number}", "patient_key": patient, "series_key": series}
    return DEFAULT | row | more


def left(number, code, stage=None, patient=None):
    where = stage or STEPS[Code(code)][0]
    return {"file_id": f"f{number:04d}", "stage": where, "code": code, "patient_key": patient}


def account(images=None, rejected=(), labels=(), **more):
    """An account of images that are one file each."""
    images = [image(0)] if images is None else images
    codes = Counter(row["code"] for row in rejected)
    info = ArchiveInfo(
        medssl="0", size=64, spatial_dims=2, key_id="00000000",
        files_found=len(images) + len(rejected), files_written=len(images), quarantined=codes,
        images=len(images), series=len({row["series_key"] for row in images}),
        studies=len({row["study_key"] for row in images}),
        patients=len({row["patient_key"] for row in images}),
        sites=tuple(sorted({row["site"] for row in images if row["site"]})),
        label_rows=more.pop("label_rows", {}),
    )  # fmt: skip
    return Account(
        info=more.pop("info", info),
        images=tables.build(images, IMAGES),
        labels=tables.build(list(labels), LABELS),
        quarantine=tables.build(list(rejected), QUARANTINE),
        **more,
    )


def compose(*args, **more):
    return accounting.compose(account(*args, **more))


def abouts(record):
    return [row["about"] for row in record["cautions"]]


def test_the_record_reads_back_as_it_was_written(tmp_path):
    found = [left(1, "SKIPPED_TEXT"), left(2, "NO_DECODER")]
    notes = {"notes": ("of note",), "settings": {"size": 64}}
    record = compose([image(0, site=None, lossy=None)], found, **notes)
    ingest_report.write(tmp_path, record)
    assert ingest_report.read(tmp_path) == record


places = st.sampled_from([(code.value, stage) for code in Code for stage in STEPS[code]])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(places, st.sampled_from([None, "p0", "p1", "p2"])), max_size=30),
    st.integers(1, 5),
)
def test_every_file_is_counted_once(found, n_images):
    rejected = [left(n, code, stage, patient) for n, ((code, stage), patient) in enumerate(found)]
    images = [image(n, patient=f"p{n % 2}") for n in range(n_images)]
    record = compose(images, rejected)
    counts, flow = record["counts"], record["flow"]
    assert counts["files_found"] == n_images + len(found) == flow[0]["files"]
    assert counts["skipped"] == sum(code.startswith("SKIPPED_") for (code, _), _ in found)
    assert counts["files_found"] == sum(
        counts[name] for name in ("files_written", "skipped", "rejected")
    )
    told: Counter[str] = Counter()
    for before, step in pairwise(flow):
        gone = step["left_out"]
        assert before["files"] - step["files"] == (gone["files"] if gone else 0)
        for row in gone["codes"] if gone else ():
            told[row["code"], row["stage"]] += row["files"]
            assert row["files"] > 0
            assert row["example"] in {
                r["file_id"]
                for r in rejected
                if (r["code"], r["stage"]) == (row["code"], row["stage"])
            }
    assert told == Counter(place for place, _ in found)
    assert flow[0]["left_out"] is None
    assert flow[-1]["files"] == n_images
    lost = {patient for _, patient in found if patient} - {row["patient_key"] for row in images}
    assert counts["patients_without_image"] == len(lost)


@pytest.mark.parametrize(
    ("code", "stage", "step"),
    [
        ("SKIPPED_TEXT", "sniff", "images"),
        ("SKIPPED_REPORT", "header", "images"),
        ("EMPTY_FILE", "sniff", "opened"),
        ("BAD_HEADER", "sniff", "opened"),
        ("BAD_HEADER", "header", "readable"),
        ("NO_ORIENTATION", "geometry", "readable"),
        ("SKIPPED_LOCALIZER", "header", "accepted"),
        ("BURNED_IN", "header", "accepted"),
        ("MIXED_PATIENTS", "group", "accepted"),
        ("GAP", "geometry", "accepted"),
        ("SKIPPED_DUPLICATE", "decode", "written"),
        ("TRUNCATED", "decode", "written"),
    ],
)
def test_a_file_is_left_out_at_the_step_it_did_not_reach(code, stage, step):
    record = compose(rejected=[left(1, code, stage)])
    assert [row["step"] for row in record["flow"] if row["left_out"]] == [step]


def test_a_reason_stands_once_in_a_box_at_whatever_steps_it_came_up():
    places = [(code.value, stage) for code in Code for stage in STEPS[code]]
    record = compose(rejected=[left(n, *place) for n, place in enumerate(places)])
    for row in record["flow"]:
        codes = [one["code"] for one in row["left_out"]["codes"]] if row["left_out"] else []
        assert len(codes) == len({*codes})


def test_patients_affected_and_patients_lost_are_told_apart():
    rejected = [
        left(1, "TRUNCATED", "decode", "p0"), left(2, "TRUNCATED", "decode", "p0"),
        left(3, "TRUNCATED", "decode", "p9"), left(4, "DECODE_FAILED", "decode", None),
    ]  # fmt: skip
    record = compose(rejected=rejected)
    gone = record["flow"][-1]["left_out"]
    assert (gone["patients"], gone["patients_without_image"]) == (2, 1)
    assert [(row["code"], row["files"], row["patients"]) for row in gone["codes"]] == [
        ("TRUNCATED", 3, 2), ("DECODE_FAILED", 1, 0),
    ]  # fmt: skip
    assert gone["codes"][1]["files_of_unknown_patients"] == 1
    assert "Patients left out" in abouts(record)


def test_what_does_not_add_up_is_not_reported():
    with pytest.raises(AssertionError):
        compose(info=replace(account().info, files_found=7))
    with pytest.raises(AssertionError, match="readable: 5 files told, 1 counted"):
        compose(steps=(Step(name="readable", files=5),))


def test_what_is_known_of_a_step_is_told():
    record = compose(steps=(Step(name="accepted", files=1, patients=4, series=3),))
    assert record["flow"][4] | {"title": "", "left_out": None} == {
        "step": "accepted", "title": "", "files": 1, "patients": 4, "studies": None, "series": 3,
        "images": None, "left_out": None,
    }  # fmt: skip


words = st.sampled_from([None, "CT", "MR", "DX"])
rows = st.lists(st.tuples(words, st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=25)


@settings(max_examples=40)
@given(rows)
def test_kinds_count_images_series_and_patients(found):
    images = [image(n, f"p{p}", f"s{p}{s}", modality=w) for n, (w, p, s) in enumerate(found)]
    table = composition.kinds(tables.build(images, IMAGES)).get("modality", [])
    expected = {}
    for word in {word for word, _, _ in found}:
        here = [(p, s) for w, p, s in found if w == word]
        expected[word] = (len(here), len(set(here)), len({p for p, _ in here}))
    if set(expected) == {None}:
        assert table == []
        return
    assert {r["value"]: (r["images"], r["series"], r["patients"]) for r in table} == expected
    assert [r["images"] for r in table] == sorted((r["images"] for r in table), reverse=True)


def test_ages_stand_in_their_order_and_a_column_without_words_is_left_out():
    bands = ["90+", None, "6-12", "30-39", "6-12"]
    images = [image(n, age_band=band) for n, band in enumerate(bands)]
    kinds = composition.kinds(tables.build(images, IMAGES))
    assert [row["value"] for row in kinds["age_band"]] == ["6-12", "30-39", "90+", None]
    assert "view" not in kinds
    assert "scanner" not in kinds


def test_a_scanner_is_maker_and_model_as_far_as_stated():
    pairs = [("ge", "signa"), ("ge", None), (None, "trio"), (None, None)]
    images = [image(n, manufacturer=a, model=b) for n, (a, b) in enumerate(pairs)]
    rows = composition.kinds(tables.build(images, IMAGES))["scanner"]
    assert {row["value"] for row in rows} == {"ge signa", "ge", "trio", None}


@settings(max_examples=30)
@given(st.lists(st.integers(1, 2000), min_size=1, max_size=60))
def test_quantiles_are_numbers_that_occur(sides):
    images = [image(n, rows=side) for n, side in enumerate(sides)]
    row = composition.sizes(tables.build(images, IMAGES))[0]
    ranked = sorted(sides)
    assert row["quantity"] == "rows"
    assert (row["min"], row["max"], row["n"]) == (ranked[0], ranked[-1], len(sides))
    for name, share in composition.QUANTILES.items():
        assert row[name] in ranked
        assert sum(side <= row[name] for side in sides) >= share * len(sides)
        assert sum(side < row[name] for side in sides) <= share * len(sides)


def test_sizes_are_counted_over_what_they_belong_to():
    images = [
        image(0, "p0", "s0", spacing=[1.0, 2.0, 5.0], slice_index=0, days_since_first=0),
        image(1, "p0", "s0", spacing=[1.0, 2.0, 5.0], slice_index=1, days_since_first=40),
        image(2, "p1", "s1", spacing=None, slice_index=0, days_since_first=None),
        image(3, "p2", "s2", spacing=[0.5, 0.5, None], slice_index=0, days_since_first=3),
    ]
    found = {row["quantity"]: row for row in composition.sizes(tables.build(images, IMAGES))}
    assert found["distance between rows"] | {} == {
        "quantity": "distance between rows", "unit": "mm", "of": "series", "n": 2, "min": 0.5,
        "p5": 0.5, "median": 0.5, "p95": 1.0, "max": 1.0,
    }  # fmt: skip
    assert (found["distance between slices"]["n"], found["distance between slices"]["max"]) == (
        1,
        5,
    )
    assert (found["images per series"]["max"], found["images per series"]["n"]) == (2, 3)
    assert (found["first to last study"]["max"], found["first to last study"]["n"]) == (40, 2)


def test_encodings_name_the_decoder_and_count_what_was_lossy():
    lossless, baseline = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
    images = [
        image(0, lossy=None),
        image(1, lossy=True),
        image(2, transfer_syntax=baseline, lossy=True),
    ]
    record = compose(images, decoders={baseline: "a library 1.0"})
    assert [
        (row["value"], row["name"], row["decoder"], row["images"], row["lossy"])
        for row in record["encodings"]
    ] == [
        (lossless, "Explicit VR Little Endian", None, 2, 1),
        (baseline, "JPEG Baseline (Process 1)", "a library 1.0", 1, 1),
    ]
    caution = next(row for row in record["cautions"] if row["about"] == "Lossy compression")
    assert caution["text"].startswith("2 of 3 images (66.7%)")


def test_flags_are_counted_with_their_meaning():
    images = [image(0, flags=["gap", "tilt"]), image(1, flags=["tilt"]), image(2, "p1", "s1")]
    found = {row["flag"]: row for row in composition.flags(tables.build(images, IMAGES))}
    assert {name: row["images"] for name, row in found.items()} == {"tilt": 2, "gap": 1}
    assert "gantry" in found["tilt"]["meaning"]
    assert composition.flags(tables.build([image(0)], IMAGES)) == []


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([None, "a", "b"])), min_size=1))
def test_targets_count_values_and_patients_who_have_several(found):
    images = [image(n, f"p{p}") for n, (p, _) in enumerate(found)]
    labels = [
        {"image_id": f"i{n}", "target": "t", "value": value}
        for n, (_, value) in reversed(list(enumerate(found)))
    ]
    (target,) = composition.targets(tables.build(images, IMAGES), tables.build(labels, LABELS))
    values = defaultdict(set)
    for patient, value in found:
        if value:
            values[patient].add(value)
    assert {row["value"]: row["images"] for row in target["values"]} == Counter(
        value for _, value in found if value
    )
    assert target["patients_with_several_values"] == sum(len(v) > 1 for v in values.values())
    n_unlabelled = sum(value is None for _, value in found)
    assert (target["unlabelled"] or {"images": 0})["images"] == n_unlabelled


def test_a_site_of_many_patients_with_one_value_is_a_caution():
    def record(n_patients):
        images = [image(n, f"p{n}", site="north") for n in range(n_patients)]
        images += [image(n, f"p{n}", site="south") for n in range(90, 92)]
        values = dict.fromkeys(range(n_patients), "1") | {90: "0", 91: "1"}
        labels = [{"image_id": f"i{n}", "target": "t", "value": v} for n, v in values.items()]
        return compose(images, labels=labels)

    assert "Target t" in abouts(record(composition.MANY_PATIENTS))
    assert "Target t" not in abouts(record(composition.MANY_PATIENTS - 1))


@pytest.mark.parametrize(
    ("about", "words", "more"),
    [
        ("Rejected files", "1 of 2 image files (50.0%)", {"rejected": [left(1, "TRUNCATED")]}),
        ("Patients unknown", "1 of 1 image name", {"images": [image(0, flags=["no_patient"])]}),
        ("Burned-in text", "1 image", {"images": [image(0, flags=["burned_in_risk"])]}),
        (
            "Gaps",
            "1 series may lack slices, 7.5 mm in the worst",
            {
                "images": [image(0, flags=["gap"])],
                "findings": [Finding(series_key="s0", what="gap", amount=7.5, unit="mm")],
            },
        ),
        ("No decoder installed", "NO_DECODER, 1 file", {"rejected": [left(1, "NO_DECODER")]}),
        ("Label table", "2 of 9 rows", {"label_rows": {"table_rows": 9, "rows_without_file": 2}}),
        ("Sites", "1 patient with", {"images": [image(0), image(1, site="south")]}),
        (
            "Sites",
            "1 image without",
            {"images": [image(0), image(1, "p1", site=None, pixel_sha256="1")]},
        ),
        ("Equal images", "2 images with the same", {"images": [image(0), image(1, "p1")]}),
        ("Lossy compression", "all images", {"images": [image(0, lossy=True)]}),
        ("CT values", "1 CT image", {"images": [image(0, flags=["no_rescale"])]}),
    ],
)
def test_what_needs_attention_is_said_and_nothing_else(about, words, more):
    assert compose()["cautions"] == []
    record = compose(settings={"max_rejects": 1.0 if about != "Rejected files" else 0.05}, **more)
    assert abouts(record) == [about]
    (caution,) = record["cautions"]
    assert caution["text"].startswith(words)
    for text in (caution["text"], caution["fix"]):
        assert not text.endswith(".")
        assert text.count("`") % 2 == 0


def test_gaps_the_user_has_dealt_with_are_no_caution():
    images = [image(0, flags=["gap"])]
    assert abouts(compose(images, settings={"gaps": "keep"})) == ["Gaps"]
    assert abouts(compose(images, settings={"gaps": "single"})) == []


def test_rejects_up_to_the_limit_are_no_caution():
    found = [left(1, "COLOUR")]
    assert abouts(compose(rejected=found, settings={"max_rejects": 0.5})) == []
    assert abouts(compose(rejected=found, settings={"max_rejects": 0.49})) == ["Rejected files"]


def test_settings_that_say_where_files_lie_are_left_out():
    told = {"sources": ["/data/mueller"], "labels": "/x.csv", "key_file": "/k", "size": 64}
    assert compose(settings=told)["settings"] == {"size": 64}


def test_the_worst_series_are_named_and_those_not_written_are_not():
    images = [image(n, series=f"s{n}") for n in range(8)]
    found = [
        Finding(series_key=f"s{n}", what="gap", count=n, amount=float(n), unit="mm")
        for n in (3, 7, 1, 5, 2, 6, 4, 99)
    ]
    (row,) = compose(images, findings=found)["findings"]
    assert [one["series_key"] for one in row["worst"]] == ["s7", "s6", "s5", "s4", "s3"]
    assert (row["series"], row["count"], row["largest"], row["unit"]) == (7, 28, 7.0, "mm")


def test_the_geometry_of_series_is_measured():
    """Slices 5 mm apart of which two are missing, stacked 15 degrees off their normal."""
    shear = np.tan(np.radians(15))
    heights = [0, 5, 10, 25, 30]
    entries = _entries([(0.0, shear * z, float(z)) for z in heights])
    gathered = grouping.gather(entries, KEY)
    found = {one.what: one for one in accounting.findings(stacks(gathered))}
    assert (found["gap"].count, found["gap"].unit) == (2, "mm")
    assert found["gap"].amount == pytest.approx(10)
    assert found["tilt"].amount == pytest.approx(15)
    readable, accepted = accounting.steps(entries, entries[:4], gathered.series)
    assert (readable.files, readable.patients, readable.studies) == (5, 1, 1)
    assert (accepted.files, accepted.series, accepted.images) == (4, 1, 5)


def test_a_regular_series_has_no_finding():
    entries = _entries([(0.0, 0.0, 5.0 * k) for k in range(4)])
    assert accounting.findings(stacks(grouping.gather(entries, KEY))) == []


def _entries(origins):
    items, rows = [], []
    for number, origin in enumerate(origins):
        plane = Plane(origin, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
        told = Identity(patient="P", study="1.2", series="1.2.3", image=f"1.2.3.{number}")
        header = Header(
            reader="x", rows=4, columns=4, bits=16, frames=(Frame(plane=plane),), identity=told,
            facts=Facts(modality="CT"), thickness=5.0,
        )  # fmt: skip
        file = SourceFile(path=Path("/d") / f"{number}", source=0, relative=f"{number}")
        items.append(Item(file, header))
        rows.append(None)
    return assignment.assign(items, rows, Rules(), KEY)
