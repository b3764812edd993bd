"""Settings of `medssl predict`."""

from pathlib import Path

from pydantic import Field

from medssl.config.settings import Settings


class PredictSettings(Settings):
    """Everything that decides what the models of a run say about new scans."""

    run: Path = Field(description="a run of `medssl finetune`")
    archive: Path = Field(description="an archive written by `medssl ingest`, with new scans")
    unusual: float = Field(default=0.01, gt=0, lt=1)  # share of images like those of the cohort
    # that may be marked as unlike them
