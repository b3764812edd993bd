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
from medssl.artifacts import weights as files
from medssl.artifacts.weights import EncoderInfo
from medssl.config.loading import decode
from medssl.foundation import plugins
from medssl.foundation.errors import ArtifactError
from medssl.models import encoders, weights


@dataclass(frozen=True)
class Source:
    """Weights to start from; without a record they come from a bare file."""

    path: Path
    info: EncoderInfo | None
    arrays: Mapping[str, NDArray[np.generic]]

    def facts(self) -> dict[str, Any]:
        """Return what a run records about where its encoder came from."""
        if self.info is None:
            return {"file": self.path.name}
        kept = ("method", "paper", "epochs", "seed", "n_images", "archive_hash", "key_id")
        return {name: getattr(self.info, name) for name in (*kept, "weights_sha256")}


def open_source(path: Path) -> Source:
    """Return the weights at ``path``: a pretrain run, an export folder or a safetensors file.

    Raises:
        ArtifactError: Nothing is there, the run is unfinished, or the file is not what it says.
    """
    if path.is_file():
        if (path.parent / "encoder.json").is_file() and path.name == "encoder.safetensors":
            return Source(path, *files.read_verified(path.parent))
        return Source(path, None, files.read_tensors(path))
    if (path / "status.json").is_file():
        run_folder.require_finished(path, "pretrain")
        path = path / "export"
    if not (path / "encoder.json").is_file():
        raise ArtifactError(
            "no encoder",
            where=str(path),
            fix="give a folder written by `medssl pretrain`, or a safetensors file",
        )
    return Source(path, *files.read_verified(path))


def factory(
    name: str,
    options: Mapping[str, Any],
    *,
    in_channels: int,
    spatial_dims: int,
    source: Source | None = None,
    allow_partial: bool = False,
) -> Callable[[], nn.Module]:
    """Return a function that makes a new encoder each time it is called.

    Random weights come from torch's current seed. The options are checked here, the weights when
    the function is first called, which this does once.

    Raises:
        UsageError: No such encoder, or an option it does not know.
        ArtifactError: The weights do not fill the encoder.
    """
    plugin = plugins.load(encoders, name)
    config = decode(plugin.Config, options, where="encoder_options")

    def make() -> nn.Module:
        encoder: nn.Module = plugin.build(in_channels, spatial_dims, config)
        if source is not None:
            weights.load(
                encoder, source.arrays, where=str(source.path), allow_partial=allow_partial
            )
        return encoder

    with torch.random.fork_rng(devices=[]):
        make()
    return make
