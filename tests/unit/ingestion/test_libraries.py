from importlib.metadata import version

import pyarrow as pa
import pytest

from medssl.ingestion import libraries


@pytest.mark.parametrize(
    ("encoding", "library"),
    [
        ("png", "pillow"), ("jpeg", "pillow"), ("tiff", "pillow"), ("nifti", "nibabel"),
        ("npz", "numpy"), ("1.2.840.10008.1.2.1", "pydicom"),
        ("1.2.840.10008.1.2.4.90", "pylibjpeg-openjpeg"),
    ],
)  # fmt: skip
def test_every_encoding_names_its_library(encoding, library):
    assert libraries.decoder_of(encoding) == f"{library} {version(library)}"


def test_each_encoding_of_an_archive_once_and_none_for_none():
    images = pa.table({"transfer_syntax": ["png", None, "png", "nifti"]})
    assert set(libraries.decoders(images)) == {"png", "nifti"}
