"""Archives whose volumes were resampled at ingest: the same patient on other voxels."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medssl.artifacts import archive, pixels, quarantine, source_paths
from medssl.config.ingest import IngestSettings
from medssl.foundation.errors import DataError, UsageError
from medssl.ingestion import identity, phantoms
from medssl.stages import ingest

SHAPE = (20, 18, 9)  # columns, rows, slices
MM = (1.5, 1.25, 4.0)
SLOPE = np.array([3.0, -2.0, 5.0])  # of a ramp, per mm
FACTS = {"modality", "site", "body_part", "manufacturer", "kvp", "sex", "days_since_first"}


@dataclass(frozen=True)
class Series:
    """One volume of an archive."""

    rows: list[dict]
    stored: np.ndarray  # (slices, channels, rows, columns), without padding

    @property
    def matrix(self) -> np.ndarray:
        """Voxel to RAS+ mm, of the first slice."""
        return np.vstack([np.reshape(self.rows[0]["affine"], (3, 4)), [0, 0, 0, 1]])

    @property
    def values(self) -> np.ndarray:
        """Real values, (columns, rows, slices, channels)."""
        return (self.stored * self.rows[0]["slope"] + self.rows[0]["intercept"]).transpose(
            3, 2, 0, 1
        )

    @property
    def flags(self) -> set[str]:
        return {flag for row in self.rows for flag in row["flags"]}


@dataclass(frozen=True)
class Archive:
    """What an ingest left."""

    out: Path
    series: dict[str, Series]

    @property
    def ids(self) -> list[str]:
        return [row["image_id"] for one in self.series.values() for row in one.rows]

    def only(self) -> Series:
        (one,) = self.series.values()
        return one

    def paths(self) -> list[dict]:
        return source_paths.read(self.out).to_pylist()


@pytest.fixture
def ingested(tmp_path):
    """Ingest into a new folder; all have the same key."""
    numbers = iter(range(99))
    identity.load_or_create(tmp_path / "key")

    def run(*sources: Path, **more) -> Archive:
        out = tmp_path / f"archive-{next(numbers)}"
        settings = {"size": "keep", "max_rejects": 1, "key_file": tmp_path / "key"} | more
        ingest.run(IngestSettings(sources=sources, **settings), out, workers=1)
        return read(out)

    return run


def read(out: Path) -> Archive:
    found: dict[str, list[dict]] = {}
    for row in archive.read_images(out).to_pylist():
        found.setdefault(row["series_key"], []).append(row)
    return Archive(out, {key: _series(out, rows) for key, rows in found.items()})


def _series(out: Path, rows: list[dict]) -> Series:
    first, count = rows[0], len(rows)
    assert [row["slice_index"] for row in rows] == list(range(count))
    assert [row["row"] for row in rows] == list(range(first["row"], first["row"] + count))
    stored = np.asarray(pixels.read(out, first["shard"])[first["row"] : first["row"] + count])
    return Series(rows, stored[:, :, : first["rows"], : first["columns"]])


def oblique(shear: float = 0.0) -> np.ndarray:
    """Sagittal slices, turned by some degrees; they lean by ``shear``."""
    turn = np.linalg.qr(np.array([[0.1, -0.2, 1], [-1, 0.2, 0.1], [-0.2, -1, -0.2]]))[0]
    turn = turn * np.sign(turn[[1, 2, 0], range(3)]) * [-1, -1, 1]
    affine = np.eye(4)
    affine[:3, :3] = turn * MM
    affine[:3, 2] += shear * MM[2] * turn[:, 1]
    affine[:3, 3] = 10, -20, 30
    return affine


def places(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS+ mm of each voxel, (columns, rows, slices, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def write_ramp(path: Path, affine: np.ndarray, dtype=np.int16) -> None:
    ramp = places(SHAPE, affine) @ SLOPE + 500
    path.parent.mkdir(exist_ok=True)
    nib.Nifti1Image(ramp.round().astype(dtype), affine).to_filename(path)


def same_after_turning(turned: Series, plain: Series, orientation: str) -> None:
    """Assert that one series is what nibabel makes of the other, bit by bit."""
    image = nib.Nifti1Image(plain.values, plain.matrix)
    target = nib.orientations.axcodes2ornt(orientation)
    turn = nib.orientations.ornt_transform(nib.io_orientation(plain.matrix), target)
    expected = image.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.matrix)) == orientation
    assert np.array_equal(turned.values, np.asarray(expected.dataobj))
    assert np.allclose(turned.matrix, expected.affine, atol=1e-6)
    assert "resampled" in turned.flags


def placed_as_a_volume(one: Series) -> None:
    """Assert that each row says where its slice lies, upwards, and how far apart pixels are."""
    for number, row in enumerate(one.rows):
        own = np.reshape(row["affine"], (3, 4))
        assert np.allclose(own[:, 3], one.matrix[:3] @ [0, 0, number, 1])
        assert np.allclose(own[:, :3], one.matrix[:3, :3])
        assert row["spacing"] == pytest.approx(np.linalg.norm(own[:, :3], axis=0)[[1, 0, 2]])
        assert (row["rows"], row["columns"]) == one.stored.shape[2:]
    positions = [row["position_mm"] for row in one.rows]
    assert positions == sorted(positions)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR", "PIR"])
def test_turning_a_volume_moves_voxels_and_changes_no_value(ingested, tmp_path, orientation):
    rng = np.random.default_rng(1)
    volume = rng.normal(size=SHAPE).astype(np.float32)  # stored in steps of its own
    (tmp_path / "in").mkdir()
    nib.Nifti1Image(volume, oblique(0.2)).to_filename(tmp_path / "in" / "a.nii")
    plain, turned = ingested(tmp_path / "in"), ingested(tmp_path / "in", orientation=orientation)
    assert plain.series.keys() == turned.series.keys()
    same_after_turning(turned.only(), plain.only(), orientation)
    placed_as_a_volume(turned.only())


def test_real_series_are_turned_and_nothing_else(ingested, test_data):
    source = test_data / "dicom-ref"
    how = {"colour": "keep", "four_d": "split"}
    plain, turned = ingested(source, **how), ingested(source, **how, orientation="RAS")
    assert plain.series.keys() == turned.series.keys()
    kinds = Counter()
    for key, before in plain.series.items():
        after = turned.series[key]
        kinds[f"{before.rows[0]['shard']}"] += 1
        if "not_resampled" in after.flags:
            assert len(before.rows) == 1
            assert np.array_equal(after.stored, before.stored)
            continue
        same_after_turning(after, before, "RAS")
        placed_as_a_volume(after)
        assert {n: after.rows[0][n] for n in FACTS} == {n: before.rows[0][n] for n in FACTS}
    assert len(kinds) > 3
    assert len(set(turned.ids)) == len(turned.ids)
    assert quarantine.read(plain.out).equals(quarantine.read(turned.out))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("shear", [0.0, 0.25])
@pytest.mark.parametrize("how", [{"orientation": "RAS"}, {}], ids=["RAS", "as it lies"])
def test_a_ramp_is_the_same_ramp_in_the_patient(ingested, tmp_path, dtype, shear, how):
    affine = oblique(shear)
    write_ramp(tmp_path / "in" / "a.nii", affine, dtype)
    one = ingested(tmp_path / "in", spacing=(1, 1, 1), **how).only()
    placed_as_a_volume(one)
    assert np.linalg.norm(one.matrix[:3, :3], axis=0) == pytest.approx((1, 1, 1))
    assert one.flags == {"no_patient", "resampled"}  # upright now, so without `tilt`
    where = places(one.values.shape[:3], one.matrix)
    index = (where - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    inside = ((index >= 1) & (index <= np.array(SHAPE) - 2)).all(axis=-1)
    assert inside.sum() > 500
    found = one.values[inside, 0]
    assert np.abs(found - (where @ SLOPE + 500)[inside]).max() < 1.01  # rounded once or twice


def test_spacing_follows_the_axes_of_the_result(ingested, tmp_path):
    write_ramp(tmp_path / "in" / "a.nii", oblique())
    one = ingested(tmp_path / "in", spacing=(1, 2, 3), orientation="RAS").only()
    assert one.rows[0]["spacing"] == pytest.approx((2, 1, 3))  # row, column, slice


def test_turned_images_are_shrunk_and_padded_like_all(ingested, tmp_path):
    write_ramp(tmp_path / "in" / "a.nii", oblique())
    phantoms.generate(tmp_path / "in", n_patients=2, image_size=32, ct_slices=4, rejects=False)
    found = ingested(tmp_path / "in", size=16, orientation="RAS")
    turned = next(one for one in found.series.values() if len(one.rows) == SHAPE[1])
    assert turned.stored.shape[2:] == (16, 7)  # 20 x 9 pixels
    assert turned.rows[0]["spacing"] == pytest.approx((MM[0] * 20 / 16, 4 * 9 / 7, 1.25))
    for one in found.series.values():
        assert pixels.read(found.out, one.rows[0]["shard"]).shape[2:] == (16, 16)


class TestRows:
    @pytest.fixture
    def scans(self, tmp_path) -> Path:
        phantoms.generate(tmp_path / "in", n_patients=2, image_size=32, ct_slices=7)
        return tmp_path / "in"

    def test_ids_are_new_and_the_same_each_time(self, ingested, scans):
        plain, fine = ingested(scans), ingested(scans, spacing=(2, 2, 2))
        coarse, turned = ingested(scans, spacing=(4, 4, 4)), ingested(scans, orientation="RAS")
        assert ingested(scans, spacing=(2, 2, 2)).ids == fine.ids
        ids = [
            {row["image_id"] for row in one.rows}
            for found in (plain, fine, coarse, turned)
            for one in found.series.values()
            if "not_resampled" not in one.flags
        ]
        assert len(set.union(*ids)) == sum(map(len, ids))
        alone = [r for one in fine.series.values() if len(one.rows) == 1 for r in one.rows]
        assert {row["image_id"] for row in alone} <= set(plain.ids)

    def test_what_is_no_volume_stays_as_it_is(self, ingested, scans):
        plain, fine = ingested(scans), ingested(scans, spacing=(2, 2, 2))
        images = [one for one in fine.series.values() if one.rows[0]["affine"] is None]
        assert images
        for one in images:
            key = one.rows[0]["series_key"]
            assert "not_resampled" in one.flags
            assert np.array_equal(one.stored, plain.series[key].stored)

    def test_facts_that_slices_do_not_share_are_null(self, ingested, scans):
        for number, path in enumerate(sorted((scans / "north" / "PX9001" / "ct").iterdir())):
            dataset = pydicom.dcmread(path)
            dataset.KVP, dataset.Manufacturer = 100 + number % 2, "SIEMENS"
            dataset.save_as(path)
        found = ingested(scans, spacing=(2, 2, 2))
        (ct,) = (one for one in found.series.values() if one.rows[0]["modality"] == "CT")
        assert {(row["kvp"], row["manufacturer"]) for row in ct.rows} == {(None, "siemens")}

    def test_every_file_counts_as_the_slice_nearest_to_it(self, ingested, scans):
        found = ingested(scans, spacing=(2, 2, 0.7), orientation="RAS")
        rows = {row["image_id"]: row for one in found.series.values() for row in one.rows}
        info = archive.read_info(found.out)
        rejected = {row["file_id"] for row in quarantine.read(found.out).to_pylist()}
        written = {row["file_id"] for row in found.paths()} - rejected
        assert info.files_found == len(written) + len(rejected)
        assert info.files_written == len(written)
        assert all(row["image_id"] in rows for row in found.paths() if row["file_id"] in written)
        slices = [row for row in found.paths() if "/ct/" in row["path"]]
        assert len(slices) == len({row["image_id"] for row in slices}) == 7
        for row in slices:
            z = float(pydicom.dcmread(row["path"]).ImagePositionPatient[2])
            there = [r["position_mm"] for r in rows.values() if r["modality"] == "CT"]
            away = abs(rows[row["image_id"]]["position_mm"] - z)
            assert away == pytest.approx(min(abs(place - z) for place in there))
            assert row["frame"] == 0
        volume = [row for row in found.paths() if row["path"].endswith("t1.nii")]
        assert [row["frame"] for row in volume] == list(range(len(volume)))

    def test_a_series_with_a_gap_stays_as_it_is(self, ingested, scans):
        sorted((scans / "north" / "PX9001" / "ct").iterdir())[3].unlink()
        plain, fine = ingested(scans), ingested(scans, spacing=(2, 2, 2))
        (key,) = (key for key, one in plain.series.items() if "gap" in one.flags)
        assert "not_resampled" in fine.series[key].flags
        assert np.array_equal(fine.series[key].stored, plain.series[key].stored)
        assert set(plain.ids) & {row["image_id"] for row in fine.series[key].rows}

    def test_a_slice_that_cannot_be_decoded_leaves_a_gap(self, ingested, scans):
        path = sorted((scans / "north" / "PX9001" / "ct").iterdir())[3]
        path.write_bytes(path.read_bytes()[:-50])
        plain, fine = ingested(scans), ingested(scans, spacing=(2, 2, 2))
        (key,) = (key for key, one in plain.series.items() if "gap" in one.flags)
        assert fine.series[key].flags == plain.series[key].flags | {"not_resampled"}
        assert np.array_equal(fine.series[key].stored, plain.series[key].stored)

    def test_a_slice_that_cannot_be_decoded_makes_no_series_even(self, ingested, scans):
        """Labels of slices are checked before anything is decoded, and only of even series."""
        path = sorted((scans / "north" / "PX9001" / "ct").iterdir())[3]
        between = pydicom.dcmread(path)
        between.SOPInstanceUID = between.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        between.ImagePositionPatient[2] += 0.5
        between.save_as(path.with_name("between.dcm"))
        with path.with_name("between.dcm").open("r+b") as file:
            file.truncate(file.seek(0, 2) - 50)
        plain, fine = ingested(scans), ingested(scans, spacing=(2, 2, 2))
        (key,) = (key for key, one in plain.series.items() if one.rows[0]["modality"] == "CT")
        assert plain.series[key].flags == set()
        assert fine.series[key].flags == {"not_resampled"}

    def test_a_volume_that_would_be_too_large_stays_as_it_is(self, ingested, scans):
        found = ingested(scans, spacing=(1e-3, 1e-3, 1e-3))
        assert {tuple(one.flags & {"resampled"}) for one in found.series.values()} == {()}


class TestLabels:
    def test_labels_of_whole_series_are_those_of_all_its_images(self, ingested, tmp_path):
        for name in ("a", "b"):
            write_ramp(tmp_path / "in" / f"{name}.nii", oblique())
        (tmp_path / "in" / "labels.csv").write_text("file,label\na.nii,1\nb.nii,0\n")
        found = ingested(tmp_path / "in", spacing=(2, 2, 2))
        values = {r["image_id"]: r["value"] for r in archive.read_labels(found.out).to_pylist()}
        assert values.keys() == set(found.ids)
        told = [{values[row["image_id"]] for row in one.rows} for one in found.series.values()]
        assert sorted(map(sorted, told)) == [["0"], ["1"]]

    def test_labels_of_slices_are_refused(self, ingested, cli, tmp_path):
        scans = phantoms.generate(tmp_path / "in", n_patients=2, image_size=32, ct_slices=4).out
        names = [path.name for path in sorted((scans / "north" / "PX9001" / "ct").iterdir())]
        lines = [f"{name},{int(number > 1)}" for number, name in enumerate(names)]
        (tmp_path / "slices.csv").write_text("\n".join(["file,tumour", *lines]))
        how = {"labels": tmp_path / "slices.csv", "key": "stem", "label": ("tumour",)}
        assert len(ingested(scans, **how).ids) > 0
        with pytest.raises(DataError, match="labels called tumour differ between slices of 1 ser"):
            ingested(scans, **how, spacing=(2, 2, 2))
        words = ("ingest", scans, "--labels", how["labels"], "--key", "stem", "--label", "tumour")
        code, _, err = cli(*words, "--orientation", "RAS", "-o", tmp_path / "refused", "--dry-run")
        assert code == 3
        assert "label whole series" in err


class TestCommand:
    def test_the_settings_are_kept_and_cannot_change(self, cli, tmp_path):
        write_ramp(tmp_path / "in" / "a.nii", oblique())
        out = tmp_path / "out"
        how = ("--spacing", "1,1,2", "--orientation", "RAS", "--size", "keep")
        assert cli("ingest", tmp_path / "in", "-o", out, *how)[0] == 0
        settings = json.loads((out / "report.json").read_text())["settings"]
        assert (settings["spacing"], settings["orientation"]) == ([1, 1, 2], "RAS")
        write_ramp(tmp_path / "in" / "b.nii", oblique(0.1))
        code, _, err = cli("ingest", "-o", out, "--append", "--spacing", "1,1,1")
        assert (code, "begun with other settings: spacing [1.0, 1.0, 2.0]" in err) == (2, True)
        assert cli("ingest", "-o", out, "--append")[0] == 0
        assert {tuple(np.round(row["spacing"], 6)) for row in _rows(out)} == {(1, 1, 2)}
        assert cli("ingest", tmp_path / "in", "-o", tmp_path / "whole", *how)[0] == 0
        ids = [row["image_id"] for row in _rows(out)]
        assert ids == [row["image_id"] for row in _rows(tmp_path / "whole")]

    def test_a_plan_says_what_it_does_not_know(self, tmp_path):
        write_ramp(tmp_path / "in" / "a.nii", oblique())
        settings = IngestSettings(sources=(tmp_path / "in",), orientation="RAS")
        assert any("resampling: images and disk" in note for note in ingest.plan(settings).notes)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--spacing", "1,1"), "spacing.2 is needed"),
            (("--spacing", "1,1,0"), "spacing.2: input should be greater than 0"),
            (("--spacing", "1,1,x"), "spacing.2: input should be a valid number"),
            (("--spacing", "1,1,inf"), "spacing.2: input should be a finite number"),
            (("--spacing", "1,1,1"), "give --size keep with --spacing"),
            (("--orientation", "RAX"), "'RAX' is no orientation"),
            (("--orientation", "RAR"), "'RAR' is no orientation"),
            (("--orientation", "ras"), "'ras' is no orientation"),
            (("--orientation", "LPI"), "slices are stored towards R, A or S, not I"),
        ],
    )
    def test_what_is_no_grid_is_refused(self, cli, tmp_path, words, said):
        (tmp_path / "in").mkdir()
        code, _, err = cli("ingest", tmp_path / "in", "-o", tmp_path / "out", *words)
        assert code == 2
        assert said in " ".join(err.split())

    def test_settings_say_the_same(self, tmp_path):
        with pytest.raises(UsageError, match="no orientation"):
            IngestSettings(sources=(tmp_path,), orientation="R")


def _rows(out: Path) -> list[dict]:
    return [row for one in read(out).series.values() for row in one.rows]
