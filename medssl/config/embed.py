"""Settings of `medssl embed`."""

from pathlib import Path

from pydantic import Field

from medssl.config.settings import Settings


class EmbedSettings(Settings):
    """Everything that decides the features of an archive."""

    archive: Path = Field(description="an archive written by `medssl ingest`")
    encoder: Path = Field(description="--encoder a run of `medssl pretrain`, or its export")
    layer: str | None = None  # whose pooled output the features are; None: the last one
