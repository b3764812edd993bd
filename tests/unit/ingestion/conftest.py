"""DICOM files made by hand, one tag at a time."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


def dataset(pixels: np.ndarray | None = None, **tags: Any) -> Dataset:
    """Return a small CT-like dataset; ``tags`` are set last, None removes one."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = CT_STORAGE
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    made.PatientID, made.Modality = "P1", "MR"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    if pixels is not None:
        made.Rows, made.Columns = pixels.shape[:2]
        made.BitsAllocated = made.BitsStored = pixels.dtype.itemsize * 8
        made.PixelRepresentation = int(pixels.dtype.kind == "i")
        made.PixelData = pixels.tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break the standard are the point of a test
        for name, value in tags.items():
            if value is None:
                delattr(made, name)
            else:
                setattr(made, name, value)
    if "BitsStored" in made:
        made.HighBit = made.BitsStored - 1
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "1.2.3.4.5")
    return made


@pytest.fixture
def write_dicom(tmp_path: Path) -> Callable[..., Path]:
    """Write a dataset made from pixels and tags; returns its path."""

    def write(name: str, pixels: np.ndarray | None = None, **tags: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset(pixels, **tags).save_as(path, enforce_file_format=True)
        return path

    return write
