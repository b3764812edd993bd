"""Other files that hold planted texts: NIfTI volumes, pictures, arrays, tables and debris."""

import csv
import gzip
import io
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1DicomExtension, Nifti1Extension
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from pydicom.dataset import Dataset

from medssl.ingestion.canary.register import Register

_COMMENT, _DICOM, _AFNI = 6, 2, 4  # codes of NIfTI extensions
_NIFTI_TEXTS = ("descrip", "aux_file", "intent_name", "db_name")
_EXIF = {270: "ImageDescription", 315: "Artist", 316: "HostComputer", 33432: "Copyright"}
_XMP_TAG = 700
_XMP_KEY = "XML:com.adobe.xmp"
_DATETIME = 306


def write_nifti(path: Path, register: Register, rng: np.random.Generator) -> None:
    """Write a small gzipped volume with a text in every field and extension that takes one."""
    name = "the NIfTI volume"
    volume = nib.Nifti1Image(
        rng.integers(0, 900, (9, 8, 6)).astype(np.int16), np.diag([2, 2, 3, 1])
    )
    for field in _NIFTI_TEXTS:
        volume.header[field] = register.word(f"{field} of {name}").encode()
    inner = Dataset()
    inner.PatientName = register.word(f"PatientName in the DICOM extension of {name}")
    volume.header.extensions += [
        Nifti1Extension(_COMMENT, register.word(f"the comment extension of {name}").encode()),
        Nifti1Extension(_AFNI, f"<AFNI>{register.word(f'the AFNI extension of {name}')}".encode()),
        Nifti1DicomExtension(_DICOM, inner),
    ]
    original = register.word(f"the file name in the gzip header of {name}")
    with (
        path.open("wb") as stream,
        gzip.GzipFile(f"{original}.nii", "wb", fileobj=stream) as zipped,
    ):
        zipped.write(volume.to_bytes())


def _write_broken_nifti(path: Path, register: Register) -> None:
    """Write a volume of a data type that does not exist, with a text in its header."""
    volume = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    content = bytearray(volume.to_bytes())
    content[70:72] = b"\x99\x99"
    word = register.word("the description of a damaged NIfTI volume").encode()
    path.write_bytes(content[:148] + word + content[148 + len(word) : 360])


def write_pictures(folder: Path, register: Register, rng: np.random.Generator) -> None:
    """Write a PNG, a TIFF and a JPEG file with texts in all they have for them."""
    pixels = Image.fromarray(rng.integers(0, 256, (24, 20)).astype(np.uint8))
    for suffix in ("png", "tiff", "jpg"):
        name = f"the {suffix.upper()} picture"
        path = folder / f"{register.word(f'the file name of {name}')}.{suffix}"
        exif = Image.Exif()
        for tag, field in _EXIF.items():
            exif[tag] = register.word(f"EXIF {field} of {name}")
        exif[_DATETIME] = register.day(f"EXIF DateTime of {name}")
        xmp = f"<x:xmpmeta>{register.word(f'the XMP of {name}')}</x:xmpmeta>"
        if suffix == "png":
            pixels.save(path, pnginfo=_png_texts(register, name, xmp), exif=exif)
        elif suffix == "jpg":
            comment = register.word(f"the comment of {name}").encode()
            pixels.save(path, exif=exif, xmp=xmp.encode(), comment=comment)
        else:
            tags = ImageFileDirectory_v2()
            for tag in (*_EXIF, _DATETIME):
                tags[tag] = exif[tag]
            tags[_XMP_TAG] = xmp.encode()
            pixels.save(path, tiffinfo=tags)


def write_arrays(path: Path, register: Register, rng: np.random.Generator) -> None:
    """Write a MedMNIST archive with an array more, and a comment, both with texts."""
    name = "the NumPy archive"
    arrays: dict[str, NDArray[np.generic]] = {
        "train_images": rng.integers(0, 256, (3, 16, 16)).astype(np.uint8),
        "train_labels": np.zeros((3, 1), np.int64),
        register.word(f"an array name in {name}"): np.array(register.word(f"an array of {name}")),
    }
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # its stub knows one keyword only
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = register.word(f"the comment of {name}").encode()


def write_zip(path: Path, picture: Path, register: Register) -> None:
    """Write a ZIP archive with texts in its names, its comments and its content."""
    name = "the ZIP archive"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        folder = register.word(f"a folder in {name}")
        text = register.word(f"the content of a file in {name}").encode()
        for member, content in (("a file", text), ("a picture", picture.read_bytes())):
            entry = zipfile.ZipInfo(f"{folder}/{register.word(f'the name of {member} in {name}')}")
            entry.comment = register.word(f"the comment of {member} in {name}").encode()
            archive.writestr(entry, content)
        nested = io.BytesIO()
        with zipfile.ZipFile(nested, "w") as inner:
            inner.writestr(register.word(f"a name in an archive in {name}"), b"\0")
        archive.writestr(
            f"{register.word(f'the name of an archive in {name}')}.zip", nested.getvalue()
        )
        archive.comment = register.word(f"the comment of {name}").encode()


def write_debris(folder: Path, register: Register) -> None:
    """Write a note, a binary file, an empty file, a link and a damaged volume: no images."""
    folder.mkdir(parents=True)
    note = folder / f"{register.word('the file name of a note')}.txt"
    note.write_text(f"Dear {register.word('the text of a note')},\n", encoding="utf-8")
    other = folder / f"{register.word('the file name of a binary file')}.dat"
    other.write_bytes(b"\0\1\2\3" * 40 + register.word("the content of a binary file").encode())
    (folder / f"{register.word('the file name of an empty file')}.dcm").write_bytes(b"")
    (folder / register.word("the name of a link")).symlink_to(note.name)
    volume = folder / f"{register.word('the file name of a damaged NIfTI volume')}.nii"
    _write_broken_nifti(volume, register)


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a CSV table; a cell under an empty heading is one more than the heading has."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow([name for name in rows[0] if name])
        table.writerows(row.values() for row in rows)


def _png_texts(register: Register, name: str, xmp: str) -> PngInfo:
    texts = PngInfo()
    texts.add_text("Comment", register.word(f"a tEXt chunk of {name}"))
    texts.add_text("Author", register.word(f"a zTXt chunk of {name}"), zip=True)
    texts.add_itxt("Description", register.word(f"an iTXt chunk of {name}"), zip=True)
    texts.add_itxt(_XMP_KEY, xmp)
    return texts
