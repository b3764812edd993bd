"""From the files found to the patients judged: who was left out on the way, and why.

The first steps are those of the ingest, as the archive tells them; the others follow from its
images and labels, the record of the run and the predictions. Counts of different records are
compared: where they do not agree, the flow says so instead of hiding it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from medssl.artifacts import archive as archives
from medssl.artifacts import fold_models, ingest_report
from medssl.artifacts.archive import ArchiveInfo
from medssl.artifacts.origin import External, Origin
from medssl.artifacts.splits import Splits
from medssl.evaluation.judged import Judged
from medssl.foundation.errors import ArtifactError

Record = Mapping[str, Any]
_COUNTS = ("files", "patients", "studies", "series", "images")
_ALL_TESTED = ("folds", "site")  # protocols that test everybody once
_KEYS = {"patients": "patient_key", "studies": "study_key", "series": "series_key"}


@dataclass(frozen=True, kw_only=True)
class CohortFlow:
    """The steps, first to last; each with what it leaves of those before it."""

    reason: str = ""  # why the archive is not known; the last step then stands alone
    steps: tuple[Record, ...] = ()  # as in the `flow` of an ingest; later ones count images
    problems: tuple[str, ...] = ()  # counts that do not agree with each other


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What archive and predictions hold, by image id."""

    info: ArchiveInfo
    images: pa.Table  # of the archive
    labelled: pa.Table  # of which a target is known
    empty: frozenset[str]  # with a row of labels and no value in it
    cohort: pa.Table  # that have a prediction, or whose patient a model learned from
    tested: pa.Table  # that are judged
    whole_series: bool


def find(judged: Judged) -> CohortFlow:
    """Return the flow of the images and patients that a report is about."""
    source = judged.source
    if source.archive is None or source.splits is None:
        return CohortFlow(reason=source.no_archive, steps=(_last(judged),))
    try:
        found = _found(judged, source.archive, source.splits)
        ingested = _ingested(source.archive, found.info)
    except ArtifactError as error:
        return CohortFlow(reason=error.problem, steps=(_last(judged),))
    steps = (
        *ingested,
        _step("labelled", "With a label of the target", found.images, found.labelled)
        | {"left_out": _unlabelled(found)},
        _step(
            "cohort",
            "Given to the models" if source.external else "Cohort of the run",
            found.labelled,
            found.cohort,
        )
        | {"left_out": _not_used(found, source)},
        {**_last(judged, found.tested), "left_out": _only_learned(found, source.splits)},
    )
    return CohortFlow(steps=steps, problems=tuple(_problems(judged, found)))


def _found(judged: Judged, folder: Path, plan: Splits) -> _Found:
    images, labels = archives.read_images(folder), archives.read_labels(folder)
    tested = judged.source.external
    targets = tested.labels if tested is not None else plan.task.targets
    labels = labels.filter(pc.is_in(labels["target"], pa.array(targets)))
    valued = labels.drop_null()["image_id"]
    models, rows = judged.source.models, judged.table
    whole = models is not None and models.judges_series
    # in a run on series, a row and a label of one image are those of its series
    pick = _beside if whole else _of
    labelled = pick(images, valued)
    used = pick(images, rows["image_id"])
    everybody = judged.source.external is not None or (whole and plan.by in _ALL_TESTED)
    learned = () if everybody else _learned(judged.source.run)
    of_learned = labelled.filter(pc.is_in(labelled["patient_key"], pa.array(learned, pa.string())))
    return _Found(
        info=archives.read_info(folder),
        images=images,
        labelled=labelled,
        empty=frozenset(labels["image_id"].to_pylist()) - frozenset(valued.to_pylist()),
        cohort=_of(images, [*used["image_id"].to_pylist(), *of_learned["image_id"].to_pylist()]),
        tested=pick(images, rows.filter(pc.equal(rows["part"], "test"))["image_id"]),
        whole_series=whole,
    )


