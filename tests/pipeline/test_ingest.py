"""`ingest` on whole folders: every file accounted for, nothing about a patient let out."""

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
import yaml
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from medssl.artifacts import archive, pixels, quarantine, source_paths
from medssl.config.ingest import IngestSettings
from medssl.config.loading import Sources, resolve
from medssl.foundation.errors import DataError, UsageError
from medssl.foundation.reporting import Recording
from medssl.ingestion import discover, identity, phantoms
from medssl.ingestion.codes import Code
from medssl.ingestion.workers import Lost, Workers
from medssl.stages import ingest

CANARY = "Zebulon"
PHANTOM_SETTINGS = {"size": 24, "max_rejects": 0.0, "label": ("finding",)}
ARCHIVE_FILES = {
    "archive.json", "report.html", "report.json", "images.parquet", "labels.parquet",
    "quarantine.parquet", "pixels",
    "private", "private/paths.parquet", "private/config.yaml", "private/given.yaml",
    "private/log.txt",
    "private/unmatched_labels.parquet", "private/journal.sqlite", "private/lock",
}  # fmt: skip


@dataclass(frozen=True)
class Ingested:
    out: Path
    result: ingest.IngestResult
    reporter: Recording

    def images(self) -> list[dict]:
        return archive.read_images(self.out).to_pylist()

    def labels(self) -> dict[str, str | None]:
        rows = archive.read_labels(self.out).to_pylist()
        return {row["image_id"]: row["value"] for row in rows}

    def codes(self) -> dict[str, str]:
        """Path relative to the source -> code, by way of `private/`."""
        paths = {row["file_id"]: row["path"] for row in source_paths.read(self.out).to_pylist()}
        return {
            Path(paths[row["file_id"]]).name: row["code"]
            for row in quarantine.read(self.out).to_pylist()
        }

    def source_of(self) -> dict[str, Path]:
        rows = source_paths.read(self.out).to_pylist()
        return {row["image_id"]: Path(row["path"]) for row in rows if row["image_id"]}

    def volume(self, rows: list[dict]) -> np.ndarray:
        """Real values of consecutive images, (slices, rows, columns), without padding."""
        stored = pixels.read(self.out, rows[0]["shard"])
        first = rows[0]
        found = stored[first["row"] : first["row"] + len(rows), 0]
        cut = found[:, : first["rows"], : first["columns"]]
        return cut * first["slope"] + first["intercept"]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ingested]:
    def call(*sources: Path, name: str = "archive", workers: int = 1, **more) -> Ingested:
        reporter = Recording()
        settings = IngestSettings(sources=sources, **more)
        result = ingest.run(settings, tmp_path / name, reporter, workers=workers)
        return Ingested(tmp_path / name, result, reporter)

    return call


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> phantoms.PhantomSummary:
    folder = tmp_path_factory.mktemp("scans") / "scans"
    return phantoms.generate(folder, n_patients=12, image_size=32, ct_slices=6)


@pytest.fixture(scope="module")
def ingested(scans, tmp_path_factory) -> Ingested:
    home = tmp_path_factory.mktemp("ingested")
    reporter = Recording()
    identity.load_or_create(home / "site.key")
    settings = IngestSettings(sources=(scans.out,), key_file=home / "site.key", **PHANTOM_SETTINGS)
    result = ingest.run(settings, home / "archive", reporter, workers=1)
    return Ingested(home / "archive", result, reporter)


