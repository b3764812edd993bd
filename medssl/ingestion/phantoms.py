"""A synthetic archive with real files: two sites of chest radiographs, a CT, an MR, and debris.

Everything follows from the seed, down to the bytes: identifiers are digests, dates are counted from
a fixed day, and only the one stable stream of numpy's generators is drawn from. No patient exists.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from medssl.foundation import files, seeding
from medssl.ingestion import phantom_images, phantom_volumes
from medssl.ingestion.phantom_images import Anatomy, Finding, Scanner, between

FIRST_DAY = date(2019, 1, 7)
PREVALENCE = 0.4
MAKER = "medssl phantom"  # by which a report knows that a cohort is synthetic
CT_SPACING_MM = (6.0, 360.0)  # between slices; field of view
MR_SPACING_MM = (4.0, 4.2, 5.0)
MR_TILT_DEGREES = (12.0, -8.0)  # about the left-right and the foot-head axis
NOT_IMAGES = frozenset({"structured_report", "pdf"})  # kinds of reject that hold no picture

_CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
_DX_STORAGE = "1.2.840.10008.5.1.4.1.1.1.1"
_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.11"


@dataclass(frozen=True, kw_only=True)
class PhantomSummary:
    """What an archive of phantoms holds, so that an ingest can be held against it."""

    out: Path
    patients: int  # all of them, with or without label
    labelled: int
    positive: int
    images: int  # radiographs and slices
    series: int
    files: int  # every file but labels.csv, rejects included
    rejects: Mapping[str, str]  # path relative to `out` -> what is wrong with the file


@dataclass(frozen=True, kw_only=True)
class _Site:
    name: str
    institution: str
    model: str
    modality: str
    storage: str
    syntax: str
    aspect: float  # columns / rows
    inverted: float  # share of patients stored with bone dark (MONOCHROME1)
    scanner: Scanner


@dataclass(frozen=True, kw_only=True)
class _Patient:
    id: str
    site: _Site
    positive: bool
    n_images: int
    view: str
    inverted: bool
    sex: str
    age: int
    first_day: int
    anatomy: Anatomy
    finding: Finding | None


_SITES = (
    _Site(
        name="north",
        institution="Northfield General Hospital",
        model="Phantom CR",
        modality="CR",
        storage=_CR_STORAGE,
        syntax=str(ExplicitVRLittleEndian),
        aspect=1.0,
        inverted=0.0,
        scanner=Scanner(gain=0.9, gamma=0.9, noise=0.02, blur=0.6, collimation=0.05),
    ),
    _Site(
        name="south",
        institution="Southbridge Clinic",
        model="Phantom DX",
        modality="DX",
        storage=_DX_STORAGE,
        syntax=str(RLELossless),
        aspect=0.875,
        inverted=0.4,
        scanner=Scanner(gain=0.72, gamma=1.15, noise=0.035, blur=0.95, collimation=0.14),
    ),
)


def generate(
    out: Path,
    *,
    n_patients: int = 120,
    seed: int = 0,
    image_size: int = 128,
    ct_slices: int = 40,
    rejects: bool = True,
) -> PhantomSummary:
    """Write a synthetic archive; the same arguments give the same bytes.

    Args:
        out: Folder to create or fill.
        n_patients: Patients with radiographs and a label; one more has the CT and one the MR.
        seed: Decides everything that is drawn.
        image_size: Rows of a radiograph and of a CT slice, px.
        ct_slices: Slices of the CT.
        rejects: Whether to add broken files and files that hold no image.

    Returns:
        Counts, and what each reject is.
    """
    patients = list(_patients(n_patients, seed))
    for patient in patients:
        for number in range(patient.n_images):
            path = out / patient.site.name / patient.id / f"chest-{number + 1}.dcm"
            _save(_radiograph(patient, number, image_size, seed), path, patient.site.syntax)
    _write_labels(out / "labels.csv", patients)
    _write_ct(out / "north" / "PX9001" / "ct", (ct_slices, image_size, image_size), seed)
    _write_mr(out / "south" / "PX9002" / "t1.nii", image_size, seed)
    radiographs = sum(patient.n_images for patient in patients)
    bad = _write_rejects(out / "unsorted", patients[0], image_size, seed) if rejects else {}
    return PhantomSummary(
        out=out,
        patients=n_patients + 2,
        labelled=n_patients,
        positive=sum(patient.positive for patient in patients),
        images=radiographs + ct_slices + _mr_shape(image_size)[2],
        series=radiographs + 2,
        files=radiographs + ct_slices + 1 + len(bad),
        rejects={f"unsorted/{name}": kind for name, kind in bad.items()},
    )


def _rng(seed: int, *purpose: str | int) -> np.random.Generator:
    return phantom_images.generator(seeding.derive(seed, "phantom", *purpose))


def _patients(count: int, seed: int) -> Iterator[_Patient]:
    """Draw patients who alternate between the sites, each site with the same prevalence."""
    for index in range(count):
        site = _SITES[index % 2]
        peers = range(index % 2, count, 2)
        ranks = _rng(seed, "positive", site.name).random(len(peers)).argsort().argsort()
        positive = bool(ranks[index // 2] < round(PREVALENCE * len(peers)))
        rng = _rng(seed, "patient", index)
        anatomy, finding = phantom_images.draw_anatomy(rng), phantom_images.draw_finding(rng)
        yield _Patient(
            id=f"PX{index + 1:04d}",
            site=site,
            positive=positive,
            n_images=1 + int(rng.random() < 0.55) + int(rng.random() < 0.3),
            view="AP" if rng.random() < 0.25 else "PA",
            inverted=bool(rng.random() < site.inverted),
            sex="F" if rng.random() < 0.5 else "M",
            age=int(between(rng, 22, 89)),
            first_day=int(between(rng, 0, 900)),
            anatomy=anatomy,
            finding=finding if positive else None,
        )


def _radiograph(patient: _Patient, number: int, size: int, seed: int) -> Dataset:
    """Return one exposure of a patient as a CR or DX object."""
    site, rng = patient.site, _rng(seed, "exposure", patient.id, number)
    anatomy = patient.anatomy
    if patient.view == "AP":  # lying down: shallower breath, magnified heart
        anatomy = replace(anatomy, heart=anatomy.heart * 1.12, lung_base=anatomy.lung_base - 0.05)
    shape = (size, round(size * site.aspect))
    pixels = phantom_images.radiograph(anatomy, patient.finding, site.scanner, shape, rng)
    day = FIRST_DAY + timedelta(patient.first_day + 17 * number)
    image = _object(site.storage, site.modality, (seed, patient.id, "study", number), day)
    _describe(image, patient.id, patient.sex, patient.age)
    image.InstitutionName = site.institution
    image.ManufacturerModelName = site.model
    image.ViewPosition = patient.view
    image.KVP = "125" if patient.view == "PA" else "90"
    image.PixelSpacing = image.ImagerPixelSpacing = [round(400 / size, 4)] * 2
    image.InstanceNumber = number + 1
    if site.modality == "DX":
        image.PresentationIntentType = "FOR PRESENTATION"
        image.PresentationLUTShape = "INVERSE" if patient.inverted else "IDENTITY"
    image.WindowCenter, image.WindowWidth = "2048", "4096"
    _put_pixels(image, 4095 - pixels if patient.inverted else pixels, inverted=patient.inverted)
    return image


def _object(storage: str, modality: str, key: tuple[object, ...], day: date) -> Dataset:
    """Return a DICOM object of one study, series and instance named by ``key``."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = storage, _uid(*key, "instance")
    image.StudyInstanceUID, image.SeriesInstanceUID = _uid(*key, "study"), _uid(*key, "series")
    image.Modality = modality
    image.SyntheticData, image.Manufacturer = "YES", MAKER
    image.StudyDate = image.SeriesDate = day.strftime("%Y%m%d")
    image.StudyTime = "101500"
    image.AccessionNumber = _uid(*key, "accession")[-8:]
    image.SeriesNumber = 1
    return image


