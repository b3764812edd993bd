"""A cohort: the labelled images of one target."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.artifacts import archive as archives
from medssl.foundation import plugins
from medssl.foundation.errors import DataError

_POSITIVE_WORDS = ("1", "1.0", "true", "True", "TRUE")


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Images and labels of one target; images without a label are left out."""

    archive: Path
    table: pa.Table  # rows of images.parquet, in archive order
    target: str
    classes: tuple[str, ...]  # sorted
    positive: str | None  # None for more than two classes
    label: NDArray[np.int64]  # (N,) 0 or 1 for a binary target, else the class index
    merged: Mapping[str, int] = field(default_factory=dict)  # ids that are one patient with
    # another, and patients they came to; empty where no list of aliases was given

    @property
    def n_outputs(self) -> int:
        """Outputs of the head."""
        return 1 if self.positive is not None else len(self.classes)

    @property
    def patients(self) -> list[str]:
        """Patient key of each image."""
        keys: list[str] = self.table["patient_key"].to_pylist()
        return keys

    @property
    def class_names(self) -> list[str]:
        """Class of each image, by name."""
        if self.positive is None:
            return [self.classes[k] for k in self.label]
        other = next(name for name in self.classes if name != self.positive)
        return [self.positive if k else other for k in self.label]

    def rows(self, numbers: NDArray[np.int64]) -> Self:
        """Return some images of the cohort."""
        return replace(self, table=self.table.take(numbers), label=self.label[numbers])


def read(archive: Path, target: str, positive: str | None) -> Cohort:
    """Return the cohort of a target.

    Args:
        archive: Archive folder.
        target: Label column, or ``auto`` for the only one there is.
        positive: Positive class of a binary target; None: 1 or true, else the last class.

    Raises:
        DataError: There is no such target, fewer than two classes, or no such positive class.
        ArtifactError: The archive cannot be read.
    """
    images = archives.read_images(archive)
    labels = archives.read_labels(archive)
    target = _choose(labels, target, archive)
    chosen = labels.filter(pc.equal(labels["target"], target)).drop_null()
    value_of = dict(zip(chosen["image_id"].to_pylist(), chosen["value"].to_pylist(), strict=True))
    ids = images["image_id"].to_pylist()
    table = images.take(np.array([i for i, name in enumerate(ids) if name in value_of], dtype=int))
    values = [value_of[name] for name in table["image_id"].to_pylist()]
    classes = tuple(sorted(set(values)))
    if len(classes) < 2:
        raise DataError(
            f"target {target!r} has one class only: {', '.join(classes) or 'no labels'}",
            where=str(archive),
            fix="give a target with at least two classes",
        )
    positive = _positive(classes, positive, archive)
    index = {name: k for k, name in enumerate(classes)}
    label = [int(v == positive) if positive is not None else index[v] for v in values]
    return Cohort(
        archive=archive,
        table=table,
        target=target,
        classes=classes,
        positive=positive,
        label=np.array(label, dtype=np.int64),
    )


def _choose(labels: pa.Table, target: str, archive: Path) -> str:
    known: list[str] = sorted(pc.unique(labels["target"]).to_pylist())
    if not known:
        raise DataError(
            "the archive has no labels",
            where=str(archive),
            fix="ingest it with --labels FILE --label COLUMN",
        )
    if target == "auto" and len(known) == 1:
        return known[0]
    if target not in known:
        problem = "several targets" if target == "auto" else f"no target called {target!r}"
        fix = f"--target {known[0]}" if target == "auto" else plugins.suggest(target, known)
        raise DataError(f"{problem}: {', '.join(known)}", where=str(archive), fix=fix)
    return target


def _positive(classes: tuple[str, ...], positive: str | None, archive: Path) -> str | None:
    if len(classes) > 2:
        if positive is not None:
            raise DataError(
                f"--positive {positive!r} needs two classes, there are {len(classes)}",
                where=str(archive),
                fix="leave it out: every class is compared with the rest",
            )
        return None
    if positive is None:
        return next((name for name in classes if name in _POSITIVE_WORDS), classes[-1])
    if positive not in classes:
        raise DataError(
            f"no class called {positive!r}",
            where=str(archive),
            fix=plugins.suggest(positive, list(classes)),
        )
    return positive


def ungrouped(cohort: Cohort) -> Cohort:
    """Return the cohort with every image as a patient of its own."""
    return replace(cohort, table=_owned_by(cohort.table, cohort.table["image_id"]))


def merged(cohort: Cohort, group_of: Mapping[str, str]) -> Cohort:
    """Return the cohort with the patients of one group as one.

    They go by the smallest of their keys in the cohort. So a patient whose others are elsewhere
    keeps its key, and every key is one of the archive.

    Args:
        cohort: The cohort.
        group_of: Patient key -> group; a patient without one is nobody else.
    """
    members: dict[str, set[str]] = {}
    for key in set(cohort.patients):
        members.setdefault(group_of.get(key, key), set()).add(key)
    several = [keys for keys in members.values() if len(keys) > 1]
    name_of = {key: min(keys) for keys in several for key in keys}
    names = pa.array([name_of.get(key, key) for key in cohort.patients], pa.string())
    counts = {"ids": len(name_of), "patients": len(several)}
    return replace(cohort, table=_owned_by(cohort.table, names), merged=counts)


def _owned_by(table: pa.Table, patients: pa.Array | pa.ChunkedArray) -> pa.Table:
    column = table.schema.get_field_index("patient_key")
    return table.set_column(column, "patient_key", patients)


def some_patients(cohort: Cohort, count: int) -> Cohort:
    """Return the images of ``count`` patients drawn evenly over the classes, in sorted order."""
    by_class: dict[str, list[str]] = {name: [] for name in cohort.classes}
    for patient, name in sorted(set(zip(cohort.patients, cohort.class_names, strict=True))):
        by_class[name].append(patient)
    chosen: set[str] = set()
    for rank in range(max(map(len, by_class.values()))):
        for members in by_class.values():
            if rank < len(members) and len(chosen) < count:
                chosen.add(members[rank])
    return cohort.rows(np.array([i for i, p in enumerate(cohort.patients) if p in chosen]))


def facts(cohort: Cohort, *, grouped: bool) -> tuple[str, ...]:
    """Return what there is to know about a cohort before training on it, a line each.

    Args:
        cohort: The cohort.
        grouped: Whether patients are known.
    """
    counts = Counter(cohort.class_names)
    shares = ", ".join(f"{name} {counts[name]}" for name in cohort.classes)
    found = [f"target {cohort.target}: {shares} images of {len(set(cohort.patients))} patients"]
    if cohort.positive is not None:
        found.append(f"positive class: {cohort.positive}")
    if cohort.merged:
        ids, patients = (cohort.merged[name] for name in ("ids", "patients"))
        found.append(
            f"{ids} patients merged into {patients} (probable aliases)"
            if ids
            else "no patients merged: of no probable alias are both in the cohort"
        )
    if not grouped:
        found.append("patients unknown: every image was treated as a patient of its own")
    mixed = patients_with_several_classes(cohort)
    if mixed:
        found.append(f"{mixed} patients have images of several classes")
    return tuple(found)


def patients_with_several_classes(cohort: Cohort) -> int:
    """Return how many patients have images of more than one class."""
    pairs = set(zip(cohort.patients, cohort.class_names, strict=True))
    return sum(n > 1 for n in Counter(patient for patient, _ in pairs).values())