def _learned(run: Path | None) -> list[str]:
    """Return the keys of all patients whom some model learned from, as far as that is recorded."""
    models = fold_models.read_all(run) if run is not None else ()
    return sorted({key for one in models for key in one.learned or ()})


def _of(images: pa.Table, ids: pa.ChunkedArray | Sequence[str]) -> pa.Table:
    wanted = pa.array(ids.to_pylist() if isinstance(ids, pa.ChunkedArray) else ids, pa.string())
    return images.filter(pc.is_in(images["image_id"], value_set=wanted))


def _beside(images: pa.Table, ids: pa.ChunkedArray | Sequence[str]) -> pa.Table:
    """Return all images of the series that these are of."""
    wanted = pc.unique(_of(images, ids)["series_key"])
    return images.filter(pc.is_in(images["series_key"], value_set=wanted))


def _ingested(folder: Path, info: ArchiveInfo) -> list[Record]:
    """Return the steps of the ingest; those of an archive without their record are two."""
    if (folder / "report.json").is_file():
        return [
            row | {"left_out": _retold(row["left_out"])}
            for row in ingest_report.read(folder)["flow"]
        ]
    none: dict[str, Any] = dict.fromkeys(_COUNTS)
    last = {name: getattr(info, name) for name in _COUNTS[1:]} | {"files": info.files_written}
    ranked = sorted(info.quarantined.items(), key=lambda row: (-row[1], row[0]))
    codes = [
        {"title": code, "is_reject": not code.startswith("SKIPPED_"), "files": many}
        for code, many in ranked
    ]
    left = {"title": "Left out by the ingest", "files": sum(info.quarantined.values())}
    left |= {"patients": 0, "patients_without_image": 0, "codes": codes}
    return [
        {"step": "found", "title": "Files found"} | none
        | {"files": info.files_found, "left_out": None},
        {"step": "written", "title": "Written to the archive"} | last
        | {"left_out": _retold(left) if codes else None},
    ]  # fmt: skip


def _retold(left: Record | None) -> Record | None:
    """Return what an ingest left out as the later steps tell it: by count, without examples."""
    if left is None:
        return None
    codes = [
        {"title": row["title"], "is_reject": row["is_reject"], "count": row["files"]}
        for row in left["codes"]
    ]
    kept = {name: left[name] for name in ("title", "patients", "patients_without_image")}
    return {**kept, "counted": "files", "count": left["files"], "codes": codes}


def _step(name: str, title: str, before: pa.Table, after: pa.Table) -> dict[str, Any]:
    counts = {key: len(set(after[column].to_pylist())) for key, column in _KEYS.items()}
    if before["study_key"].null_count == before.num_rows:
        counts |= {"studies": None}  # type: ignore[dict-item]
    return {"step": name, "title": title, "files": None, **counts, "images": after.num_rows}


def _last(judged: Judged, tested: pa.Table | None = None) -> dict[str, Any]:
    """Return who is judged, by the same counts as the rest of the report."""
    units = judged.units
    step: dict[str, Any] = {"step": "analysed", "title": "Analysed"} | dict.fromkeys(_COUNTS)
    if tested is not None:
        step |= _step("analysed", "Analysed", tested, tested)
    step["patients"] = units.n_patients if units.grouped else None
    return step | ({"images": units.n_images} if tested is None else {}) | {"left_out": None}


def _left(
    title: str, before: pa.Table, after: pa.Table, reasons: Mapping[str, int], counted: str
) -> dict[str, Any] | None:
    """Return what a step leaves out, by reason; None where it is nothing."""
    lost = _difference(before, after)
    if not lost.num_rows:
        return None
    patients = set(lost["patient_key"].to_pylist())
    without = patients - set(after["patient_key"].to_pylist())
    return {
        "title": title,
        "patients": len(patients),
        "patients_without_image": len(without),
        "counted": counted,
        "count": _many(lost, counted),
        "codes": [
            {"title": reason, "is_reject": False, "count": number}
            for reason, number in reasons.items()
            if number
        ],
    }


