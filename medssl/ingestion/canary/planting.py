"""Synthetic scans into which a text is planted wherever a scan, a table or a name has room for one.

Nothing of what is planted may leave `private/`. What may be said to the user, and what may stand
anywhere since the user gives it as a name, is planted apart from the rest.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from medssl.ingestion.canary import dicom_files, other_files
from medssl.ingestion.canary.register import Plant, Register

N_PATIENTS = 12  # with a label; half of them of each class
_NEEDED_NUMBERS = (
    "RescaleSlope", "PixelSpacing", "ImagePositionPatient", "NumberOfFrames", "InstanceNumber",
    "PatientAge", "KVP", "EchoTime", "PixelAspectRatio",
)  # fmt: skip
_OBJECTS = (  # of which one file has a text in every text element there is
    ("the CR image", "CR", ExplicitVRLittleEndian, 1),
    ("the CR image in RLE", "CR", RLELossless, 1),
    ("the CR image in JPEG", "CR", JPEGBaseline8Bit, 1),
    ("the big-endian CR image", "CR", ExplicitVRBigEndian, 1),
    ("the MR image", "MR", ImplicitVRLittleEndian, 1),
    ("the multi-frame US image", "US", ExplicitVRLittleEndian, 3),
    ("the enhanced MR image", "enhanced MR", ExplicitVRLittleEndian, 5),
    ("the secondary capture", "SC", ExplicitVRLittleEndian, 1),
    ("the structured report", "SR", ExplicitVRLittleEndian, 1),
)


_CLASSES = ("=cmd|' /C calc'!A0", "<img src=x onerror=alert('class')>")
_SITES = ("<b onmouseover=alert('site')>", '"><svg onload=alert(1)>')


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What was planted, and the inputs of the commands that are run on it."""

    plants: tuple[Plant, ...]
    source: Path  # folder with scans
    unreadable: Path  # another folder, in which nothing is an image
    labels: Path
    bad_labels: Path  # has a row that is too long
    headless: Path  # has no line of headings
    predictions: Path
    bad_predictions: Path
    target: str  # label column, two classes
    archive: str  # what to call the archive
    absent: str  # what the user types for a file, a column, a name that does not exist


def plant(folder: Path) -> Planted:
    """Write scans and tables below ``folder``, which must not exist."""
    register = Register()
    rng = np.random.default_rng(0)
    source = folder / register.word("the name of the source folder", "terminal")
    below = source / register.word("the name of a folder in the source")
    below.mkdir(parents=True)
    ids = _patients(below, register, rng)
    _ct_series(below / register.word("the name of the CT folder"), register, rng)
    _objects(below / register.word("the name of a folder of many kinds"), register, rng)
    _others(below, register, rng)
    _broken(below / register.word("the name of the folder of broken files"), register, rng)
    unreadable = folder / register.word("the name of the folder of debris", "terminal")
    other_files.write_debris(unreadable, register)
    shutil.copytree(
        unreadable, below / register.word("the name of a folder of debris"), symlinks=True
    )
    rows, target = _label_rows(ids, register)
    labels, bad_labels = _twice(folder / register.word("the name of the table", "terminal"), rows)
    scores, bad_scores = _twice(
        folder / register.word("the name of the predictions", "settings"), _scores(ids, register)
    )
    return Planted(
        source=source,
        unreadable=unreadable,
        labels=labels,
        bad_labels=bad_labels,
        headless=_without_headings(labels),
        predictions=scores,
        bad_predictions=bad_scores,
        target=target,
        archive=register.word("the name of the archive", "settings"),
        absent=register.word("what the user types wrong", "terminal"),
        plants=tuple(register.plants),
    )


def _patients(folder: Path, register: Register, rng: np.random.Generator) -> list[str]:
    """Write two radiographs for each patient with a label; return the patients' ids."""
    ids = []
    for patient in range(N_PATIENTS):
        who = f"patient {patient + 1}"
        place = folder / register.word(f"the folder of {who}")
        for number in range(2):
            name = f"radiograph {number + 1} of {who}"
            found = dicom_files.image("CR", register, name, _pixels(rng, bright=patient % 2 == 1))
            found.PatientID = register.word(f"PatientID of {who}")
            dicom_files.plant_identity(found, register, name)
            path = place / f"{register.word(f'the file name of {name}')}.dcm"
            dicom_files.save(found, path, register, name)
        ids.append(str(found.PatientID))
    return ids


def _ct_series(folder: Path, register: Register, rng: np.random.Generator) -> None:
    series = "the CT series"
    for number in range(5):
        name = f"slice {number + 1} of {series}"
        found = dicom_files.image("CT", register, name, _pixels(rng), series)
        found.PatientID = register.word(f"PatientID of {series}")
        dicom_files.place(found, 5.0 * number)
        dicom_files.plant_identity(found, register, name)
        if number == 2:
            dicom_files.plant_everywhere(found, register, name)
        path = folder / register.word(f"the file name of {name}")
        dicom_files.save(found, path, register, name)


