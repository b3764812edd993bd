"""Which library decodes the files of each encoding, so that a report can name it."""

from importlib.metadata import version

import pyarrow as pa

from medssl.ingestion.dicom import codecs

_LIBRARIES = {"nifti": "nibabel", "npz": "numpy"}
_PICTURES = "pillow"


def decoders(images: pa.Table) -> dict[str, str]:
    """Return the library and its version for every encoding of an archive.

    Args:
        images: Rows of `images.parquet`.

    Raises:
        RejectedFile: NO_DECODER for a transfer syntax of DICOM that no installed library reads.
    """
    found = images["transfer_syntax"].unique().to_pylist()
    return {encoding: decoder_of(encoding) for encoding in found if encoding}


def decoder_of(encoding: str) -> str:
    """Return name and version of a library.

    Args:
        encoding: A transfer syntax of DICOM, or what a reader calls its format.

    Raises:
        RejectedFile: NO_DECODER where no installed library reads it.
    """
    if encoding[0].isdigit():
        return codecs.decoder_of(encoding)
    name = _LIBRARIES.get(encoding, _PICTURES)
    return f"{name} {version(name)}"
