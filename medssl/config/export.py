"""Settings of `medssl export`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from medssl.config.settings import Settings

Format = Literal["torchvision", "onnx", "monai-bundle"]


class ExportSettings(Settings):
    """Everything that decides an export."""

    encoder: Path = Field(description="a run of `medssl pretrain`, or its export")
    format: Format = "torchvision"
