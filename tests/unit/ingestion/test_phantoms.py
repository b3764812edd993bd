"""Phantoms are what they say: repeatable, readable by others, and neither trivial nor hopeless."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from scipy import ndimage
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medssl.ingestion import phantom_images, phantoms, vocabulary

SCANNER = phantom_images.Scanner(gain=0.9, gamma=1.0, noise=0.0, blur=0.0, collimation=0.0)


@pytest.fixture(scope="module")
def summary(tmp_path_factory) -> phantoms.PhantomSummary:
    out = tmp_path_factory.mktemp("phantoms") / "archive"
    return phantoms.generate(out, n_patients=20, seed=3, image_size=64, ct_slices=12)


@pytest.fixture(scope="module")
def radiographs(summary) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(summary.out.glob("*/PX*/chest-*.dcm"))]


@pytest.fixture(scope="module")
def ct(summary) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(summary.out.glob("*/PX9001/ct/*.dcm"))]


def contents(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def labels(out: Path) -> list[dict[str, str]]:
    with (out / "labels.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def bone_bright(image: pydicom.Dataset) -> NDArray[np.float64]:
    pixels = image.pixel_array.astype(float)
    return 4095 - pixels if image.PhotometricInterpretation == "MONOCHROME1" else pixels


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(summary, tmp_path):
    again = phantoms.generate(tmp_path / "a", n_patients=20, seed=3, image_size=64, ct_slices=12)
    other = phantoms.generate(tmp_path / "b", n_patients=20, seed=4, image_size=64, ct_slices=12)

    first = contents(summary.out)
    assert contents(again.out) == first
    changed = contents(other.out)
    shared = [name for name in first if name in changed and name.startswith(("north", "south"))]
    assert shared
    assert all(changed[name] != first[name] for name in shared)


def test_the_summary_counts_what_lies_on_disk(summary, radiographs, ct):
    everything = contents(summary.out)
    volume = nib.load(summary.out / "south" / "PX9002" / "t1.nii")
    rows = labels(summary.out)

    assert summary.files == len(everything) - 1  # labels.csv
    assert summary.images == len(radiographs) + len(ct) + volume.shape[2]
    assert summary.series == len({image.SeriesInstanceUID for image in radiographs + ct}) + 1
    assert summary.patients == len({image.PatientID for image in radiographs + ct}) + 1
    assert summary.labelled == len(rows) == len({row["patient_id"] for row in rows})
    assert summary.positive == sum(int(row["finding"]) for row in rows)
    assert set(summary.rejects) == {name for name in everything if name.startswith("unsorted/")}


def test_both_sites_have_the_same_prevalence(tmp_path):
    out = phantoms.generate(tmp_path, n_patients=50, image_size=16, ct_slices=2, rejects=False).out
    rows = labels(out)
    for site in ("north", "south"):
        findings = [int(row["finding"]) for row in rows if row["site"] == site]
        assert (len(findings), sum(findings)) == (25, 10)


def test_every_labelled_patient_has_one_to_three_images_at_the_site_the_table_names(summary):
    for row in labels(summary.out):
        images = list((summary.out / row["site"] / row["patient_id"]).iterdir())
        assert 1 <= len(images) <= 3


def test_ct_and_mr_belong_to_patients_without_label(summary):
    assert {"PX9001", "PX9002"}.isdisjoint(row["patient_id"] for row in labels(summary.out))


def test_instances_are_valid_and_unique(radiographs, ct):
    identifiers = [image.SOPInstanceUID for image in radiographs + ct]
    assert len(set(identifiers)) == len(identifiers)
    assert all(identifier.is_valid for identifier in identifiers)
    assert all(len(identifier) <= 64 for identifier in identifiers)


def test_radiographs_are_12_bit_and_say_who_where_and_how(radiographs):
    for image in radiographs:
        pixels = image.pixel_array
        assert pixels.dtype == np.uint16
        assert pixels.max() <= 4095
        assert image.BitsStored == 12
        assert image.SyntheticData == "YES"
        assert vocabulary.manufacturer(image.Manufacturer) == "phantom"
        assert image.PatientSex in {"F", "M"}
        assert 22 <= int(image.PatientAge[:3]) < 89
        assert image.ViewPosition in {"AP", "PA"}
        assert image.PixelSpacing == [6.25, 6.25]
    assert {image.InstitutionName for image in radiographs} == {
        "Northfield General Hospital",
        "Southbridge Clinic",
    }


def test_some_images_are_stored_inverted_and_all_show_bone_bright_once_turned(radiographs):
    kinds = [image.PhotometricInterpretation for image in radiographs]
    assert {"MONOCHROME1", "MONOCHROME2"} == set(kinds)
    for image in radiographs:
        picture = bone_bright(image)
        rows, columns = picture.shape
        spine = picture[rows // 3 : rows // 2, columns // 2 - 3 : columns // 2 + 3].mean()
        lung = picture[rows // 3 : rows // 2, columns // 4 - 3 : columns // 4 + 3].mean()
        assert spine > 1.2 * lung


def test_the_sites_differ_in_shape_noise_and_brightness(radiographs):
    def grain(image: pydicom.Dataset) -> float:
        picture = bone_bright(image)
        middle = picture[24:40, 24:40]  # clear of the collimated edge
        return float((middle - ndimage.median_filter(middle, 3)).std() / middle.mean())

    by_site = {m: [i for i in radiographs if i.Modality == m] for m in ("CR", "DX")}
    assert {i.pixel_array.shape for i in by_site["CR"]} == {(64, 64)}
    assert {i.pixel_array.shape for i in by_site["DX"]} == {(64, 56)}
    means = {m: np.mean([bone_bright(i).mean() for i in found]) for m, found in by_site.items()}
    assert means["CR"] > 1.2 * means["DX"]
    grains = {m: np.mean([grain(i) for i in found]) for m, found in by_site.items()}
    assert grains["DX"] > 1.2 * grains["CR"]


def test_file_names_and_instance_numbers_of_the_ct_say_nothing_about_order(ct):
    by_name = [float(image.ImagePositionPatient[2]) for image in ct]
    by_number = [
        float(image.ImagePositionPatient[2])
        for image in sorted(ct, key=lambda image: image.InstanceNumber)
    ]
    assert by_name != sorted(by_name)
    assert by_number != sorted(by_number)
    assert by_name != by_number
    assert np.allclose(np.diff(sorted(by_name)), phantoms.CT_SPACING_MM[0])
    assert sorted(image.InstanceNumber for image in ct) == list(range(1, 13))


def test_ct_is_in_hu_and_neighbours_repeat_each_other(ct):
    ordered = sorted(ct, key=lambda image: float(image.ImagePositionPatient[2]))
    hu = np.stack(
        [i.pixel_array * float(i.RescaleSlope) + float(i.RescaleIntercept) for i in ordered]
    )
    assert abs(np.median(hu[:, :6, :6]) + 1000) < 25  # air in the corner
    assert 20 < np.median(hu[6, 30:34, 30:34]) < 90  # soft tissue in the middle
    assert (hu < -700).mean() > 0.1
    assert (hu > 200).mean() > 0.005  # bone
    near = np.abs(np.diff(hu, axis=0)).mean()
    far = np.abs(hu[0] - hu[6]).mean()
    assert near < far / 2


def test_the_mr_is_oblique_and_right_handed(summary):
    volume = nib.load(summary.out / "south" / "PX9002" / "t1.nii")
    assert np.allclose(nib.affines.voxel_sizes(volume.affine), phantoms.MR_SPACING_MM, atol=1e-5)
    assert np.rad2deg(nib.affines.obliquity(volume.affine)).max() > 5
    assert np.linalg.det(volume.affine) > 0
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    middle = volume.affine @ [*(np.array(volume.shape) / 2), 1]
    assert np.allclose(middle[:3], 0, atol=1e-3)
    assert np.asarray(volume.dataobj).min() >= 0


def test_every_reject_is_what_it_is_called(summary):
    where = {kind: summary.out / path for path, kind in summary.rejects.items()}
    assert len(where) == 6

    truncated = pydicom.dcmread(where["truncated_dicom"])
    with pytest.raises(ValueError, match="less than"):
        _ = truncated.pixel_array
    with pytest.raises(InvalidDicomError, match="File is missing DICOM File Meta"):
        pydicom.dcmread(where["text"])
    assert where["empty"].stat().st_size == 0
    with pytest.raises(OSError, match="Expected"):
        np.asarray(nib.load(where["truncated_nifti"]).dataobj)
    assert "PixelData" not in pydicom.dcmread(where["structured_report"])
    assert where["pdf"].read_bytes().startswith(b"%PDF-")
    assert {"structured_report", "pdf"} == phantoms.NOT_IMAGES


def test_rejects_can_be_left_out(tmp_path):
    made = phantoms.generate(tmp_path, n_patients=4, image_size=16, ct_slices=2, rejects=False)
    assert not made.rejects
    assert not (tmp_path / "unsorted").exists()


@pytest.mark.parametrize("seed", range(6))
def test_a_finding_adds_brightness_on_its_side_and_nowhere_else(seed):
    rng = phantom_images.generator(seed)
    anatomy, finding = phantom_images.draw_anatomy(rng), phantom_images.draw_finding(rng)
    pictures = [
        phantom_images.radiograph(
            anatomy, shown, SCANNER, (96, 96), phantom_images.generator(seed + 100)
        ).astype(int)
        for shown in (None, finding)
    ]

    added = pictures[1] - pictures[0]
    assert added.min() >= -40  # what noise of the grown signal allows
    assert added.max() > 0.2 * finding.contrast * 4095
    column = np.unravel_index(added.argmax(), added.shape)[1]
    assert (column > 48) == (finding.side > 0)
    far_side = added[:, :30] if finding.side > 0 else added[:, 66:]
    assert far_side.max() < 0.1 * added.max()


def test_the_linear_floor_is_above_chance_and_below_solved(tmp_path):
    """32 x 32 pixels, PCA and logistic regression in 5 folds by patient: neither 0.5 nor 1."""
    out = phantoms.generate(tmp_path, image_size=64, ct_slices=2, rejects=False).out
    truth = {row["patient_id"]: int(row["finding"]) for row in labels(out)}
    names, pixels = [], []
    for path in sorted(out.glob("*/PX*/chest-*.dcm")):
        image = pydicom.dcmread(path)
        picture = bone_bright(image)
        small = ndimage.zoom(picture, np.array([32, 32]) / picture.shape, order=1)
        pixels.append(((small - small.mean()) / small.std()).ravel())
        names.append(image.PatientID)
    x, patient = np.stack(pixels), np.array(names)

    patients = np.array(sorted(truth))
    y = np.array([truth[name] for name in patients])
    scores = np.zeros(len(x))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for train, _ in folds.split(patients, y):
        known = np.isin(patient, patients[train])
        floor = make_pipeline(StandardScaler(), PCA(30, random_state=0), LogisticRegression(C=0.1))
        floor.fit(x[known], [truth[name] for name in patient[known]])
        scores[~known] = floor.decision_function(x[~known])
    per_patient = [scores[patient == name].mean() for name in patients]
    assert 0.6 < roc_auc_score(y, per_patient) < 0.9
