"""Making encoders: random, or filled from a run, an export folder or a weight file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medssl.artifacts import run_folder
from medssl.artifacts import weights as weight_files
from medssl.artifacts.weights import EncoderInfo
from medssl.config.loading import decode
from medssl.foundation import files, plugins
from medssl.foundation.errors import ArtifactError
from medssl.models import encoders, layouts, pickled, weights
from medssl.models.layouts import Unwrapped
from medssl.models.site_model import norms_of

_LEFT_OUT = 6  # parts of a file named in a note
_HEADER = 9  # bytes that tell a safetensors file: the length of its header, and how that begins


@dataclass(frozen=True)
class Source:
    """Weights to start from; without a record they come from a bare file."""

    path: Path
    info: EncoderInfo | None
    arrays: Mapping[str, NDArray[np.generic]]
    sha256: str
    foreign: Unwrapped | None = None  # how a bare file was read

    def facts(self) -> dict[str, Any]:
        """Return what a run records about where its encoder came from."""
        if self.info is None:
            return {**self._shape(), "weights_sha256": self.sha256}
        kept = ("method", "paper", "epochs", "seed", "n_images", "archive_hash", "key_id", "smoke")
        return {**{name: getattr(self.info, name) for name in kept}, "weights_sha256": self.sha256}

    def notes(self) -> tuple[str, ...]:
        """Return what a user has to know of weights that say nothing of themselves."""
        found = self.foreign
        if found is None:
            return ()
        place = f" under {found.place}" if found.place else ""
        parts = [f"{name} ({n})" for name, n in list(found.left_out.items())[:_LEFT_OUT]]
        more = ", …" if len(found.left_out) > _LEFT_OUT else ""
        left_out = f"; left out: {', '.join(parts)}{more}" if parts else ""
        notes = [
            f"starting weights: layout {found.layout}{place}{left_out}",
            "starting weights: how their images were scaled (ImageNet's mean and deviation, for "
            "example) is not in the file; yours are scaled as in `intensity`",
        ]
        if found.layout == "MedicalNet":
            notes.append(
                "starting weights: MedicalNet's last two layers skip no voxels but widen their "
                "filters; here they skip, so the features are others"
            )
        return tuple(notes)

    def _shape(self) -> dict[str, Any]:
        """Return what is known of the encoder of a bare file."""
        found = self.foreign
        if found is None:
            return {}
        stems = [array for array in found.arrays.values() if array.ndim > 3]
        facts = {"layout": found.layout, "left_out": dict(found.left_out)}
        if not stems:
            return facts
        return {**facts, "in_channels": stems[0].shape[1], "spatial_dims": stems[0].ndim - 2}

    def patients_under(self, key_id: str) -> set[str] | None:
        """Return the patients it was trained on, or None where that is not known.

        Pseudonyms made with another key cannot be compared.
        """
        info = self.info
        if info is None or info.key_id != key_id or not info.patients_complete:
            return None
        return set(info.patient_digests)


@dataclass(frozen=True)
class Factory:
    """Makes a new encoder each time it is called; random weights come from torch's seed."""

    make: Callable[[], nn.Module]
    notes: tuple[str, ...]  # what was done to the weights, and what they left out if allowed
    groups: tuple[str, ...]  # names of the layer groups, from the stem to the last layer
    normed: tuple[str, ...] = ()  # those of them with norms

    def __call__(self) -> nn.Module:
        """Return a new encoder."""
        return self.make()


def open_source(path: Path) -> Source:
    """Return the weights at ``path``: a pretrain run, an export folder or a file of weights.

    A file is safetensors or a pickle of tensors (`.pt`, `.pth`, `.ckpt`, `.bin`, `.tar`).

    Raises:
        ArtifactError: Nothing is there, the run is unfinished, or the file is not what it says.
    """
    if path.is_file():
        if (path.parent / "encoder.json").is_file() and path.name == "encoder.safetensors":
            return _verified(path.parent)
        return _bare(path)
    if (path / "status.json").is_file():
        run_folder.require_finished(path, "pretrain")
        path = path / "export"
    if not (path / "encoder.json").is_file():
        raise ArtifactError(
            "no encoder",
            where=str(path),
            fix="give a folder written by `medssl pretrain`, or a file of weights",
        )
    return _verified(path)


def factory(
    name: str,
    options: Mapping[str, Any],
    *,
    in_channels: int,
    spatial_dims: int,
    source: Source | None = None,
    allow_partial: bool = False,
) -> Factory:
    """Return what makes encoders of one architecture; options and weights are checked here.

    Raises:
        UsageError: No such encoder, or an option it does not know.
        ArtifactError: The weights do not fill the encoder.
    """
    plugin = plugins.load(encoders, name)
    config = decode(plugin.Config, options, where="encoder_options")
    if source is not None and spatial_dims == 2:
        require_2d(source)

    def build() -> tuple[nn.Module, weights.Match | None]:
        encoder: nn.Module = plugin.build(in_channels, spatial_dims, config)
        if source is None:
            return encoder, None
        where = str(source.path)
        return encoder, weights.load(
            encoder, source.arrays, where=where, allow_partial=allow_partial
        )

    with torch.random.fork_rng(devices=[]):
        encoder, match = build()
    notes = source.notes() if source else ()
    if match is not None:
        notes += tuple(f"starting weights: {n} {what}" for what, n in match.changes.items())
        notes += () if match.complete else (f"partial weights: {match.table()}",)
    groups = encoder.groups()  # type: ignore[operator]
    normed = tuple(name for name, modules in groups.items() if norms_of(modules))
    return Factory(lambda: build()[0], notes, tuple(groups), normed)


def require_2d(source: Source) -> None:
    """Check that weights are not of an encoder for volumes.

    Raises:
        ArtifactError: They are.
    """
    dims = source.info.spatial_dims if source.info else source.facts().get("spatial_dims")
    if dims == 3:
        raise ArtifactError(
            "the weights are of an encoder for whole series (3D), and single images are to be seen",
            where=str(source.path),
            fix="give one pretrained with --spatial-dims 2, or read whole series: --spatial-dims 3",
        )


def _bare(path: Path) -> Source:
    """Return the weights of a file without a record."""
    safe = path.suffix == ".safetensors" or _is_safetensors(path)
    found = layouts.unwrap(weight_files.read_tensors(path) if safe else pickled.read(path))
    return Source(path, None, found.arrays, files.sha256(path), found)


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(_HEADER)[-1:] == b"{" and path.stat().st_size > _HEADER


def _verified(export: Path) -> Source:
    info, arrays = weight_files.read_verified(export)
    return Source(export, info, arrays, info.weights_sha256)