def _describe(image: Dataset, patient: str, sex: str, age: int) -> None:
    image.PatientID = patient
    image.PatientName = f"Phantom^{patient}"
    image.PatientSex = sex
    image.PatientAge = f"{age:03d}Y"
    image.PatientBirthDate = f"{FIRST_DAY.year - age}0101"
    image.BodyPartExamined = "CHEST"


def _uid(*key: object) -> str:
    """Return a UID under the root for UUIDs, the digest of ``key``."""
    text = "\0".join(str(part) for part in key)
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], 'big')}"


def _put_pixels(image: Dataset, pixels: NDArray[np.uint16], *, inverted: bool = False) -> None:
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())


def _save(image: Dataset, path: Path, syntax: str) -> None:
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.ImplementationClassUID = _uid("medssl", "phantoms")
    image.file_meta.ImplementationVersionName = "MEDSSL_PHANTOM"
    image.file_meta.TransferSyntaxUID = str(ExplicitVRLittleEndian)
    if syntax == RLELossless:
        image.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    image.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


def _write_labels(path: Path, patients: list[_Patient]) -> None:
    with files.replacing(path) as temp, temp.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["patient_id", "site", "finding"])
        table.writerows([p.id, p.site.name, int(p.positive)] for p in patients)


def _write_ct(folder: Path, shape: tuple[int, int, int], seed: int) -> None:
    """Write a CT series whose file names and instance numbers say nothing about slice order."""
    rng = _rng(seed, "ct")
    volume = phantom_volumes.chest_ct(shape, rng)
    instance, name = rng.random(shape[0]).argsort(), rng.random(shape[0]).argsort()
    step, field = CT_SPACING_MM
    pixel = round(field / shape[1], 4)
    for index, hu in enumerate(volume):
        key = (seed, "PX9001", "ct")
        image = _object(_CT_STORAGE, "CT", key, FIRST_DAY + timedelta(400))
        image.SOPInstanceUID = _uid(*key, index)
        _describe(image, "PX9001", "M", 61)
        image.InstitutionName = _SITES[0].institution
        image.ManufacturerModelName = "Phantom CT"
        image.KVP = "120"
        image.FrameOfReferenceUID = _uid(*key, "frame")
        image.ImagePositionPatient = [
            round(-field / 2, 3),
            round(-field / 2, 3),
            -120 + step * index,
        ]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [pixel, pixel], step
        image.InstanceNumber = int(instance[index]) + 1
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "HU"
        _put_pixels(image, (hu + 1024).astype(np.uint16))
        _save(image, folder / f"IM{name[index] + 1:04d}.dcm", str(ImplicitVRLittleEndian))


