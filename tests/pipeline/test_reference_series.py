"""Real series against what other programs make of them: the same voxels at the same places.

The references of `dicom-ref` were made by dcm2niix and dicom2nifti; the order of slices is also
compared with highdicom. The archives are read as a user would read them.
"""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGLosslessSV1

from medssl.artifacts import archive, pixels, quarantine, source_paths
from medssl.config.ingest import IngestSettings
from medssl.ingestion import identity
from medssl.stages import ingest

MM = 1e-3  # references hold single precision
REFERENCES = {  # folder of DICOM files -> its reference, and how many volumes that has
    "dcm_qa_nih/20180918GE_mr_0004": ("dcm_qa_nih/DCM2NIIX_regression_test_4.nii", 10),
    "dcm_qa_nih/20180918Si_mr_0003": ("dcm_qa_nih/EPI_PE=AP_3.nii", 2),
    "dcm_qa_nih/20180918Si_mr_0005": ("dcm_qa_nih/EPI_PE=RL_5.nii", 2),
    "dicom2nifti/generic/anatomical/001": ("{}_ground_truth.nii.gz", 1),
    "dicom2nifti/generic/anatomical/002_non_isotropic": ("{}_ground_truth.nii.gz", 1),
    "dicom2nifti/generic/compressed_rle/001": ("{}_ground_truth.nii.gz", 1),
    "dicom2nifti/hitachi/anatomical/001": ("{}_ground_truth.nii.gz", 1),
    "dicom2nifti/hyperfine/anatomical/001": ("{}_ground_truth.nii.gz", 1),
}
# Folders whose series are not compared there, each looked at in a test of its own below.
SLICES = "dicom2nifti/failing/slicecount/001"  # copies of two files of generic/anatomical/001
TILT = "dicom2nifti/failing/gantrytilting/001"  # dicom2nifti refuses it, so there is no reference
RLE = "dicom2nifti/generic/compressed_rle/001"
JPEG = "dicom2nifti/generic/compressed_jpeg/001"  # JPEG lossless, read only with an extra; same
# instances as compressed_rle/001, so that then it is the copy of these
COLOUR = "dicom2nifti/generic/rgb/001"  # left out unless colour is asked for


@dataclass(frozen=True)
class Series:
    """One volume of an archive."""

    rows: list[dict]
    sources: list[Path]  # the file of each slice
    stored: np.ndarray  # (slices, channels, rows, columns)

    @property
    def matrix(self) -> np.ndarray:
        """Voxel to RAS+ mm, of the first slice."""
        return np.vstack([np.reshape(self.rows[0]["affine"], (3, 4)), [0, 0, 0, 1]])

    @property
    def half_step(self) -> float:
        """Half of the distance between two values that can be stored."""
        return max(row["slope"] for row in self.rows) / 2

    def values(self) -> np.ndarray:
        """Real values, (columns, rows, slices, channels)."""
        scale = [(row["slope"], row["intercept"]) for row in self.rows]
        slope, intercept = np.array(scale).T[:, :, None, None, None]
        return (self.stored * slope + intercept).transpose(3, 2, 0, 1)


@dataclass(frozen=True)
class Archive:
    """What an ingest left."""

    series: list[Series]
    codes: dict[Path, str]
    counts: tuple[int, int]  # files found and accounted for

    def of(self, folder: Path) -> list[Series]:
        """The series that come from a folder."""
        return [one for one in self.series if any(folder in p.parents for p in one.sources)]

    def codes_of(self, folder: Path) -> Counter[str]:
        """How many files of a folder have which code."""
        return Counter(code for path, code in self.codes.items() if folder in path.parents)


def ingested(out: Path, *sources: Path, **more) -> Archive:
    identity.load_or_create(out.with_name("key"))
    settings = IngestSettings(
        sources=sources, key_file=out.with_name("key"), max_rejects=1, size="keep", **more
    )
    ingest.run(settings, out, workers=1)
    paths = source_paths.read(out).to_pylist()
    path_of = {row["image_id"]: Path(row["path"]) for row in paths if row["image_id"]}
    file_of = {row["file_id"]: Path(row["path"]) for row in paths}
    rejected = quarantine.read(out).to_pylist()
    by_series: dict[str, list[dict]] = {}
    for row in archive.read_images(out).to_pylist():
        by_series.setdefault(row["series_key"], []).append(row)
    info = archive.read_info(out)
    return Archive(
        [
            _series(out, sorted(rows, key=lambda row: row["slice_index"]), path_of)
            for rows in by_series.values()
        ],
        {file_of[row["file_id"]]: row["code"] for row in rejected},
        (info.files_found, info.files_written + len(rejected)),
    )


