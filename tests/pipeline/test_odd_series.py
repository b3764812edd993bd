"""Series that are no plain volume: slices twice, missing or few, and volumes within each other."""

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from medssl.artifacts import archive, pixels, quarantine, source_paths
from medssl.config.ingest import IngestSettings
from medssl.ingestion import archive_tables
from medssl.ingestion.writing import Part
from medssl.stages import ingest


def write(path: Path, z: float, value: int = 0, **tags) -> None:
    """Write a CT slice; by default its instance number is its height, and its UID its name's."""
    made = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    made.ImagePositionPatient, made.InstanceNumber = [0, 0, z], int(z)
    made.SOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.PixelData = (made.pixel_array + np.int16(value)).tobytes()
    for name, told in tags.items():
        setattr(made, name, told)
    path.parent.mkdir(exist_ok=True)
    made.save_as(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


@pytest.fixture
def look(tmp_path, folder):
    """Ingest; return the files of each series in order, the code of each other file, all rows."""

    def call(name: str = "archive", **more):
        out = tmp_path / name
        ingest.run(IngestSettings(sources=(folder,), max_rejects=1, **more), out, workers=1)
        info = archive.read_info(out)
        rows = archive.read_images(out).to_pylist()
        told = source_paths.read(out).to_pylist()
        name_of = {row["image_id"] or row["file_id"]: Path(row["path"]).name for row in told}
        assert info.files_found == len({row["path"] for row in told}) == len(list(folder.iterdir()))
        assert info.files_found == info.files_written + quarantine.read(out).num_rows
        series: dict[str, list[str]] = {}
        for row in sorted(rows, key=lambda row: row["slice_index"]):
            series.setdefault(row["series_key"], []).append(name_of[row["image_id"]])
        rejects = quarantine.read(out).to_pylist()
        file_of = {row["file_id"]: Path(row["path"]).name for row in told}
        codes = {file_of[row["file_id"]]: row["code"] for row in rejects}
        for row in rows:
            row["name"] = name_of[row["image_id"]]
            row["mean"] = pixels.read(out, row["shard"])[row["row"], 0].mean()
        return sorted(series.values()), codes, rows

    return call


def test_a_slice_sent_twice_under_another_uid_is_a_duplicate_and_another_one_is_not(folder, look):
    for z in range(8):
        write(folder / f"{z}", z)
    write(folder / "again", 2, InstanceNumber=50)
    write(folder / "other", 3, 100, InstanceNumber=51)
    write(folder / "scaled", 4, InstanceNumber=52, RescaleIntercept=-1000)
    series, codes, rows = look()
    assert series == [[f"{z}" for z in range(8)]]
    assert codes == {
        "again": "SKIPPED_DUPLICATE", "other": "SAME_POSITION", "scaled": "SAME_POSITION",
    }  # fmt: skip
    assert {flag for row in rows for flag in row["flags"]}.isdisjoint({"gap", "duplicate_pixels"})


def test_two_exports_of_a_series_are_one(folder, look):
    for z in range(4):
        write(folder / f"a{z}", z)
        write(folder / f"b{z}", z)  # as anonymised anew: other UIDs, the same numbers
    series, codes, _ = look()
    assert sorted(name[1] for name in series[0]) == ["0", "1", "2", "3"]
    assert Counter(codes.values()) == {"SKIPPED_DUPLICATE": 4}


def test_repetitions_are_volumes_of_their_own(folder, look):
    for t in range(3):
        for z in range(4):
            write(folder / f"{t}{z}", z, 10 * t, InstanceNumber=4 * t + z + 1)
    series, codes, rows = look()
    assert series == [[f"{t}{z}" for z in range(4)] for t in range(3)]
    assert codes == {}
    assert all("repeats_by_instance" in row["flags"] for row in rows)


def test_a_damaged_slice_gives_way_to_the_one_behind_it(folder, look):
    for z in range(4):
        write(folder / f"{z}", z)
    write(folder / "again", 2, InstanceNumber=50)
    cut_off(folder / "2")
    series, codes, _ = look()
    assert series == [["0", "1", "again", "3"]]
    assert codes == {"2": "TRUNCATED"}


@pytest.mark.parametrize("gaps", ["keep", "single", "reject"])
def test_a_missing_slice_is_told_and_dealt_with(folder, look, gaps):
    for z in (0, 2, 4, 8, 10):
        write(folder / f"u{z:02d}", z, SeriesInstanceUID="1.2.3.1")
    for z in range(4):
        write(folder / f"v{z}", z, SeriesInstanceUID="1.2.3.2")
    even, uneven = [f"v{z}" for z in range(4)], [f"u{z:02d}" for z in (0, 2, 4, 8, 10)]
    series, codes, rows = look(gaps=gaps)
    assert (
        series
        == {
            "keep": [uneven, even],
            "single": [*([name] for name in uneven), even],
            "reject": [even],
        }[gaps]
    )
    assert codes == (dict.fromkeys(uneven, "GAP") if gaps == "reject" else {})
    for row in rows:
        assert ("gap" in row["flags"]) == (row["name"] in uneven)
    if gaps == "keep":
        assert {row["spacing"][2] for row in rows if row["name"] in uneven} == {2}


def cut_off(path: Path) -> None:
    """Damage a file behind its header, so that only decoding tells."""
    path.write_bytes(path.read_bytes()[:-500])


LOSSY = [{"gaps": "single"}, {"gaps": "reject"}, {"min_slices": 6}]


@pytest.mark.parametrize("policy", LOSSY, ids=str)
def test_slices_lost_in_decoding_are_missing_too(folder, look, policy):
    for z in range(6):
        write(folder / f"a{z}", z, SeriesInstanceUID="1.2.3.1")
        write(folder / f"b{z}", z, SeriesInstanceUID="1.2.3.2")
    cut_off(folder / "a3")
    hurt = [f"a{z}" for z in (0, 1, 2, 4, 5)]
    whole = [f"b{z}" for z in range(6)]
    series, codes, rows = look(**policy)
    if policy == {"gaps": "single"}:
        assert series == [*([name] for name in hurt), whole]
        assert codes == {"a3": "TRUNCATED"}
        for row in rows:
            assert ("gap" in row["flags"]) == (row["name"] in hurt)
            assert row["spacing"][2] == (5 if row["name"] in hurt else 1)  # thickness; distance
    else:
        assert series == [whole]
        code = "GAP" if "gaps" in policy else "SKIPPED_SHORT_SERIES"
        assert codes == {"a3": "TRUNCATED"} | dict.fromkeys(hurt, code)


def test_slices_lost_at_an_end_are_no_gap_but_may_make_a_series_short(folder, look):
    for z in range(6):
        write(folder / f"{z}", z)
    cut_off(folder / "5")
    left = [f"{z}" for z in range(5)]
    for name, policy in {"single": {"gaps": "single"}, "five": {"min_slices": 5}}.items():
        series, codes, rows = look(name, **policy)
        assert (series, codes) == ([left], {"5": "TRUNCATED"})
        assert not any("gap" in row["flags"] for row in rows)


@pytest.mark.parametrize("policy", LOSSY, ids=str)
def test_lost_slices_are_dealt_with_alike_however_an_archive_comes_about(
    folder, tmp_path, monkeypatch, policy
):
    for z in range(6):
        write(folder / f"a{z}", z, SeriesInstanceUID="1.2.3.1")
        write(folder / f"b{z}", z, SeriesInstanceUID="1.2.3.2")
    cut_off(folder / "a3")
    settings = IngestSettings(sources=(folder,), max_rejects=1, **policy)

    def content(name):
        tables = ("images.parquet", "quarantine.parquet", "pixels/00000.npy", "report.json")
        return [(tmp_path / name / table).read_bytes() for table in tables]

    ingest.run(settings, tmp_path / "whole", workers=1)
    parts = [tmp_path / f"part{n}" for n in (1, 2)]
    for number, out in enumerate(parts, start=1):
        ingest.run_part(settings, out, Part(number, 2), workers=1)
    ingest.merge(parts, tmp_path / "merged", workers=1)
    assert content("merged") == content("whole")

    with monkeypatch.context() as patch:
        patch.setattr(archive_tables, "write", lambda *_: 1 / 0)  # as a crash before the end
        with pytest.raises(ZeroDivisionError, match="zero"):
            ingest.run(settings, tmp_path / "resumed", workers=1)
    ingest.run(settings, tmp_path / "resumed", workers=1, mode="resume")
    assert content("resumed") == content("whole")

    (folder / "a5").rename(tmp_path / "later")
    ingest.run(settings, tmp_path / "appended", workers=1)
    (tmp_path / "later").rename(folder / "a5")
    ingest.run(settings, tmp_path / "appended", workers=1, mode="append")
    assert content("appended") == content("whole")


def test_short_series_are_left_out_where_asked_for(folder, look):
    for z in range(5):
        write(folder / f"long{z}", z, SeriesInstanceUID="1.2.3.1")
    for z in range(3):
        write(folder / f"short{z}", z, SeriesInstanceUID="1.2.3.2")
    assert [len(names) for names in look("all")[0]] == [5, 3]
    series, codes, _ = look("long", min_slices=4)
    assert [len(names) for names in series] == [5]
    assert codes == {f"short{z}": "SKIPPED_SHORT_SERIES" for z in range(3)}


def test_patients_of_one_study_are_told_apart_or_left_out(folder, look):
    for z in range(3):
        write(folder / f"a{z}", z)
        write(folder / f"b{z}", z, PatientID="somebody else", StudyInstanceUID="1.2.9")
        write(folder / f"c{z}", z, StudyInstanceUID="1.2.10")
    write(folder / "d", 9, PatientID="a third", StudyInstanceUID="1.2.10")
    series, codes, rows = look()
    assert series == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]
    assert codes == dict.fromkeys(("c0", "c1", "c2", "d"), "MIXED_PATIENTS")
    assert len({row["patient_key"] for row in rows}) == 2