def content(folder: Path) -> dict[str, str]:
    """Digest of every file of an archive outside `private/`."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "private" not in path.parts
    }


def save_png(path: Path, value: int = 0, shape: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = (np.arange(shape[0] * shape[1]).reshape(shape) + value) % 256
    Image.fromarray(image.astype(np.uint8)).save(path)
    return path


class TestPhantoms:
    def test_every_file_is_accounted_for(self, scans, ingested):
        info = ingested.result.info
        assert info.files_found == scans.files + 1  # and labels.csv
        assert info.files_found == info.files_written + sum(info.quarantined.values())
        assert (info.images, info.patients) == (scans.images, scans.patients)
        assert info.series == scans.series
        assert info.sites == ("north", "south")

    def test_exactly_the_rejects_are_rejected(self, scans, ingested):
        assert set(ingested.codes()) == {Path(name).name for name in scans.rejects} | {"labels.csv"}

    def test_a_run_leaves_exactly_these_files(self, ingested):
        found = {p.relative_to(ingested.out).as_posix() for p in ingested.out.rglob("*")}
        shards = {name for name in found if name.startswith("pixels/")}
        assert found - shards == ARCHIVE_FILES
        assert shards
        assert archive.read_info(ingested.out) == ingested.result.info
        assert archive.content_hash(ingested.out) == ingested.result.info.hash

    def test_series_lie_side_by_side_and_ascend(self, ingested):
        by_series: dict[str, list[dict]] = {}
        for row in ingested.images():
            by_series.setdefault(row["series_key"], []).append(row)
        assert max(map(len, by_series.values())) > 1
        for rows in by_series.values():
            first = rows[0]
            assert [r["slice_index"] for r in rows] == list(range(len(rows)))
            assert [r["row"] for r in rows] == list(range(first["row"], first["row"] + len(rows)))
            assert {r["shard"] for r in rows} == {first["shard"]}
            if first["affine"] is not None:
                steps = np.diff([r["position_mm"] for r in rows])
                assert (steps > 0).all()

    def test_shards_are_square_and_hold_every_row(self, ingested):
        rows = ingested.images()
        for shard in {row["shard"] for row in rows}:
            members = [row for row in rows if row["shard"] == shard]
            store = pixels.read(ingested.out, shard)
            assert store.shape == (len(members), 1, 24, 24)
            assert sorted(row["row"] for row in members) == list(range(len(members)))

    def test_stored_pixels_have_their_digest(self, ingested):
        for row in ingested.images():
            store = pixels.read(ingested.out, row["shard"])
            valid = store[row["row"], 0, : row["rows"], : row["columns"]]
            head = f"{valid.dtype.str} {row['rows']} {row['columns']}\0".encode()
            digest = hashlib.sha256(head + np.ascontiguousarray(valid).tobytes()).hexdigest()
            assert row["pixel_sha256"] == digest

    def test_labels_are_those_of_the_table(self, scans, ingested):
        assert sum(ingested.result.info.targets["finding"].values()) > 0
        by_patient = {}
        for row in ingested.images():
            by_patient.setdefault(row["patient_key"], set()).add(ingested.labels()[row["image_id"]])
        labelled = [values - {None} for values in by_patient.values() if values - {None}]
        assert len(labelled) == scans.labelled
        assert all(len(values) == 1 for values in labelled)

    def test_ct_values_are_those_of_a_plain_read(self, scans, run):
        ct = scans.out / "north" / "PX9001" / "ct"
        found = run(ct, size="keep")
        rows = found.images()
        assert {row["unit"] for row in rows} == {"HU"}
        for row, stored in zip(rows, found.volume(rows), strict=True):
            plain = pydicom.dcmread(found.source_of()[row["image_id"]])
            expected = plain.pixel_array * float(plain.RescaleSlope) + float(plain.RescaleIntercept)
            assert np.array_equal(stored, expected)
            assert row["position_mm"] == pytest.approx(float(plain.ImagePositionPatient[2]))

    def test_too_many_rejects_are_a_problem_and_the_archive_is_usable(self, ingested):
        problem = ingested.result.problem
        assert problem.exit_code == 8
        assert "image files were rejected" in problem.problem
        assert archive.read_images(ingested.out).num_rows == ingested.result.info.images

    def test_rejects_within_the_limit_are_no_problem(self, scans, run):
        assert run(scans.out, max_rejects=1.0).result.problem is None

    def test_the_flow_adds_up(self, ingested):
        flow = dict(ingested.result.flow)
        assert (
            flow["files found"]
            == flow["left out by rule"] + flow["rejected"] + flow["files written"]
        )
        shown = dict(ingested.result.rows())
        assert shown["archive"] == str(ingested.out)
        assert "target finding" in shown

    def test_private_is_for_the_owner_only(self, ingested):
        private = ingested.out / "private"
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        for path in private.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_the_saved_settings_repeat_the_ingest_from_the_command_line(
        self, ingested, cli, tmp_path
    ):
        config = ingested.out / "private" / "config.yaml"
        code, out, err = cli("ingest", "-c", config, "-o", tmp_path / "again")
        assert (code, "image files were rejected" in err) == (8, True)
        assert "next" in out
        assert content(tmp_path / "again") == content(ingested.out)

    def test_the_result_as_json_is_one_document_and_holds_the_problem(self, scans, cli, tmp_path):
        words = ("ingest", scans.out, "-o", tmp_path / "a", "--label", "finding", "--json")
        code, out, _ = cli(*words, "--max-rejects", 0)
        shown = json.loads(out)
        assert code == shown["problem"]["exit_code"] == 8
        assert shown["schema"] == "medssl.result/1"
        assert "image files were rejected" in shown["problem"]["problem"]
        assert shown["problem"]["where"] == str(tmp_path / "a")
        assert "--max-rejects 1" in shown["problem"]["fix"]
        assert shown["info"]["images"] == scans.images
        code, out, _ = cli(*words[:3], tmp_path / "b", "--json", "--max-rejects", 1)
        assert (code, json.loads(out)["problem"]) == (0, None)

    def test_the_saved_settings_repeat_the_ingest(self, ingested, tmp_path):
        config = ingested.out / "private" / "config.yaml"
        settings = resolve(IngestSettings, "ingest", Sources(files=(config,)))
        assert (settings.key, settings.key_column) == ("patient", "patient_id")
        ingest.run(settings, tmp_path / "again", workers=1)
        assert content(tmp_path / "again") == content(ingested.out)

    def test_a_plan_writes_nothing_and_agrees(self, scans, ingested, config_home, tmp_path):
        before = sorted(tmp_path.rglob("*"))
        planned = ingest.plan(IngestSettings(sources=(scans.out,), size=24))
        assert sorted(tmp_path.rglob("*")) == before
        assert not (config_home / "medssl").exists()
        assert planned.files_found == ingested.result.info.files_found
        assert sum(planned.kinds.values()) == planned.files_found
        assert planned.patients >= ingested.result.info.patients
        size = sum(
            pixels.read(ingested.out, shard).nbytes
            for shard in {row["shard"] for row in ingested.images()}
        )
        taken = sum(f.stat().st_size for f in ingested.out.rglob("*") if f.is_file())
        assert size <= planned.cost.disk_bytes
        assert planned.cost.disk_bytes == pytest.approx(taken, rel=0.5)
        assert planned.cost.seconds > 0
        assert planned.cost.basis.startswith("all headers and 16 of ")


class TestSameBytes:
    def test_whatever_the_listing_and_the_number_of_workers(
        self, scans, ingested, run, monkeypatch
    ):
        key = ingested.out.parent / "site.key"
        more = {"key_file": key, **PHANTOM_SETTINGS}
        expected = content(ingested.out)
        parallel = run(scans.out, name="parallel", workers=2, **more)
        assert content(parallel.out) == expected

        monkeypatch.setattr(discover, "scandir", lambda path: reversed(list(os.scandir(path))))
        shuffled = run(scans.out, name="shuffled", **more)
        assert content(shuffled.out) == expected

    def test_another_place_on_disk(self, scans, ingested, run, tmp_path):
        moved = tmp_path / "elsewhere"
        shutil.copytree(scans.out, moved)
        key = ingested.out.parent / "site.key"
        again = run(moved, key_file=key, **PHANTOM_SETTINGS)
        assert content(again.out) == content(ingested.out)

    def test_another_key_gives_other_names_only(self, ingested, scans, run):
        other = run(scans.out, size=24)
        ours, theirs = ingested.images(), other.images()
        assert {row["patient_key"] for row in ours}.isdisjoint(row["patient_key"] for row in theirs)
        assert sorted(row["pixel_sha256"] for row in ours) == sorted(
            row["pixel_sha256"] for row in theirs
        )
        assert ingested.result.info.key_id != other.result.info.key_id


def _dicom_with_canaries(path: Path) -> None:
    """Write a CT slice with the canary in every text it can hold."""
    made = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    texts = (
        ("PatientName", "PN"), ("PatientID", "LO"), ("PatientAddress", "LO"),
        ("PatientComments", "LT"), ("ImageComments", "LT"), ("StudyDescription", "LO"),
        ("SeriesDescription", "LO"), ("InstitutionName", "LO"), ("InstitutionAddress", "ST"),
        ("StationName", "SH"), ("ReferringPhysicianName", "PN"), ("OperatorsName", "PN"),
        ("AccessionNumber", "SH"), ("StudyID", "SH"), ("ProtocolName", "LO"),
        ("BodyPartExamined", "CS"), ("Manufacturer", "LO"), ("ManufacturerModelName", "LO"),
        ("DeviceSerialNumber", "LO"), ("SoftwareVersions", "LO"),
        ("AdditionalPatientHistory", "LT"),
        ("RequestedProcedureDescription", "LO"), ("IssuerOfPatientID", "LO"),
        ("PatientSex", "CS"), ("ViewPosition", "CS"), ("Laterality", "CS"),
    )  # fmt: skip
    for name, vr in texts:
        setattr(made, name, f"{CANARY} {vr}" if vr != "CS" else CANARY.upper())
    made.PatientBirthDate, made.StudyDate = "19610203", "20190405"
    inner = Dataset()
    inner.RequestedProcedureDescription = CANARY
    made.RequestAttributesSequence = [inner]
    block = made.private_block(0x0099, f"{CANARY} GROUP", create=True)
    block.add_new(1, "LO", CANARY)
    made.add_new(0x00080050, "SH", CANARY)
    made.save_as(path)
    body = bytearray(path.read_bytes())
    body[:128] = CANARY.encode().ljust(128, b"\0")
    path.write_bytes(body)


def _strings(table) -> list[str]:
    return [str(value) for row in table.to_pylist() for value in row.values()]


def _listed(path: Path, closed: Path) -> list[os.DirEntry]:
    if path == closed:  # as its mode would for all but the superuser
        raise PermissionError(13, "denied", str(path))
    return list(os.scandir(path))


def _alone(word):
    """Pattern of a word in a file; of a year outside digests and numbers, where it is by chance."""
    found = re.escape(word.encode())
    return rb"(?<![0-9a-z.])%b(?![0-9a-z.])" % found if len(word) == 4 else found


def test_nothing_about_a_patient_leaves_private(run, tmp_path, capsys, caplog, monkeypatch):
    source = tmp_path / f"{CANARY} source"
    folder = source / f"{CANARY} folder"
    folder.mkdir(parents=True)
    _dicom_with_canaries(folder / f"{CANARY}.dcm")
    broken = bytearray((folder / f"{CANARY}.dcm").read_bytes())
    slope = broken.index(b"\x28\0\x53\x10DS") + 8
    broken[slope : slope + 2] = b"Ze"
    (folder / f"{CANARY} broken.dcm").write_bytes(broken)
    (folder / f"{CANARY} cut.dcm").write_bytes(broken[: len(broken) // 2])
    volume = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    for name in ("descrip", "aux_file", "intent_name", "db_name"):
        volume.header[name] = CANARY.encode()
    volume.header.extensions.append(nib.nifti1.Nifti1Extension("comment", CANARY.encode()))
    volume.to_filename(folder / f"{CANARY}.nii.gz")
    save_png(folder / f"{CANARY}.png")
    closed = folder / f"{CANARY} closed"
    save_png(closed / f"{CANARY} inside.png")
    monkeypatch.setattr(discover, "scandir", lambda path: _listed(path, closed))
    table = "image,patient_id,label,site,note\n" + "".join(
        f"{CANARY} folder/{CANARY}{end},{CANARY}-7,1,clinic,{CANARY}\n" for end in (".png", ".dcm")
    )
    (source / "labels.csv").write_text(table, encoding="utf-8")

    found = run(source, max_rejects=1.0)

    assert found.result.info.images == 7
    assert found.codes()[f"{CANARY} broken.dcm"] == "BAD_HEADER"
    assert found.codes()[f"{CANARY} closed"] == "UNREADABLE"
    assert any("1 folder or file cannot be opened" in text for text in found.reporter.warnings)
    forbidden = [CANARY.lower(), "19610203", "20190405", "1961", "1.3.6.1.4.1.5962"]
    said = [*found.reporter.notes, *found.reporter.warnings, caplog.text, *capsys.readouterr()]
    said += [str(found.result.rows()), str(found.result.notes)]
    for text in said:
        assert not any(word in text.replace(str(found.out), "").lower() for word in forbidden)
    searched = 0
    for path in found.out.rglob("*"):
        if not path.is_file() or "private" in path.parts:
            continue
        searched += 1
        raw = path.read_bytes().lower()
        assert not any(re.search(_alone(word), raw) for word in forbidden), path.name
        assert not any(word.encode("utf-16-le") in raw for word in forbidden[:1])
        if path.suffix == ".parquet":
            texts = " ".join(_strings(pq.read_table(path))).lower()
            assert not any(word in texts for word in forbidden), path.name
    assert searched >= 5
    assert CANARY in (found.out / "private" / "config.yaml").read_text(encoding="utf-8")


def test_failures_name_no_file_and_no_patient(cli, tmp_path, monkeypatch):
    source = tmp_path / "scans"
    folder = source / f"{CANARY} folder"
    folder.mkdir(parents=True)
    (folder / f"{CANARY}.dcm").write_bytes(bytes(128) + b"DICM" + CANARY.encode() * 9)
    (folder / f"{CANARY}.txt").write_text(CANARY, encoding="utf-8")
    closed = folder / f"{CANARY} closed"
    closed.mkdir()
    monkeypatch.setattr(discover, "scandir", lambda path: _listed(path, closed))
    code, *said = cli("ingest", source, "-o", tmp_path / "none")
    assert (code, "none of 3 files could be ingested" in said[1]) == (3, True)

    save_png(folder / f"{CANARY}.png")
    lines = (f"{CANARY} folder/{CANARY}.png,{CANARY},{n}\n" for n in range(2))
    (source / "labels.csv").write_text("image,who,label\n" + "".join(lines), encoding="utf-8")
    code, *more = cli("ingest", source, "-o", tmp_path / "disagree")
    assert (code, "disagree about 'label'" in more[1]) == (3, True)
    for text in (*said, *more):
        assert CANARY.lower() not in text.lower()


def test_pictures_without_anything_are_patients_of_their_own(run, tmp_path):
    for number in range(3):
        save_png(tmp_path / "in" / f"{number}.png", number)
    found = run(tmp_path / "in")
    rows = found.images()
    assert len({row["patient_key"] for row in rows}) == 3
    assert all(row["flags"] == ["no_patient"] for row in rows)
    assert all(row["affine"] is None and row["spacing"] is None for row in rows)
    assert any("3 of 3 files name no patient" in text for text in found.reporter.warnings)
    assert archive.read_labels(found.out).num_rows == 0
    assert found.result.info.spatial_dims == 2
    assert "spatial_dims 2 (auto: 0 of 3 images in volumes)" in found.result.notes


def test_a_file_without_uids_has_its_ids_wherever_it_lies(run, tmp_path):
    first, other = save_png(tmp_path / "A" / "1.png"), save_png(tmp_path / "B" / "1.png", value=9)
    copy = save_png(tmp_path / "both" / "x" / "copy.png")
    shutil.copy(first, copy.with_name("twin.png"))
    shutil.copy(other, copy.with_name("b.png"))
    ids = ("image_id", "series_key", "study_key", "patient_key")
    (one,), (two,) = run(first.parent, name="1").images(), run(other.parent, name="2").images()
    assert not {one[name] for name in ids} & {two[name] for name in ids}
    both = run(tmp_path / "both", name="3")
    by_name = {both.source_of()[row["image_id"]].name: row for row in both.images()}
    assert len({row["patient_key"] for row in by_name.values()}) == 3
    for name in ids:
        assert by_name["copy.png"][name] == one[name] != by_name["twin.png"][name]
        assert by_name["b.png"][name] == two[name]


def test_folders_of_equal_names_are_other_series_and_patients(run, tmp_path):
    keys = set()
    for ingest_of, value in (("A", 0), ("B", 50)):
        for number in range(3):
            save_png(tmp_path / ingest_of / "case" / f"{number}.png", value + number)
        rows = run(tmp_path / ingest_of, name=f"of {ingest_of}", series="parent").images()
        assert len({row["series_key"] for row in rows}) == 1
        keys |= {(row["series_key"], row["patient_key"]) for row in rows}
    assert len(keys) == len({patient for _, patient in keys}) == 2


@pytest.mark.parametrize("rule", ["parent", "col:series"])
def test_a_dicom_file_that_lies_in_two_series_is_one_image(run, tmp_path, rule):
    for name in ("x", "y"):
        (tmp_path / "in" / name).mkdir(parents=True)
        shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "in" / name / "a")
    (tmp_path / "in" / "labels.csv").write_text(
        "image,series,label\nx/a,1,yes\ny/a,2,yes\n", encoding="utf-8"
    )
    found = run(tmp_path / "in", series=rule)
    assert found.result.info.images == 1
    assert found.codes() == {"a": "SKIPPED_DUPLICATE", "labels.csv": "SKIPPED_TEXT"}


def test_several_sources_with_one_table_are_repeated_by_the_saved_settings(run, tmp_path):
    for name, value in (("a", 0), ("b", 7)):
        save_png(tmp_path / name / "1.png", value)
        save_png(tmp_path / name / "2.png", value + 1)
    (tmp_path / "a" / "labels.csv").write_text("id,label\n1,yes\n", encoding="utf-8")
    first = run(tmp_path / "a", tmp_path / "b", name="first")
    assert first.result.info.targets == {"label": {"yes": 1}}  # that of b/1.png is not known
    config = first.out / "private" / "config.yaml"
    settings = resolve(IngestSettings, "ingest", Sources(files=(config,)))
    assert (settings.labels, settings.key, settings.label) == (None, "stem", ("label",))
    ingest.run(settings, tmp_path / "again", workers=1)
    assert content(tmp_path / "again") == content(first.out)


def test_a_volume_of_doubles_beyond_single_precision_is_flagged(run, tmp_path):
    (tmp_path / "in").mkdir()
    volume = np.linspace(-1, 1, 600).reshape(10, 12, 5)
    volume[0, 0, 0], volume[3, 3, 3] = 1e300, -1e39
    nib.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "in" / "a.nii")
    found = run(tmp_path / "in", size=8)
    rows = found.images()
    assert {row["slice_index"] for row in rows if "not_finite" in row["flags"]} == {0, 3}
    assert np.isfinite([[row["slope"], row["intercept"]] for row in rows]).all()
    assert np.abs(found.volume(rows)).max() <= 1


def test_a_nifti_ct_of_thin_slices_is_one_volume_in_hounsfield_units(run, tmp_path):
    (tmp_path / "in").mkdir()
    volume = np.arange(96, dtype=np.int16).reshape(4, 4, 6) * 20 - 1000
    image = nib.Nifti1Image(volume, np.diag([0.8, 0.8, 0.8, 1.0]))
    image.header.set_xyzt_units(xyz="micron")
    image.to_filename(tmp_path / "in" / "a.nii")
    (tmp_path / "in" / "labels.csv").write_text("image,modality\na.nii,CT\n", encoding="utf-8")
    found = run(tmp_path / "in")
    rows = found.images()
    assert {(row["series_key"], row["unit"]) for row in rows} == {(rows[0]["series_key"], "HU")}
    assert np.array_equal(found.volume(rows), volume.transpose(2, 1, 0))
    assert np.diff([row["position_mm"] for row in rows]) == pytest.approx([0.0008] * 5)
    assert rows[0]["spacing"] == pytest.approx([0.0008] * 3)
    assert "spatial_dims 3 (auto: 6 of 6 images in volumes)" in found.result.notes


def test_equal_slices_less_than_a_micron_apart_are_no_duplicates(run, tmp_path):
    (tmp_path / "in").mkdir()
    image = nib.Nifti1Image(np.zeros((4, 4, 5), np.int16), np.diag([0.4, 0.4, 0.4, 1.0]))
    image.header.set_xyzt_units(xyz="micron")
    image.to_filename(tmp_path / "in" / "a.nii")
    rows = run(tmp_path / "in").images()
    assert [row["flags"] for row in rows] == [["no_patient"]] * 5


def _padded_air(values: list[list[float]]) -> list[list[float]]:
    return [[-1024.0 if value == -2000 else value - 1000 for value in row] for row in values]


RAMP = [[0, 1], [2, 4095]]
TRUTH = {
    "CT, rescale of each slice": (
        "CT", np.uint16, RAMP, [{"RescaleIntercept": -1024}, {"RescaleIntercept": -1000}],
        [[[-1024, -1023], [-1022, 3071]], [[-1000, -999], [-998, 3095]]],
    ),
    "CT, padding": (
        "CT", np.int16, [[-2000, 0], [50, -2000]],
        [{"RescaleIntercept": -1000, "PixelPaddingValue": -2000}],
        [_padded_air([[-2000, 0], [50, -2000]])],
    ),
    "CR, MONOCHROME1 of 12 bits": (
        "CR", np.uint16, RAMP, [{"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12}],
        [[[4095, 4094], [4093, 0]]],
    ),
    "MR, signed": ("MR", np.int16, [[-5, 0], [7, 32767]], [{}], [[[-5, 0], [7, 32767]]]),
    "MR, 12 bits with slope": (
        "MR", np.uint16, RAMP, [{"BitsStored": 12, "RescaleSlope": 2, "RescaleIntercept": 1}],
        [[[1, 3], [5, 8191]]],
    ),
    "PT, a slope per slice": (
        "PT", np.int16, [[0, 100], [200, 1000]],
        [{"RescaleSlope": 1, "Units": "BQML"}, {"RescaleSlope": 2.5, "Units": "BQML"}],
        [[[0, 100], [200, 1000]], [[0, 250], [500, 2500]]],
    ),
    "DX, 8 bits": ("DX", np.uint8, [[0, 1], [2, 255]], [{}], [[[0, 1], [2, 255]]]),
}  # fmt: skip
UNITS = {"CT": "HU", "PT": "BQML"}


@pytest.mark.parametrize("name", TRUTH)
def test_stored_values_mean_what_the_header_says(run, tmp_path, name):
    modality, dtype, values, slices, expected = TRUTH[name]
    folder = tmp_path / "in"
    folder.mkdir()
    for number, tags in enumerate(slices):
        made = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        made.pop("PixelPaddingValue", None)
        pixel = np.array(values, dtype=dtype)
        made.Rows = made.Columns = 2
        made.BitsAllocated = made.BitsStored = pixel.itemsize * 8
        made.PixelRepresentation = int(pixel.dtype.kind == "i")
        made.PixelData = pixel.tobytes()
        made.Modality, made.RescaleSlope, made.RescaleIntercept = modality, 1, 0
        made.SOPInstanceUID = f"1.2.{number + 1}"
        made.ImagePositionPatient = [0, 0, number]
        for tag, value in tags.items():
            setattr(made, tag, value)
        if "PixelPaddingValue" in made:
            made["PixelPaddingValue"].VR = "SS"
        made.HighBit = made.BitsStored - 1
        made.save_as(folder / f"{number}")
    found = run(folder)
    rows = found.images()
    assert {row["unit"] for row in rows} == {UNITS.get(modality, "arbitrary")}
    difference = np.abs(found.volume(rows) - np.array(expected))
    assert difference.max() <= (rows[0]["slope"] / 2 if "per slice" in name else 0)


def test_16_bit_pictures_keep_their_values(run, tmp_path):
    (tmp_path / "in").mkdir()
    deep = (np.arange(120).reshape(12, 10) * 546).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "in" / "a.png")
    found = run(tmp_path / "in")
    assert np.array_equal(found.volume(found.images())[0], deep)
    assert pixels.read(found.out, 0).dtype == np.uint16


def test_a_dicom_archive_and_a_table_cohort_match(run, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    made = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    made.PatientID, made.InstitutionName = "P-77", "North"
    made.save_as(folder / "a")
    save_png(tmp_path / "cohort" / "x.png")
    (tmp_path / "cohort" / "labels.csv").write_text(
        "image,patient_id,label,site,view,age,sex\nx.png,P-77,yes,south,PA,36,F\n",
        encoding="utf-8",
    )
    scan, loose = run(folder, name="one").images()[0], run(tmp_path / "cohort", name="two")
    (row,) = loose.images()
    assert row["patient_key"] == scan["patient_key"]
    assert scan["site"].startswith("site-")
    assert (row["site"], row["view"], row["age_band"], row["sex"]) == ("south", "PA", "30-39", "F")
    assert loose.result.info.targets == {"label": {"yes": 1}}
    assert "labels: matched 1 of 1 file by path in column image" in loose.reporter.notes


def test_a_series_of_pictures_from_a_folder(run, tmp_path):
    for number in (10, 9, 1):
        save_png(tmp_path / "in" / "case" / f"s{number}.png", number)
    found = run(tmp_path / "in", series="parent", patient="parent", site="parent")
    rows = found.images()
    assert len({row["series_key"] for row in rows}) == 1
    names = [found.source_of()[row["image_id"]].name for row in rows]
    assert names == ["s1.png", "s9.png", "s10.png"]
    assert {row["site"] for row in rows} == {"case"}
    assert rows[0]["flags"] == ["order_by_name"]


def test_a_study_of_two_patients_is_quarantined(run, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("P1", "P2"):
        made = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        made.PatientID = name
        made.save_as(tmp_path / "in" / name)
    save_png(tmp_path / "in" / "a.png")
    found = run(tmp_path / "in", max_rejects=1)
    assert found.codes() == {"P1": "MIXED_PATIENTS", "P2": "MIXED_PATIENTS"}
    assert found.result.info.images == 1


def test_copies_and_days_between_studies(run, tmp_path):
    (tmp_path / "in").mkdir()
    made = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for day, name in (("20200301", "b"), ("20200101", "a")):
        made.StudyDate = day
        made.StudyInstanceUID = made.SeriesInstanceUID = made.SOPInstanceUID = f"1.2.{day}"
        made.save_as(tmp_path / "in" / name)
    shutil.copy(tmp_path / "in" / "a", tmp_path / "in" / "copy")
    found = run(tmp_path / "in")
    assert found.codes() == {"copy": "SKIPPED_DUPLICATE"}
    assert sorted(row["days_since_first"] for row in found.images()) == [0, 60]


def test_native_shapes_get_a_shard_each(run, tmp_path):
    for number, shape in enumerate([(12, 10), (30, 20), (12, 10)]):
        save_png(tmp_path / "in" / f"{number}.png", number, shape)
    found = run(tmp_path / "in", size="keep")
    shapes = {pixels.read(found.out, row["shard"]).shape for row in found.images()}
    assert shapes == {(2, 1, 12, 10), (1, 1, 30, 20)}
    assert found.result.info.size is None


def test_the_square_is_no_larger_than_the_largest_image(run, tmp_path):
    save_png(tmp_path / "in" / "a.png", shape=(12, 10))
    found = run(tmp_path / "in")
    assert pixels.read(found.out, 0).shape == (1, 1, 12, 12)


def test_a_smoke_run_takes_files_from_all_over(run, tmp_path):
    for number in range(100):
        save_png(tmp_path / "in" / f"{number:03d}.png", number, (2, 2))
    found = run(tmp_path / "in", smoke=True)
    names = sorted(path.stem for path in found.source_of().values())
    assert len(names) == found.result.info.files_found == 64
    assert names[0] == "000"
    assert names[-1] >= "097"


def test_an_output_inside_a_source_is_not_read(run, tmp_path):
    save_png(tmp_path / "a.png")
    assert run(tmp_path).result.info.files_found == 1


FAILURES = [
    ({"labels": "labels.csv", "label": ("grade",)}, DataError, r"labels.csv: no column 'grade'"),
    ({"labels": "nolabel.csv"}, DataError, r"(?s)no column 'label'.*image, view"),
    ({"labels": "nomatch.csv"}, DataError, "no row of the table names any of the files"),
    ({"labels": "absent.csv"}, DataError, "no such label table"),
    ({"patient": "col:who"}, UsageError, "col:who needs a label table"),
    ({"labels": "labels.csv", "patient": "col:imag"}, DataError, r"(?s)imag'.*mean 'image'"),
    ({"site": "somewhere"}, UsageError, "no place to take the site from"),
    ({"sources": ("gone",)}, UsageError, "gone: no such file or folder"),
    ({"sources": ("texts",)}, DataError, r"none of 1 file could be ingested \(1 x SKIPPED_TE"),
    ({"sources": ("empty",)}, DataError, "the folder is empty"),
    ({"key_file": "labels.csv"}, UsageError, "not a key"),
    ({"key_file": "tpyo"}, UsageError, r"(?s)tpyo: no such key file.*openssl rand -out tpyo 32"),
    ({"sources": ("full",)}, UsageError, "the source lies inside the output"),
]


@pytest.mark.parametrize(("wrong", "kind", "message"), FAILURES, ids=lambda x: str(x)[:40])
def test_what_is_wrong_is_said(tmp_path, monkeypatch, wrong, kind, message):
    monkeypatch.chdir(tmp_path)
    save_png(tmp_path / "in" / "a.png")
    (tmp_path / "labels.csv").write_text("image,label\nin/a.png,1\n", encoding="utf-8")
    (tmp_path / "nolabel.csv").write_text("image,view\nin/a.png,PA\n", encoding="utf-8")
    (tmp_path / "nomatch.csv").write_text("image,label\nb.png,1\n", encoding="utf-8")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a").write_text("text", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    settings = IngestSettings(**{"sources": ("in",)} | wrong)
    out = tmp_path / ("full" if wrong.get("sources") == ("full",) else "out")
    if out.name == "full":
        out.mkdir()
    with pytest.raises(kind, match=message):
        ingest.run(settings, out)
    assert not (out / "archive.json").exists()


def test_files_that_kill_their_worker_are_no_other_format(run, tmp_path, monkeypatch):
    save_png(tmp_path / "in" / "a.png")
    died = Lost(0, Code.WORKER_DIED)
    monkeypatch.setattr(Workers, "run", lambda *args: iter([died] * len(args[2])))
    with pytest.raises(DataError, match="1 x WORKER_DIED") as caught:
        run(tmp_path / "in")
    assert "damaged" in caught.value.fix


def test_a_folder_that_is_not_empty_is_left_alone(run, tmp_path):
    save_png(tmp_path / "in" / "a.png")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "mine").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="the output folder is not empty"):
        run(tmp_path / "in")
    assert [path.name for path in (tmp_path / "archive").iterdir()] == ["mine"]


def test_the_log_and_settings_are_kept_in_private(run, tmp_path):
    save_png(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "labels.csv").write_text("image,label\na.png,1\n", encoding="utf-8")
    found = run(tmp_path / "in")
    config = yaml.safe_load((found.out / "private" / "config.yaml").read_text(encoding="utf-8"))
    assert (config["key"], config["key_column"], config["label"]) == ("path", "image", ["label"])
    assert config["spatial_dims"] == 2
    log = (found.out / "private" / "log.txt").read_text(encoding="utf-8")
    assert "matched 1 of 1 file" in log
    assert identity.load(identity.default_key_path()).key_id == found.result.info.key_id


def test_the_files_of_pydicom_are_all_accounted_for(run):
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = run(folder, max_rejects=1.0)
    info = found.result.info
    assert info.files_found == sum(1 for path in folder.rglob("*") if not path.is_dir())
    assert info.files_found == info.files_written + sum(info.quarantined.values())
    codes = found.codes()
    assert codes["rtplan.dcm"] == "SKIPPED_RADIOTHERAPY"
    assert codes["MR_truncated.dcm"] == "TRUNCATED"
    assert codes["reportsi.dcm"] == "SKIPPED_REPORT"
    assert codes["JPEG-lossy.dcm"] == "NO_DECODER"
    written = {path.name for path in found.source_of().values()}
    assert {"CT_small.dcm", "MR_small.dcm"} <= written | set(codes)


def _series_from(found: Ingested, folder: Path) -> list[list[dict]]:
    source_of = found.source_of()
    by_series: dict[str, list[dict]] = {}
    for row in found.images():
        if folder in source_of[row["image_id"]].parents:
            by_series.setdefault(row["series_key"], []).append(row)
    return list(by_series.values())


@pytest.mark.parametrize(
    ("folder", "reference"),
    [
        ("dcm_qa_nih/20180918GE_mr_0004", "dcm_qa_nih/DCM2NIIX_regression_test_4.nii"),
        ("dicom2nifti/generic/anatomical/001", "{}_ground_truth.nii.gz"),
        ("dicom2nifti/generic/anatomical/002_non_isotropic", "{}_ground_truth.nii.gz"),
        ("dicom2nifti/generic/compressed_rle/001", "{}_ground_truth.nii.gz"),
        ("dicom2nifti/hitachi/anatomical/001", "{}_ground_truth.nii.gz"),
    ],
)
def test_volumes_equal_their_reference_in_ras(run, test_data, folder, reference):
    root = test_data / "dicom-ref"
    found = run(root / folder)
    expected = nib.as_closest_canonical(nib.load(root / reference.format(folder)))
    volumes = np.asarray(expected.dataobj, dtype=np.float64)
    volumes = volumes[..., None] if volumes.ndim == 3 else volumes
    series = _series_from(found, root / folder)
    assert len(series) == volumes.shape[3]
    matched = set()
    for rows in series:
        matrix = np.vstack([np.reshape(rows[0]["affine"], (3, 4)), [0, 0, 0, 1]])
        values = found.volume(rows).transpose(2, 1, 0)
        ours = nib.as_closest_canonical(nib.Nifti1Image(values, matrix))
        assert np.allclose(ours.affine, expected.affine, atol=1e-3)
        difference = np.abs(ours.get_fdata()[..., None] - volumes).max(axis=(0, 1, 2))
        matched.add(int(np.argmin(difference)))
        assert difference.min() < 1e-3
        for number, row in enumerate(rows):
            own = np.reshape(row["affine"], (3, 4))
            assert np.allclose(own[:, 3], matrix[:3] @ [0, 0, number, 1], atol=1e-2)
    assert len(matched) == volumes.shape[3]


@pytest.mark.parametrize(
    ("name", "images", "patients", "more"),
    [
        ("cxr-nih-sample", 1000, 682, {}),
        ("ct-siim-dicom", 48, 29, {}),
        ("mri-neighbour-slices", 240, 1, {"series": "parent"}),
    ],
)
def test_real_folders_are_all_accounted_for(run, test_data, name, images, patients, more):
    found = run(test_data / name, **more)
    info = found.result.info
    assert info.files_found == info.files_written + sum(info.quarantined.values())
    assert (info.images, info.patients) == (images, patients)
    assert found.result.problem is None