def _series(out: Path, rows: list[dict], path_of: dict[str, Path]) -> Series:
    first, n = rows[0], len(rows)
    assert [row["row"] for row in rows] == list(range(first["row"], first["row"] + n))
    stored = np.asarray(pixels.read(out, first["shard"])[first["row"] : first["row"] + n])
    stored = stored[:, :, : first["rows"], : first["columns"]]
    return Series(rows, [path_of[row["image_id"]] for row in rows], stored)


@pytest.fixture(scope="module")
def root(test_data) -> Path:
    return test_data / "dicom-ref"


@pytest.fixture(scope="module")
def reference(root, tmp_path_factory) -> Archive:
    return ingested(tmp_path_factory.mktemp("ref") / "archive", root, four_d="split")


@pytest.fixture
def alone(root, tmp_path):
    return lambda folder, **more: ingested(tmp_path / "archive", root / folder, **more)


def canonical(values: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = nib.as_closest_canonical(nib.Nifti1Image(values, matrix))
    return np.asarray(found.dataobj), found.affine


def same_volumes(series: list[Series], path: Path) -> None:
    """Assert that the volumes of a reference are those of some series, one each."""
    expected = nib.as_closest_canonical(nib.load(path))
    volumes = np.asarray(expected.dataobj, dtype=np.float64)
    volumes = volumes.reshape(*volumes.shape[:3], -1)
    rounding = np.spacing(np.abs(volumes).max().astype(np.float32))  # values wait as these
    matched = []
    for one in series:
        found, affine = canonical(one.values(), one.matrix)
        assert found.shape == (*volumes.shape[:3], 1)
        assert np.allclose(affine, expected.affine, atol=MM)
        difference = np.abs(found - volumes).max(axis=(0, 1, 2))
        matched.append(int(difference.argmin()))
        assert difference.min() <= one.half_step + rounding
    assert sorted(matched) == list(range(volumes.shape[3]))


def test_every_file_is_accounted_for_and_every_folder_looked_at(reference, root):
    found, accounted = reference.counts
    assert found == accounted == sum(path.is_file() for path in root.rglob("*"))
    folders = {path.parent.relative_to(root).as_posix() for path in root.rglob("*.dcm")}
    assert folders == {*REFERENCES, SLICES, TILT, JPEG, COLOUR}


@pytest.mark.parametrize("folder", REFERENCES)
def test_a_series_equals_its_reference_in_voxels_and_affine(reference, root, folder):
    name, count = REFERENCES[folder]
    series = reference.of(root / folder)
    if folder == "dicom2nifti/generic/anatomical/001":  # of equal files the first by path is kept
        assert {path.parent for path in series[0].sources} == {root / SLICES, root / folder}
        assert reference.codes_of(root / folder) == {"SKIPPED_DUPLICATE": 2}
    else:
        assert not reference.codes_of(root / folder)
    assert len(series) == count
    same_volumes(series, root / name.format(folder))


@pytest.mark.parametrize("folder", REFERENCES)
def test_the_affine_of_a_slice_is_where_the_volume_puts_it(reference, root, folder):
    for one in reference.of(root / folder):
        for number, row in enumerate(one.rows):
            own = np.reshape(row["affine"], (3, 4))
            assert np.allclose(own[:, 3], one.matrix[:3] @ [0, 0, number, 1], atol=1e-2)
            assert np.allclose(own[:, :3], one.matrix[:3, :3])
            edges = np.linalg.norm(own[:, :3], axis=0)
            assert row["spacing"] == pytest.approx(edges[[1, 0, 2]])


def test_two_slices_are_a_volume_too(alone, root):
    (series,) = alone(SLICES).series
    same_volumes([series], root / f"{SLICES}_ground_truth.nii.gz")


def test_jpeg_lossless_needs_an_extra(alone, reference, root):
    if not get_decoder(JPEGLosslessSV1).is_available:
        assert reference.codes_of(root / JPEG) == {"NO_DECODER": 4}
        return
    assert reference.codes_of(root / JPEG) | reference.codes_of(root / RLE) == {
        "SKIPPED_DUPLICATE": 4
    }
    (series,) = alone(JPEG).series
    same_volumes([series], root / f"{JPEG}_ground_truth.nii.gz")


def test_colour_is_kept_where_asked_for(alone, reference, root):
    assert reference.codes_of(root / COLOUR) == {"COLOUR": 4}
    (series,) = alone(COLOUR, colour="keep").series
    expected = nib.as_closest_canonical(nib.load(root / f"{COLOUR}_ground_truth.nii.gz"))
    colours = np.asarray(expected.dataobj)  # RGBA: opaque everywhere
    assert (colours["A"] == 255).all()
    found, affine = canonical(series.values(), series.matrix)
    assert np.allclose(affine, expected.affine, atol=MM)
    for number, channel in enumerate("RGB"):
        assert np.array_equal(found[..., number], colours[channel])


def test_a_tilted_gantry_leaves_its_shear_in_the_affine(reference, root):
    (series,) = reference.of(root / TILT)
    datasets = [pydicom.dcmread(path) for path in series.sources]
    for number, (row, dataset) in enumerate(zip(series.rows, datasets, strict=True)):
        assert "tilt" in row["flags"]
        at = series.matrix @ [0, 0, number, 1]
        assert at[:3] == pytest.approx(np.multiply(dataset.ImagePositionPatient, [-1, -1, 1]))
        values = dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept
        assert np.array_equal(series.values()[:, :, number, 0].T, values)
    across = np.cross(series.matrix[:3, 0], series.matrix[:3, 1])
    cosine = across @ series.matrix[:3, 2] / np.linalg.norm(across)
    tilt = np.degrees(np.arccos(abs(cosine) / np.linalg.norm(series.matrix[:3, 2])))
    assert tilt == pytest.approx(14, abs=0.01)


def ordered_as_highdicom(one: Series) -> None:
    """Assert that slices follow one another as highdicom puts them, but upwards in RAS+."""
    datasets = [pydicom.dcmread(path, stop_before_pixels=True) for path in one.sources]
    spacing, positions = highdicom.spatial.get_series_volume_positions(
        datasets,
        rtol=1e9,
        perpendicular_tol=1.0,  # neither a gap nor a tilt is another order
    )
    across = highdicom.spatial.get_normal_vector(
        datasets[0].ImageOrientationPatient, index_convention=("D", "R")
    ) * [-1, -1, 1]
    is_upwards = across[np.abs(across).argmax()] > 0
    assert positions == list(range(len(datasets)))[:: 1 if is_upwards else -1]
    distances = np.diff([row["position_mm"] for row in one.rows])
    assert distances.mean() == pytest.approx(spacing)
    flags = set(one.rows[0]["flags"])
    regular = highdicom.spatial.get_series_volume_positions(datasets, perpendicular_tol=1.0)
    assert ("gap" in flags) == (regular[0] is None)


def test_slices_are_in_the_order_of_highdicom(reference):
    known = [one for one in reference.series if one.sources[0].suffix == ".dcm"]
    several = [one for one in known if len(set(one.sources)) > 1]
    assert len(several) == 10 + 5  # volumes of GE; anatomical 2, RLE, hitachi, tilted
    for one in several:
        ordered_as_highdicom(one)


def test_slices_of_a_whole_disc_are_in_the_order_of_highdicom(tmp_path):
    disc = Path(get_testdata_file("DICOMDIR", download=False)).parent
    found = ingested(tmp_path / "archive", disc)
    several = [one for one in found.series if len(one.rows) > 1 and one.rows[0]["affine"]]
    assert several
    for one in several:
        ordered_as_highdicom(one)


def test_renaming_all_files_changes_no_pixel_and_no_order(alone, root, tmp_path):
    folder = "dicom2nifti/generic/anatomical/002_non_isotropic"
    names = sorted(path.name for path in (root / folder).iterdir())
    (tmp_path / "other").mkdir()
    for old, new in zip(names, reversed(names), strict=True):
        shutil.copy(root / folder / old, tmp_path / "other" / new)
    (tmp_path / "again").mkdir()
    (before,) = alone(folder).series
    (after,) = ingested(tmp_path / "again" / "archive", tmp_path / "other").series
    assert np.array_equal(after.stored, before.stored)
    assert [row["affine"] for row in after.rows] == [row["affine"] for row in before.rows]
    assert [path.name for path in after.sources] != [path.name for path in before.sources]
