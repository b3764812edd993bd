"""`medssl export`: an encoder for programs other than this one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medssl.artifacts import exported, run_folder, weights
from medssl.artifacts.weights import EncoderInfo
from medssl.config.export import ExportSettings
from medssl.foundation.errors import ArtifactError
from medssl.foundation.reporting import Reporter, Silent, Tee
from medssl.models import bundle, library, onnx_file, torchvision_names
from medssl.training import encoders
from medssl.training.encoders import Source

_ONNX = "encoder.onnx"


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """What would be written; it can be."""

    settings: ExportSettings
    encoder: str
    shape: tuple[int, ...]  # of an image: channels, then space
    feature_size: int


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written."""

    folder: Path
    format: str
    encoder: str
    files: tuple[str, ...]
    readme: Path  # how they are loaded and fed


def plan(settings: ExportSettings) -> ExportPlan:
    """Check that the encoder can be written so, and say what it is.

    Raises:
        UsageError: The format cannot express the encoder.
        MissingExtra: The format needs a package that is not installed.
        ArtifactError: The encoder is missing or damaged.
    """
    info, encoder, _ = _open(settings)
    if settings.format == "onnx":
        onnx_file.require()
    elif settings.format == "torchvision":
        torchvision_names.arrays(encoder)
    else:
        _built_without_us(info, encoder)
    return ExportPlan(
        settings=settings,
        encoder=info.encoder,
        shape=(info.in_channels, *info.shape),
        feature_size=info.feature_size,
    )


def run(settings: ExportSettings, out: Path, reporter: Reporter | None = None) -> ExportResult:
    """Write the files and `README.json`.

    Args:
        settings: Which encoder, and as what.
        out: Run folder to make.
        reporter: Told what was done.

    Raises:
        UsageError: The format cannot express the encoder, or ``out`` is in use.
        MissingExtra: The format needs a package that is not installed.
        ArtifactError: The encoder is missing or damaged.
    """
    plan(settings)
    info, encoder, source = _open(settings)
    with run_folder.create(
        out, stage="export", settings=settings, inputs={"encoder": source.sha256}
    ) as folder:
        folder.environment()
        told = Tee(reporter or Silent(), folder.log)
        names, how = _write(settings, info, encoder, out)
        exported.write(out, exported.describe(info, settings.format, names, how))
        told.note(f"export: {settings.format}, {', '.join(names)}")
    return ExportResult(
        folder=out,
        format=settings.format,
        encoder=info.encoder,
        files=names,
        readme=out / "README.json",
    )


def _open(settings: ExportSettings) -> tuple[EncoderInfo, nn.Module, Source]:
    source = encoders.open_source(settings.encoder)
    if source.info is None:
        raise ArtifactError(
            "bare weights do not say which encoder they belong to",
            where=str(settings.encoder),
            fix="give a pretrain run or its export folder",
        )
    make = encoders.factory(
        source.info.encoder,
        source.info.options,
        in_channels=source.info.in_channels,
        spatial_dims=source.info.spatial_dims,
        source=source,
    )
    return source.info, make().eval(), source


def _write(
    settings: ExportSettings, info: EncoderInfo, encoder: nn.Module, out: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write the files of a format; return their names and how to load them."""
    if settings.format == "onnx":
        onnx_file.write(encoder, (info.in_channels, *info.shape), out / _ONNX)
        return (_ONNX,), (
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession('{_ONNX}')",
            "[features] = session.run(None, {'images': images})",
        )
    if settings.format == "torchvision":
        name = f"{info.encoder}.safetensors"
        weights.write_tensors(out / name, torchvision_names.arrays(encoder))
        return (name,), torchvision_names.how(info.encoder, info.in_channels, encoder, name)
    facts = {
        "in_channels": info.in_channels,
        "shape": info.shape,
        "feature_size": info.feature_size,
        "window_hu": info.intensity["window_hu"],
        "description": f"{info.encoder}, trained by {info.paper}",
    }
    network, definition = _built_without_us(info, encoder)
    bundle.write(out / "bundle", network, definition, facts)
    return bundle.FILES, bundle.HOW


def _built_without_us(info: EncoderInfo, encoder: nn.Module) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network that the recorded call builds, with its weights, and its definition."""
    images = torch.randn(
        2, info.in_channels, *info.shape, generator=torch.Generator().manual_seed(0)
    )
    name, arguments = library.call(info.library)
    return library.network(name, arguments, encoder, images), {"_target_": name, **arguments}
