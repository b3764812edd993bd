"""The cohort that the settings of a finetune run ask for."""

from pathlib import Path

import pyarrow as pa

from medssl.artifacts import archive
from medssl.config.finetune import FinetuneSettings
from medssl.config.loading import Sources, resolve
from medssl.data import cohort as cohorts
from medssl.data import people as identities
from medssl.data import volumes
from medssl.data.cohort import Cohort
from medssl.data.people import People
from medssl.foundation.errors import DataError

SMOKE_PATIENTS = 16


def read(settings: FinetuneSettings, people: People, dims: int) -> Cohort:
    """Return what is labelled, all with a patient, or each its own if so declared.

    Raises:
        DataError: There are no such labels, or patients are not known.
        ArtifactError: There is no finished archive.
    """
    cohort = cohorts.read(
        settings.archive,
        None if settings.target == "auto" else settings.target,
        kind=None if settings.task == "auto" else settings.task,
        order=settings.order,
        positive=settings.positive,
        least_slices=_least_slices(settings, dims),
    )
    flags = cohort.table["flags"].to_pylist()
    unknown = sum(archive.NO_PATIENT in (found or ()) for found in flags)
    if unknown and settings.group == "patient":
        raise DataError(
            f"{unknown} of {len(flags)} labelled images name no patient, so folds could share one",
            where=str(settings.archive),
            fix="ingest with --patient col:NAME (or parent), or accept it with --group none",
        )
    if settings.group == "none":
        cohort = cohorts.ungrouped(cohort)
    if people.inputs:
        cohort = cohorts.merged(cohort, people.group_of)
    if settings.smoke:
        return cohorts.some_patients(cohort, SMOKE_PATIENTS)
    return cohort


def settings_of(run: Path) -> FinetuneSettings:
    """Return the settings that a finetune run was made with, every path where it leads today.

    Raises:
        UsageError: They are of another version of medssl.
    """
    return resolve(FinetuneSettings, "finetune", Sources(files=[run / "config.yaml"]))


def of_run(run: Path) -> Cohort:
    """Return the cohort of a finished finetune run, as its archive gives it today.

    Raises:
        DataError: The archive has no such labels any more.
        ArtifactError: The archive is not there.
    """
    settings = settings_of(run)
    people = identities.read(settings.archive, settings.aliases)
    return read(settings, people, int(settings.spatial_dims))


def as_archived(cohort: Cohort) -> pa.Table:
    """Return the rows of a cohort with the patients that its archive knows."""
    every = archive.read_images(cohort.archive)
    place = {name: number for number, name in enumerate(every["image_id"].to_pylist())}
    return every.take([place[name] for name in cohort.table["image_id"].to_pylist()])


def _least_slices(settings: FinetuneSettings, dims: int) -> int:
    """Return how many images a series needs to be a row of the cohort; 0: an image is a row."""
    if dims == 3:
        return volumes.LEAST_SLICES
    return 1 if settings.pooling != "none" else 0
