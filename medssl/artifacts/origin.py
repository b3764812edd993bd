"""Where predictions come from: the finetune run around them, or nothing but a digest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medssl.artifacts import records, run_folder, site_models, splits
from medssl.artifacts.site_models import FinetuneInfo
from medssl.artifacts.splits import Splits
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError

PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the predictions come from; a foreign table knows its digest only."""

    predictions_sha256: str
    splits: Splits | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the run that predicted
    environment: Mapping[str, Any] = field(default_factory=dict)  # of that run
    models: FinetuneInfo | None = None  # of that run


def of_run(run: Path) -> Origin:
    """Return what a finetune run says about its predictions.

    Raises:
        ArtifactError: The run is missing, unfinished, damaged or of another stage.
    """
    run_folder.require_finished(run, "finetune")
    path = run / PREDICTIONS
    if not path.is_file():
        raise ArtifactError(
            "no such file",
            where=str(path),
            fix="restore it, or run `medssl finetune` again in another folder",
        )
    described = (run / "finetune.json").is_file()
    return Origin(
        predictions_sha256=files.sha256(path),
        splits=splits.read(run / "splits.json"),
        settings=run_folder.read_config(run),
        environment=records.read(run / "env.json", run_folder.ENV_SCHEMA),
        models=site_models.read(run) if described else None,
    )


def of_table(path: Path) -> Origin:
    """Return what is known of a table of any tool."""
    return Origin(predictions_sha256=files.sha256(path))
