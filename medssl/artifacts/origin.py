"""Where predictions come from: the finetune run around them, or nothing but a digest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medssl.artifacts import archive as archives
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
    run: Path | None = None  # that predicted; None: a table of another tool
    archive: Path | None = None  # of the images judged, as it was then; None: see `no_archive`
    no_archive: str = "a table of another tool names sites at most"
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
    models = site_models.read(run) if described else None
    settings = run_folder.read_config(run)
    folder, reason = archive_of(run / str(settings.get("archive", "")), models)
    return Origin(
        run=run,
        archive=folder,
        no_archive=reason,
        predictions_sha256=files.sha256(path),
        splits=splits.read(run / "splits.json"),
        settings=settings,
        environment=records.read(run / "env.json", run_folder.ENV_SCHEMA),
        models=models,
    )


def of_table(path: Path) -> Origin:
    """Return what is known of a table of any tool."""
    return Origin(predictions_sha256=files.sha256(path))


def archive_of(folder: Path, models: FinetuneInfo | None) -> tuple[Path | None, str]:
    """Return the archive of a run; None and why, where it is gone or has changed."""
    if not (folder / "archive.json").is_file():
        return None, "the archive of the run is not where it was"
    try:
        info = archives.read_info(folder)
    except ArtifactError as error:
        return None, error.problem
    if models is not None and info.hash != models.archive_hash:
        return None, "the archive of the run has changed since"
    return folder, ""