def _mr_shape(size: int) -> tuple[int, int, int]:
    return size // 3, 2 * size // 5, size // 4


def _write_mr(path: Path, size: int, seed: int) -> None:
    """Write an MR-like volume whose axes lie oblique to the patient's."""
    volume = phantom_volumes.head_mr(_mr_shape(size), _rng(seed, "mr"))
    a, b = np.deg2rad(MR_TILT_DEGREES)
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = tilt @ turn @ np.diag(MR_SPACING_MM)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(volume.shape) / 2)  # the middle is the origin
    image = nib.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = "synthetic T1-like head"
    image.set_qform(affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def _write_rejects(folder: Path, patient: _Patient, size: int, seed: int) -> dict[str, str]:
    """Write one file of each kind that an ingest must account for; return name -> kind."""
    folder.mkdir(parents=True, exist_ok=True)
    _save(_radiograph(patient, 90, size, seed), folder / "scan-01.dcm", patient.site.syntax)
    _shorten(folder / "scan-01.dcm", 0.6)
    (folder / "scan-02.dcm").write_text("Exported by the archive.\nSee scan-01.\n")
    (folder / "scan-03.dcm").write_bytes(b"")
    _write_mr(folder / "volume.nii", size, seed)
    _shorten(folder / "volume.nii", 0.5)
    report = _object(_SR_STORAGE, "SR", (seed, patient.id, "report"), FIRST_DAY)
    _describe(report, patient.id, patient.sex, patient.age)
    report.ValueType, report.CompletionFlag, report.VerificationFlag = (
        "CONTAINER",
        "COMPLETE",
        "VERIFIED",
    )
    _save(report, folder / "report.dcm", str(ExplicitVRLittleEndian))
    (folder / "letter.pdf").write_bytes(
        b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n"
    )
    return {
        "scan-01.dcm": "truncated_dicom",
        "scan-02.dcm": "text",
        "scan-03.dcm": "empty",
        "volume.nii": "truncated_nifti",
        "report.dcm": "structured_report",
        "letter.pdf": "pdf",
    }


def _shorten(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
