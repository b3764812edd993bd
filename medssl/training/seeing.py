"""What an encoder of ours makes of images: its features, fed as it was pretrained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.config.training import Intensity
from medssl.data.opening import open_store
from medssl.foundation.errors import ArtifactError
from medssl.training import embed, encoders, runtime
from medssl.training.encoders import Source

Features = Callable[[Path, pa.Table], NDArray[np.float32]]  # of some images of an archive


def device(wanted: str) -> str:
    """Return the torch device for ``wanted``: auto, cpu, cuda or cuda:N."""
    return str(runtime.start(wanted, "32").device)


def digest(path: Path) -> str:
    """Return the SHA-256 of the weights of an encoder."""
    return encoders.open_source(path).sha256


def open_encoder(path: Path, channels: int) -> tuple[Source, encoders.Factory]:
    """Return an encoder that says how it is to be fed, and what makes it.

    Args:
        path: A pretrain run or its export.
        channels: Of the images it is to see.

    Raises:
        ArtifactError: Nothing is there, it does not say how it is fed, or its weights do not fit.
    """
    source = encoders.open_source(path)
    if source.info is None:
        raise ArtifactError(
            "bare weights do not say which encoder they belong to and how it is fed",
            where=str(path),
            fix="give a pretrain run or its export folder",
        )
    make = encoders.factory(
        source.info.encoder,
        source.info.options,
        in_channels=channels,
        spatial_dims=source.info.spatial_dims,
        source=source,
    )
    return source, make


def features(path: Path, channels: int, device: str) -> tuple[Features, Mapping[str, Any]]:
    """Return a function from images of an archive to features (N, F), and the encoder's record.

    Raises:
        ArtifactError: As for `open_encoder`.
    """
    source, factory = open_encoder(path, channels)
    encoders.require_2d(source)
    info = source.info
    assert info is not None
    where = runtime.start(device, "32").device
    encoder = factory.make().to(where)
    intensity = Intensity(window_hu=info.intensity["window_hu"])

    def of(archive: Path, table: pa.Table) -> NDArray[np.float32]:
        return embed.features(
            encoder,
            open_store(archive, table, info.spatial_dims),
            device=where,
            intensity=intensity,
            shape=info.shape,
        )

    return of, {"encoder": info.encoder, "image_size": info.image_size, **source.facts()}
