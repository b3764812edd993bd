"""`README.json` of an export: which files there are, how they are loaded, what they are fed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medssl.artifacts import records
from medssl.artifacts.weights import EncoderInfo

SCHEMA = "medssl.export/1"
_KEPT = (
    "encoder", "options", "method", "paper", "epochs", "n_images", "archive_hash", "medssl",
    "weights_sha256", "smoke",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ExportInfo:
    """What somebody without medssl needs to use an encoder. It names no patients."""

    format: str
    files: tuple[str, ...]
    how: tuple[str, ...]  # lines that load it, to be run in the folder
    input: Mapping[str, Any]  # name, shape (channels, then space), intensity
    output: Mapping[str, Any]  # name, feature_size, feature_layer
    made: Mapping[str, Any]  # by what, from what


def describe(
    info: EncoderInfo, kind: str, names: tuple[str, ...], how: tuple[str, ...]
) -> ExportInfo:
    """Return the record of an export of the encoder ``info`` describes."""
    return ExportInfo(
        format=kind,
        files=names,
        how=how,
        input={
            "name": "images",
            "shape": [info.in_channels, *info.shape],
            "intensity": dict(info.intensity),
        },
        output={
            "name": "features",
            "feature_size": info.feature_size,
            "feature_layer": info.feature_layer,
        },
        made={name: getattr(info, name) for name in _KEPT},
    )


def write(folder: Path, info: ExportInfo) -> None:
    """Write `README.json`."""
    records.write(folder / "README.json", SCHEMA, asdict(info))


def read(folder: Path) -> ExportInfo:
    """Return `README.json`.

    Raises:
        ArtifactError: The file is missing or of another schema.
    """
    return records.read_as(ExportInfo, folder / "README.json", SCHEMA)