def _many(table: pa.Table, counted: str) -> int:
    """Return how many images there are, or series."""
    return len(set(table["series_key"].to_pylist())) if counted == "series" else table.num_rows


def _difference(before: pa.Table, after: pa.Table) -> pa.Table:
    held = pc.is_in(before["image_id"], value_set=after["image_id"].combine_chunks())
    return before.filter(pc.invert(held))


def _unlabelled(found: _Found) -> dict[str, Any] | None:
    lost = set(_difference(found.images, found.labelled)["image_id"].to_pylist())
    n_empty = len(lost & found.empty)
    reasons = {"No row in the table of labels": len(lost) - n_empty, "An empty value": n_empty}
    return _left("Images without a label", found.images, found.labelled, reasons, "images")


def _not_used(found: _Found, source: Origin) -> dict[str, Any] | None:
    lost = _difference(found.labelled, found.cohort)
    counted = "series" if found.whole_series else "images"
    if source.external is not None:
        reasons = _left_outside(source.external, _many(lost, counted))
        title = f"{counted.capitalize()} with a label that were not judged"
        return _left(title, found.labelled, found.cohort, reasons, counted)
    if source.settings.get("smoke"):
        reason = "Not drawn: a smoke run takes a few patients"
    elif found.whole_series:
        reason = "Fewer slices than the run asks for"
    else:
        reason = "Left out by the run, which records no reason"
    title = f"{counted.capitalize()} with a label that the run left out"
    return _left(title, found.labelled, found.cohort, {reason: _many(lost, counted)}, counted)


def _left_outside(tested: External, n_lost: int) -> dict[str, int]:
    """Return why labelled images or series of an external test were not judged."""
    reasons = {
        "Of patients whom a model learned from": tested.known_rows,
        "Too few slices to be judged": tested.n_too_short,
    }
    rest = "Not drawn: a smoke test takes a few patients" if tested.trial else "Of a class left out"
    return reasons | {rest: n_lost - sum(reasons.values())}


def _only_learned(found: _Found, plan: Splits) -> dict[str, Any] | None:
    lost = _difference(found.cohort, found.tested)
    counted = "series" if found.whole_series else "images"
    why = {"hold_out": "Of sites that were not held out", "time": "Of earlier patients"}
    reason = why.get(plan.by, "In no test part")
    title = f"{counted.capitalize()} only learned from, never tested"
    return _left(title, found.cohort, found.tested, {reason: _many(lost, counted)}, counted)


def _problems(judged: Judged, found: _Found) -> Sequence[str]:
    """Return one sentence for every two counts that should be the same and are not."""
    info, models, units = found.info, judged.source.models, judged.units
    quarantined = sum(info.quarantined.values())
    seen = len(set(judged.table["image_id"].to_pylist()))
    pairs = [
        ("files found", info.files_found, "files written and left out",
         info.files_written + quarantined),
        ("images the archive counts", info.images, "images in its table", found.images.num_rows),
        ("images with a prediction", seen, "those of them in the archive",
         _of(found.images, judged.table["image_id"]).num_rows),
        ("images tested", found.tested.num_rows, "those of them with a label",
         found.tested.num_rows - _difference(found.tested, found.labelled).num_rows),
    ]  # fmt: skip
    if not found.whole_series:
        pairs.append(("images tested", found.tested.num_rows, "images judged", units.n_images))
    if models is not None and judged.source.external is None:
        unit = "series_key" if found.whole_series else "image_id"
        counted = len(set(found.cohort[unit].to_pylist()))
        pairs.append(("cohort the run records", models.n_images, "cohort found here", counted))
    return [f"{a}: {n}, but {b}: {m}" for a, n, b, m in pairs if n != m]