def _objects(folder: Path, register: Register, rng: np.random.Generator) -> None:
    for name, kind, syntax, n_frames in _OBJECTS:
        pixels = np.stack([_pixels(rng) for _ in range(n_frames)])
        found = dicom_files.image(kind, register, name, pixels if n_frames > 1 else pixels[0])
        if kind == "enhanced MR":
            dicom_files.add_functional_groups(found, register, name)
        dicom_files.plant_everywhere(found, register, name)
        path = folder / f"{register.word(f'the file name of {name}')}.dcm"
        dicom_files.save(found, path, register, name, syntax=syntax)


def _others(folder: Path, register: Register, rng: np.random.Generator) -> None:
    volume = folder / f"{register.word('the file name of the NIfTI volume')}.nii.gz"
    other_files.write_nifti(volume, register, rng)
    other_files.write_pictures(folder, register, rng)
    arrays = folder / f"{register.word('the file name of the NumPy archive')}.npz"
    other_files.write_arrays(arrays, register, rng)
    picture = next(folder.glob("*.png"))
    zipped = folder / f"{register.word('the file name of the ZIP archive')}.zip"
    other_files.write_zip(zipped, picture, register)


def _broken(folder: Path, register: Register, rng: np.random.Generator) -> None:
    """Write files that are damaged where a text is planted."""
    folder.mkdir(parents=True)
    for keyword in (*_NEEDED_NUMBERS, "all optional numbers"):
        name = f"the image with a broken {keyword}"
        found = dicom_files.image("CT", register, name, _pixels(rng))
        dicom_files.place(found, 0.0)
        if keyword in _NEEDED_NUMBERS:
            dicom_files.break_number(found, keyword, register, name)
        else:
            dicom_files.break_numbers(found, register, name)
        dicom_files.plant_identity(found, register, name)
        path = folder / f"{register.word(f'the file name of {name}')}.dcm"
        dicom_files.save(found, path, register, name)
    _damaged(folder, register, rng)


def _damaged(folder: Path, register: Register, rng: np.random.Generator) -> None:
    name = "the image that is damaged"
    found = dicom_files.image("CR", register, name, _pixels(rng))
    dicom_files.plant_everywhere(found, register, name)
    path = folder / "whole.dcm"
    dicom_files.save(found, path, register, name)
    whole = path.read_bytes()
    path.unlink()
    for what, content in dicom_files.broken(register, whole):
        other = folder / f"{register.word(f'the file name of the image with {what}')}.dcm"
        other.write_bytes(content)


def _label_rows(ids: list[str], register: Register) -> tuple[list[dict[str, str]], str]:
    """Return the label table and its target; target, classes and sites may be shown."""
    target = register.shown("<script>alert('target')</script>", "the name of a target")
    heading = register.word("the heading of a column of the table", "terminal")
    rows = [
        {
            "patient_id": who,
            target: register.shown(_CLASSES[number % 2], f"the name of class {number % 2 + 1}"),
            "site": _site(register, number),
            heading: register.word(f"a note on patient {number + 1} in the table"),
            "born": register.day("a date in the table"),
        }
        for number, who in enumerate(ids)
    ]
    stranger = register.word("the id of a patient in the table who has no file")
    return [*rows, {**rows[0], "patient_id": stranger}], target


def _scores(ids: list[str], register: Register) -> list[dict[str, str]]:
    """Return predictions of another tool, whose ids name patients and files."""
    return [
        {
            "patient_id": who,
            "image_id": register.word(f"the image id of patient {number + 1} in the predictions"),
            "label": str(number % 2),
            "score": f"{0.2 + 0.05 * number:.2f}",
            "site": _site(register, number),
            "reader": register.word("a column of the predictions that is not read"),
        }
        for number, who in enumerate(ids)
    ]


def _site(register: Register, number: int) -> str:
    return register.shown(_SITES[number % 2], f"the name of site {number % 2 + 1}")


def _twice(stem: Path, rows: list[dict[str, str]]) -> tuple[Path, Path]:
    """Write a table, and another in which every row has slipped by one cell."""
    good, bad = stem.with_suffix(".csv"), stem.with_name(f"{stem.name}-slipped.csv")
    other_files.write_table(good, rows)
    other_files.write_table(bad, [{"": rows[0]["patient_id"], **row} for row in rows])
    return good, bad


def _without_headings(table: Path) -> Path:
    path = table.with_name(f"{table.stem}-headless.csv")
    _, *rows = table.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(rows), encoding="utf-8")
    return path


def _pixels(rng: np.random.Generator, *, bright: bool = False) -> NDArray[np.uint16]:
    side = dicom_files.SIDE
    pixels = rng.integers(200, 1400, (side, side))
    pixels[8:20, 8:20] += 2000 * bright
    return pixels.astype(np.uint16)
