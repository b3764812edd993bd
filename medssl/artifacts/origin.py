"""Where predictions come from: the finetune run around them, or nothing but a digest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medssl.artifacts import archive as archives
from medssl.artifacts import records, run_folder, site_models, splits
from medssl.artifacts.foreign_predictions import Foreign
from medssl.artifacts.site_models import FinetuneInfo
from medssl.artifacts.splits import Splits
from medssl.foundation import files
from medssl.foundation.errors import ArtifactError

PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True, kw_only=True)
class External:
    """An archive whose judged patients no model of the run learned from, and what became of it."""

    archive_hash: str
    what: str  # a row is: an image or a series
    n_rows: int  # with a label, before patients whom a model knows were left out
    n_judged: int  # of them
    n_unlabelled: int
    n_too_short: int  # series with a label, and too few images to be judged
    known_patients: int | None  # left out, as a model learned from them; None: cannot be told
    known_rows: int  # of these patients
    grouped: bool  # whether its patients are known
    pretrained: int | None  # judged patients who were in pretraining; None: cannot be told
    synthetic: bool  # it holds phantoms only
    trial: bool  # a few patients only, to try the path
    labels: tuple[str, ...]  # its label columns that were read
    lacking: tuple[str, ...]  # targets of the run that it has no labels of
    n_models: int
    calibrated: bool  # whether any model has a calibrator, which its scores went through
    shared_patients: int | None = None  # judged, and tested by the run as well; None: cannot be
    # told
    own: bool = False  # the run's archive, or all its judged patients: then no external test
    unusual: float  # share of usual images that may be marked as unlike the cohort
    n_unusual: int | None = None  # rows marked so; None: cannot be told
    spread: float | None = None  # mean standard deviation of a score over the models


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the predictions come from; a foreign table knows its digest only."""

    predictions_sha256: str
    run: Path | None = None  # that predicted; None: a table of another tool
    archive: Path | None = None  # of the images judged, as it was then; None: see `no_archive`
    no_archive: str = "a table of another tool has no archive"
    foreign: Foreign | None = None  # the table of another tool
    splits: Splits | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the run that predicted
    environment: Mapping[str, Any] = field(default_factory=dict)  # of that run
    models: FinetuneInfo | None = None  # of that run
    external: External | None = None  # None: the run predicted its own cohort

    @property
    def grouped(self) -> bool:
        """Whether the patients of the predictions are known."""
        if self.external is not None:
            return self.external.grouped
        return self.splits is None or self.splits.group != "none"


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


def of_table(path: Path, foreign: Foreign) -> Origin:
    """Return what is known of a table of any tool."""
    return Origin(predictions_sha256=files.sha256(path), foreign=foreign)


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
