"""Account for every file of an ingest: what was found, what was left out and why, what was written.

The record made here is what `report.json` of an archive holds; nothing in it names a person, a path
or a UID.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from medssl.artifacts.archive import ArchiveInfo
from medssl.ingestion import advice, composition
from medssl.ingestion.assignment import Entry
from medssl.ingestion.codes import FIXES, MEANINGS, NO_IMAGES, TITLES, Code
from medssl.ingestion.flags import MEANINGS as FLAGS
from medssl.ingestion.geometry import Stack
from medssl.ingestion.grouping import Series

StepName = Literal["found", "images", "opened", "readable", "accepted", "written"]
Record = dict[str, Any]

STEPS: dict[StepName, tuple[str, str]] = {  # what is left, and what was left out to get there
    "found": ("Files found", ""),
    "images": ("Images", "Not images"),
    "opened": ("Images of a format that is read", "Rejected when opened"),
    "readable": ("Images with a usable header", "Rejected by their header"),
    "accepted": ("Images accepted", "Left out by rule"),
    "written": ("Written to the archive", "Left out when decoded"),
}
WORST = 5  # series that are named of each finding
PATHS = frozenset({"sources", "labels", "key_file"})  # settings that may say where files lie


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is known after one step of an ingest. None: not known."""

    name: StepName
    files: int | None = None
    patients: int | None = None
    studies: int | None = None
    series: int | None = None
    images: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something measured of one series that a reader of the report should know."""

    series_key: str
    what: str  # a flag
    count: int = 1
    amount: float | None = None  # how much, in `unit`
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Account:
    """All that a report on an ingest is made from."""

    info: ArchiveInfo
    images: pa.Table  # images.parquet
    labels: pa.Table  # labels.parquet
    quarantine: pa.Table  # quarantine.parquet
    steps: Sequence[Step] = ()
    findings: Sequence[Finding] = ()
    decoders: Mapping[str, str] = field(default_factory=dict)  # transfer syntax -> library, version
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Left:
    """A file that is not in the archive."""

    step: StepName
    stage: str
    code: Code
    file_id: str
    patient: str | None


def compose(account: Account) -> Record:
    """Return the record of an ingest, in reading order, as JSON values."""
    info, images = account.info, account.images
    left = _left(account.quarantine)
    written = frozenset(pc.unique(images["patient_key"]).to_pylist())
    record: Record = {
        "medssl": info.medssl,
        "counts": _counts(info, left, written),
        "cautions": [],
        "flow": _flow(account, left, written),
        "kinds": composition.kinds(images),
        "encodings": composition.encodings(images, account.decoders),
        "sizes": composition.sizes(images),
        "flags": composition.flags(images),
        "findings": _findings(account),
        "targets": composition.targets(images, account.labels),
        "label_rows": dict(info.label_rows),
        "patients_at_several_sites": composition.shared_patients(images),
        "images_of_several_patients": composition.shared_images(images),
        "archive": {
            "hash": info.hash,
            "key_id": info.key_id,
            "size": info.size,
            "spatial_dims": info.spatial_dims,
        },
        "settings": {k: v for k, v in account.settings.items() if k not in PATHS},
        "notes": list(account.notes),
        "warnings": list(account.warnings),
    }
    return record | {"cautions": advice.cautions(record)}


def steps(
    recognised: Sequence[Entry], accepted: Sequence[Entry], series: Sequence[Series]
) -> tuple[Step, Step]:
    """Return what is known before anything is decoded.

    Args:
        recognised: Everything with a usable header.
        accepted: What goes into the archive if it can be decoded.
        series: The same, as series.
    """
    before, after = (
        {
            "files": len({entry.file.path for entry in entries}),
            "patients": len({entry.patient_key for entry in entries}),
            "studies": len({entry.study_key for entry in entries}),
        }
        for entries in (recognised, accepted)
    )
    n_images = sum(len(one.slices) for one in series)
    return (
        Step(name="readable", **before),
        Step(name="accepted", **after, series=len(series), images=n_images),
    )


def findings(stacks: Mapping[str, Stack]) -> list[Finding]:
    """Return what is unusual about the geometry of series, in numbers.

    Args:
        stacks: How the slices that were written follow each other, by series key.
    """
    found = []
    for key, stack in stacks.items():
        if stack.missing:
            n, mm = stack.missing, stack.missing_mm
            found.append(Finding(series_key=key, what="gap", count=n, amount=mm, unit="mm"))
        if "tilt" in stack.flags:
            found.append(Finding(series_key=key, what="tilt", amount=stack.tilt, unit="degrees"))
    return found


def step_of(stage: str, code: Code) -> StepName:
    """Return the step that a file left out at ``stage`` did not reach.

    >>> step_of("sniff", Code.EMPTY_FILE), step_of("header", Code.SKIPPED_LOCALIZER)
    ('opened', 'accepted')
    """
    if code in NO_IMAGES:
        return "images"
    if stage == "decode":
        return "written"
    is_rule = code.is_skip or code is Code.BURNED_IN
    if stage == "sniff" and not is_rule:
        return "opened"
    is_early = stage in {"sniff", "header"} or code is Code.NO_ORIENTATION
    return "readable" if is_early and not is_rule else "accepted"


def _left(quarantine: pa.Table) -> list[_Left]:
    return [
        _Left(
            step=step_of(row["stage"], Code(row["code"])),
            stage=row["stage"],
            code=Code(row["code"]),
            file_id=row["file_id"],
            patient=row["patient_key"],
        )
        for row in quarantine.to_pylist()
    ]


def _counts(info: ArchiveInfo, left: Sequence[_Left], written: frozenset[str]) -> dict[str, int]:
    """Return the sums, after checking that they add up."""
    skipped = sum(one.code.is_skip for one in left)
    rejected = len(left) - skipped
    assert info.files_found == info.files_written + skipped + rejected
    assert sum(info.quarantined.values()) == len(left)
    assert info.patients == len(written)
    return {
        "files_found": info.files_found,
        "files_written": info.files_written,
        "skipped": skipped,
        "rejected": rejected,
        "images": info.images,
        "series": info.series,
        "studies": info.studies,
        "patients": info.patients,
        "patients_without_image": len(_patients(left) - written),
        "sites": len(info.sites),
    }


def _flow(account: Account, left: Sequence[_Left], written: frozenset[str]) -> list[Record]:
    """Return the steps from files found to files written, and what each left out."""
    info = account.info
    known = {step.name: step for step in account.steps}
    known["written"] = Step(
        name="written",
        files=info.files_written,
        patients=info.patients,
        studies=info.studies,
        series=info.series,
        images=info.images,
    )
    files = info.files_found
    rows = []
    for name, (title, _) in STEPS.items():
        here = [one for one in left if one.step == name]
        files -= len(here)
        step = known.get(name, Step(name=name))
        assert step.files in {None, files}, f"{name}: {step.files} files told, {files} counted"
        counts = {key: getattr(step, key) for key in ("patients", "studies", "series", "images")}
        row = {"step": name, "title": title, "files": files, **counts}
        rows.append(row | {"left_out": _left_out(name, here, written) if here else None})
    return rows


def _left_out(name: StepName, left: Sequence[_Left], written: frozenset[str]) -> Record:
    def place(one: _Left) -> tuple[str, Code]:
        return one.stage, one.code

    groups = [(key, list(ones)) for key, ones in groupby(sorted(left, key=place), key=place)]
    groups.sort(key=lambda group: -len(group[1]))
    codes = [
        {
            "code": code.value,
            "title": TITLES[code],
            "stage": stage,
            "is_reject": not code.is_skip,
            **_affected(ones, written),
            "example": min(one.file_id for one in ones),
            "meaning": MEANINGS[code],
            "fix": FIXES.get(code),
        }
        for (stage, code), ones in groups
    ]
    return {"title": STEPS[name][1], **_affected(left, written), "codes": codes}


def _affected(left: Sequence[_Left], written: frozenset[str]) -> dict[str, int]:
    patients = _patients(left)
    return {
        "files": len(left),
        "patients": len(patients),
        "patients_without_image": len(patients - written),
        "files_of_unknown_patients": sum(one.patient is None for one in left),
    }


def _patients(left: Sequence[_Left]) -> frozenset[str]:
    return frozenset(one.patient for one in left if one.patient is not None)


def _findings(account: Account) -> list[Record]:
    """Return one row per kind of finding, with the series of the archive in which it is worst."""
    written = frozenset(pc.unique(account.images["series_key"]).to_pylist())
    found = [one for one in account.findings if one.series_key in written]
    found.sort(key=lambda one: one.what)

    def gravity(one: Finding) -> tuple[float, int, str]:
        return (-(one.amount or 0.0), -one.count, one.series_key)

    rows = []
    for what, ones in groupby(found, key=lambda one: one.what):
        ranked = sorted(ones, key=gravity)
        amounts = [_rounded(one.amount) for one in ranked if one.amount is not None]
        rows.append(
            {
                "what": what,
                "meaning": FLAGS.get(what, ""),
                "series": len({one.series_key for one in ranked}),
                "count": sum(one.count for one in ranked),
                "largest": amounts[0] if amounts else None,
                "unit": ranked[0].unit,
                "worst": [
                    {
                        "series_key": one.series_key,
                        "count": one.count,
                        "amount": _rounded(one.amount),
                    }
                    for one in ranked[:WORST]
                ],
            }
        )
    return rows


def _rounded(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 3)