def test_what_else_may_lie_in_one_series_is_split(folder, look):
    base = {"FrameOfReferenceUID": "1.2.3.9", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    kinds = {
        "plain": {},
        "type": {"ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]},
        "spacing": {"PixelSpacing": [0.7, 0.7]},
        "turned": {"ImageOrientationPatient": [1, 0, 0, 0, 0.8, 0.6]},
        "moved": {"FrameOfReferenceUID": "1.2.3.10"},
        "echo": {"EchoNumbers": 2},
    }
    for number, (name, tags) in enumerate(kinds.items()):
        for z in range(3):  # at heights of their own: no repeat gives them away
            write(folder / f"{name}{z}", 50 * number + z, **{**base, **tags})
    series, codes, _ = look()
    assert series == sorted([f"{name}{z}" for z in range(3)] for name in kinds)
    assert codes == {}


DYNAMIC = {"Modality": "MR", "SliceThickness": 5}  # five time points of a contrast agent


def test_a_lost_slice_of_a_dynamic_series_costs_no_other(folder, look):
    for t in range(5):
        for k in range(20):
            if (t, k) != (0, 7):
                number = 20 * t + k + 1
                write(folder / f"{t}{k:02d}", 5 * k, 100 * t, InstanceNumber=number, **DYNAMIC)
    series, codes, rows = look()
    assert codes == {}
    assert series == [
        [f"{t}{k:02d}" for k in range(20) if (t, k) != (0, 7)] for t in range(5)
    ]  # fmt: skip
    for row in rows:
        assert ("gap" in row["flags"]) == row["name"].startswith("0")
        assert row["spacing"][2] == 5


def test_time_points_between_each_other_are_volumes(folder, look):
    for t in range(4):
        for k in range(6):
            moved = 5 * k + 0.2 * t  # as by a correction of motion
            tags = {"InstanceNumber": 6 * t + k, "TemporalPositionIdentifier": t + 1}
            write(folder / f"{t}{k}", moved, **tags, **DYNAMIC)
    series, codes, rows = look()
    assert (series, codes) == ([[f"{t}{k}" for k in range(6)] for t in range(4)], {})
    assert {(row["spacing"][2], *row["flags"]) for row in rows} == {(5.0,)}


def test_acquisitions_half_a_slice_apart_are_volumes(folder, look):
    for a in range(2):
        for k in range(8):
            tags = {"InstanceNumber": 8 * a + k, "AcquisitionNumber": a + 1, "SliceThickness": 5}
            write(folder / f"{a}{k}", 5 * k + 2.5 * a, **tags)
    series, codes, _ = look()
    assert (series, codes) == ([[f"{a}{k}" for k in range(8)] for a in range(2)], {})


def test_sweeps_of_a_perfusion_are_told_apart_by_the_clock(folder, look):
    for t in range(3):
        for k in range(4):
            when = {"AcquisitionTime": f"0930{15 + 2 * t}.5", "ContentTime": "093100"}
            write(folder / f"{t}{k}", 5 * k, 10 * t, AcquisitionNumber=1, InstanceNumber=k, **when)
    series, codes, rows = look()
    assert (series, codes) == ([[f"{t}{k}" for k in range(4)] for t in range(3)], {})
    assert not any("repeats_by_instance" in row["flags"] for row in rows)


def test_a_time_per_slice_is_no_sweep(folder, look):
    for k in range(8):
        when = {"AcquisitionTime": f"0930{10 + k}", "ContentTime": f"0930{20 + k // 2}"}
        write(folder / f"{k}", 5 * k, AcquisitionNumber=1, **when)
    series, codes, _ = look()
    assert (series, codes) == ([[f"{k}" for k in range(8)]], {})


def test_directions_of_diffusion_are_volumes_though_slices_are_lost(folder, look):
    lost = {(0, 0), (1, 4), (2, 2)}
    for d in range(3):
        for k in range(6):
            if (d, k) not in lost:
                vector = [float(axis == d) for axis in range(3)]
                write(folder / f"{d}{k}", 5 * k, InstanceNumber=1, DiffusionBValue=800.0,
                      DiffusionGradientOrientation=vector, **DYNAMIC)  # fmt: skip
    series, codes, _ = look()
    expected = [[f"{d}{k}" for k in range(6) if (d, k) not in lost] for d in range(3)]
    assert (series, codes) == (expected, {})


def test_a_slice_too_many_is_told_by_its_volume(folder, look):
    for z in range(20):
        write(folder / f"{z:02d}", z)
    write(folder / "other", 3, 100, InstanceNumber=51)
    series, codes, rows = look()
    assert (series, codes) == ([[f"{z:02d}" for z in range(20)]], {"other": "SAME_POSITION"})
    assert all("same_position" in row["flags"] for row in rows)


@pytest.mark.parametrize(
    ("births", "sexes", "is_told"),
    [
        (("19500101", "19620304"), ("F", "F"), True),
        (("19500101", "19500101"), ("F", "M"), True),
        (("19500101", ""), ("F", ""), False),
        (("19500101", "1950"), ("F", "O"), False),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_an_id_of_several_people_is_told(folder, tmp_path, births, sexes, is_told):
    for number, (born, sex) in enumerate(zip(births, sexes, strict=True)):
        study = {"StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.2.{number}.1"}
        write(folder / f"{number}", 0, PatientBirthDate=born, PatientSex=sex, **study)
    out = tmp_path / "archive"
    result = ingest.run(IngestSettings(sources=(folder,)), out, workers=1)
    told = [note for note in result.notes if "dates of birth" in note]
    assert bool(told) == is_told
    assert not any(born and born in note for born in births for note in result.notes)
    assert result.info.patients == 1
    for path in out.rglob("*"):  # not even the journal
        if path.is_file():
            assert b"19500101" not in path.read_bytes()
