"""Encoder weights: `encoder.safetensors`, and `encoder.json` that says how to use them without us.

Nothing is unpickled here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from medssl.artifacts import records, schema
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError

SCHEMA = "medssl.encoder/1"


@dataclass(frozen=True, kw_only=True)
class EncoderInfo:
    """Everything needed to feed the encoder and to judge where it may be used."""

    encoder: str  # name of the architecture
    options: Mapping[str, Any]
    library: str  # call that builds it, for example monai.networks.nets.resnet18(...)
    in_channels: int
    spatial_dims: int
    feature_layer: str  # what the weights end in; the projection head is dropped
    feature_size: int
    image_size: int  # px, side of the square view
    depth: int | None = None  # slices of a view of a volume; None in 2D
    intensity: Mapping[str, Any]  # how stored pixels become the encoder's input
    method: str
    paper: str
    medssl: str
    epochs: int
    seed: int
    archive_hash: str
    n_images: int
    key_id: str  # key the patient digests were made with
    weights_sha256: str = ""
    patient_digests: tuple[str, ...] = field(default_factory=tuple)
    patients_complete: bool = True  # False: it was started from weights whose patients are unknown
    init: Mapping[str, Any] = field(default_factory=dict)  # those weights; empty: random
    smoke: bool = False  # two steps only, to try the path
    selection: Mapping[str, Any] | None = None  # that was trained on: by, images, of how many;
    # empty: all images; None: not recorded

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the encoder's input, px: (rows, columns) or (slices, rows, columns)."""
        plane = (self.image_size, self.image_size)
        return plane if self.depth is None else (self.depth, *plane)


def write(folder: Path, info: EncoderInfo, tensors: Mapping[str, NDArray[np.generic]]) -> None:
    """Write the weights, then the record with their digest."""
    path = folder / "encoder.safetensors"
    write_tensors(path, tensors)
    record = {**asdict(info), "weights_sha256": files.sha256(path)}
    records.write(folder / "encoder.json", SCHEMA, record)


def read_info(folder: Path) -> EncoderInfo:
    """Return `encoder.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read_as(EncoderInfo, folder / "encoder.json", SCHEMA)


def write_tensors(path: Path, tensors: Mapping[str, NDArray[np.generic]]) -> None:
    """Write named tensors as safetensors; the same tensors give the same bytes."""
    content = save({k: np.asarray(v, order="C") for k, v in sorted(tensors.items())})
    files.write_bytes(path, content)


def read_tensors(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of a safetensors file by name.

    Raises:
        ArtifactError: The file is missing or is not safetensors.
    """
    try:
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise ArtifactError("no such weight file", where=str(path), fix=schema.RESTORE) from error
    except TypeError as error:  # bfloat16, which numpy does not know
        raise ArtifactError(
            "the weights are not in a number format numpy knows",
            where=str(path),
            fix="convert them to float32",
        ) from error
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            "not a safetensors file",
            where=str(path),
            fix="give a run folder, or a file of weights that is whole",
        ) from error


def read_verified(folder: Path) -> tuple[EncoderInfo, dict[str, NDArray[np.generic]]]:
    """Return record and tensors of an export folder after checking the digest.

    Raises:
        ArtifactError: A file is missing, or the weights are not those the record describes.
    """
    info = read_info(folder)
    path = folder / "encoder.safetensors"
    tensors = read_tensors(path)
    if files.sha256(path) != info.weights_sha256:
        raise ArtifactError(
            "the weights are not those encoder.json describes",
            where=str(path),
            fix="export the run again, or restore the file",
        )
    return info, tensors
