"""A cohort: what is labelled for a task, image by image or series by series."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.artifacts import archive as archives
from medssl.config.task import Kind, Task
from medssl.data import labels as label_values
from medssl.data import volumes
from medssl.foundation import plugins
from medssl.foundation.errors import DataError
from medssl.foundation.wording import counted, listed

_SHOWN = 14  # classes, or two sides of seven targets
_PARTS = 5  # of the patients by their amount: strata of a regression


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Images or series and their labels; what has no label is left out."""

    archive: Path
    table: pa.Table  # rows of images.parquet in archive order; of series, as `volumes.table` has
    task: Task
    label: NDArray[np.float64]  # (N, T): 0 or 1, a class number or an amount; see `labels.pose`
    whole_series: bool = False  # a row is a series, not an image
    merged: Mapping[str, int] = field(default_factory=dict)  # ids that are one patient with
    # another, and patients they came to; empty where no list of aliases was given
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of each of several
    # targets, the words of the archive; empty of one target, whose task has them
    too_short: int = 0  # labelled series left out, as they have fewer slices than were asked for

    def __len__(self) -> int:
        """Return how many images or series there are."""
        return len(self.label)

    @property
    def patients(self) -> list[str]:
        """Patient key of each row."""
        keys: list[str] = self.table["patient_key"].to_pylist()
        return keys

    @property
    def unit(self) -> str:
        """What a row is called."""
        return "series" if self.whole_series else "image"

    @property
    def strata(self) -> list[tuple[str, ...]]:
        """What each row counts as where patients are stratified: the names of its classes.

        Of several targets each has classes of its own, so no two of them share a name.
        """
        task = self.task
        if task.kind == "regression":
            return self._parts()
        if task.kind == "multi_label":
            return [
                tuple(
                    f"{name}={'yes' if value else 'no'}"
                    for name, value in zip(task.targets, row, strict=True)
                    if np.isfinite(value)
                )
                for row in self.label
            ]
        if task.kind == "binary":
            other = next(name for name in task.classes if name != task.positive)
            return [(str(task.positive) if k else other,) for k in self.label[:, 0]]
        return [(task.classes[int(k)],) for k in self.label[:, 0]]

    def _parts(self) -> list[tuple[str, ...]]:
        """Return for each row in which part of the patients, by their mean amount, its own is."""
        names, owner = np.unique(np.array(self.patients), return_inverse=True)
        first = self.label[:, 0]
        known = np.isfinite(first)
        total = np.bincount(owner[known], first[known], minlength=len(names))
        count = np.bincount(owner[known], minlength=len(names))
        mean = np.divide(total, count, out=np.full(len(names), np.nan), where=count > 0)
        n_parts = min(_PARTS, max(2, len(names) // 10))
        part = np.empty(len(names), dtype=np.int64)
        part[np.argsort(mean, kind="stable")] = np.arange(len(names)) * n_parts // len(names)
        return [(f"part {part[k] + 1} of {n_parts}",) for k in owner]

    def rows(self, numbers: NDArray[np.int64]) -> Self:
        """Return some rows of the cohort."""
        return replace(self, table=self.table.take(numbers), label=self.label[numbers])


def read(
    archive: Path,
    targets: tuple[str, ...] | None,
    *,
    kind: Kind | None = None,
    order: tuple[str, ...] = (),
    positive: str | None = None,
    least_slices: int = 0,
) -> Cohort:
    """Return the cohort of one or several targets.

    Args:
        archive: Archive folder.
        targets: Label columns; None: the only one there is.
        kind: Of the task; None: from the labels.
        order: Classes of an ordinal target, lowest first; empty: as sorted.
        positive: Positive class of a binary target; None: 1 or true, else the last class.
        least_slices: Rows are series of so many images or more; 0: rows are images.

    Raises:
        DataError: There is no such target, fewer than two classes, or no such positive class; or a
            series has images of different labels.
        ArtifactError: The archive cannot be read.
    """
    labels = archives.read_labels(archive)
    found = _labelled(archive, labels, _choose(labels, targets, archive), least_slices)
    task, numbers = label_values.pose(
        found.values, kind=kind, order=order, positive=positive, where=archive
    )
    cohort = _cohort(archive, found, task, numbers, least_slices)
    if task.kind != "multi_label":
        return cohort
    known = {name: {one for one in values if one is not None}
             for name, values in found.values.items()}  # fmt: skip
    return replace(cohort, classes={name: tuple(sorted(held)) for name, held in known.items()})


def read_as(
    archive: Path,
    task: Task,
    classes: Mapping[str, Sequence[str]],
    *,
    called: Mapping[str, str],
    words: Mapping[str, str | None],
    least_slices: int = 0,
) -> Cohort:
    """Return what an archive has labels of for a task that was posed by other labels.

    Args:
        archive: Archive folder.
        task: Whose classes, order and positive class hold.
        classes: Of each target the class names that the task knows, of several targets the
            positive one last; see `labels.answer`.
        called: Target of the task -> label column of the archive; of several targets those that
            the archive has.
        words: Class of the archive -> class of the task, or None: as if it had no label.
        least_slices: Rows are series of so many images or more; 0: rows are images.

    Raises:
        DataError: There is no such target, a label is no class of the task, or a series has images
            of different labels.
        ArtifactError: The archive cannot be read.
    """
    labels = archives.read_labels(archive)
    _choose(labels, tuple(called.values()), archive)
    found = _labelled(archive, labels, tuple(called.values()), least_slices, words)
    values = {ours: found.values[theirs] for ours, theirs in called.items()}
    task = replace(task, targets=tuple(name for name in task.targets if name in called))
    numbers = label_values.answer(values, task, classes, where=archive)
    return _cohort(archive, found, task, numbers, least_slices)


@dataclass(frozen=True, kw_only=True)
class _Labelled:
    """Rows with a label of any target, and their labels as text."""

    table: pa.Table
    values: Mapping[str, list[str | None]]  # by target, one per row
    too_short: int


def _labelled(
    archive: Path,
    labels: pa.Table,
    chosen: tuple[str, ...],
    least_slices: int,
    words: Mapping[str, str | None] = MappingProxyType({}),
) -> _Labelled:
    images = archives.read_images(archive)
    ids = images["image_id"].to_pylist()
    value_of = {target: _values(labels, target, words) for target in chosen}
    known = [i for i, name in enumerate(ids) if any(name in of for of in value_of.values())]
    too_short = 0
    if least_slices and known:
        table, too_short = _series(images, known, least_slices)
        value_of = {t: _of_series(images, of, t, archive) for t, of in value_of.items()}
        names = table["series_key"].to_pylist()
    else:
        table = images.take(np.array(known, dtype=np.int64))
        names = table["image_id"].to_pylist()
    values = {target: [of.get(name) for name in names] for target, of in value_of.items()}
    return _Labelled(table=table, values=values, too_short=too_short)


def _cohort(
    archive: Path, found: _Labelled, task: Task, numbers: NDArray[np.float64], least_slices: int
) -> Cohort:
    return Cohort(
        archive=archive,
        table=found.table,
        task=task,
        label=numbers,
        whole_series=least_slices > 0,
        too_short=found.too_short,
    )


def _values(labels: pa.Table, target: str, words: Mapping[str, str | None]) -> dict[str, str]:
    rows = labels.filter(pc.equal(labels["target"], target)).drop_null()
    pairs = zip(rows["image_id"].to_pylist(), rows["value"].to_pylist(), strict=True)
    meant = ((name, words.get(value, value)) for name, value in pairs)
    return {name: value for name, value in meant if value is not None}


def _series(images: pa.Table, known: list[int], least: int) -> tuple[pa.Table, int]:
    """Return one row per series of which an image is labelled, and how many were too short."""
    wanted = pc.unique(images["series_key"].take(pa.array(known, pa.int64())))
    held = images.filter(pc.is_in(images["series_key"], value_set=wanted))
    found = volumes.table(held, least=least)
    if pc.max(found["n_slices"]).as_py() < volumes.LEAST_SLICES:
        raise DataError(
            f"no series has {volumes.LEAST_SLICES} slices or more, so there is nothing to pool",
            fix="train on images: --pooling none",
        )
    return found, len(wanted) - len(found)


def _of_series(images: pa.Table, of: Mapping[str, str], target: str, where: Path) -> dict[str, str]:
    """Return the label of each series: the one of all its labelled images."""
    found: dict[str, set[str]] = {}
    pairs = zip(images["series_key"].to_pylist(), images["image_id"].to_pylist(), strict=True)
    for series, image in pairs:
        if image in of:
            found.setdefault(series, set()).add(of[image])
    n_mixed = sum(len(held) > 1 for held in found.values())
    if n_mixed:
        raise DataError(
            f"{counted(n_mixed, 'series')} of {len(found)} have images of different "
            f"{target!r}: their label is one of images, not of series",
            where=str(where),
            fix="train on images: --spatial-dims 2 --pooling none",
        )
    return {series: next(iter(held)) for series, held in found.items()}


def _choose(labels: pa.Table, targets: tuple[str, ...] | None, archive: Path) -> tuple[str, ...]:
    known: list[str] = sorted(pc.unique(labels["target"]).to_pylist())
    if not known:
        raise DataError(
            "the archive has no labels",
            where=str(archive),
            fix="ingest it with --labels FILE --label COLUMN",
        )
    if targets is None:
        if len(known) == 1:
            return (known[0],)
        raise DataError(
            f"several targets: {listed(known)}",
            where=str(archive),
            fix=f"--target {known[0]}",
        )
    for target in targets:
        if target not in known:
            raise DataError(
                f"no target called {target!r}: {listed(known)}",
                where=str(archive),
                fix=plugins.suggest(target, known),
            )
    return tuple(dict.fromkeys(targets))


def ungrouped(cohort: Cohort) -> Cohort:
    """Return the cohort with every series as a patient of its own; a loose image is one.

    Slices of a series show one body: apart they would be on both sides of a split.
    """
    return replace(cohort, table=_owned_by(cohort.table, cohort.table["series_key"]))


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


def owned_by(cohort: Cohort, patients: Sequence[str]) -> Cohort:
    """Return the cohort with other patients, one key per row."""
    return replace(cohort, table=_owned_by(cohort.table, pa.array(patients, pa.string())))


def _owned_by(table: pa.Table, patients: pa.Array | pa.ChunkedArray) -> pa.Table:
    column = table.schema.get_field_index("patient_key")
    return table.set_column(column, "patient_key", patients)


def some_patients(cohort: Cohort, count: int) -> Cohort:
    """Return the rows of ``count`` patients drawn evenly over the classes, in sorted order."""
    by_class: dict[str, set[str]] = {}
    for patient, names in zip(cohort.patients, cohort.strata, strict=True):
        for name in names:
            by_class.setdefault(name, set()).add(patient)
    ordered = [sorted(by_class[name]) for name in sorted(by_class)]
    chosen: set[str] = set()
    for rank in range(max(map(len, ordered))):
        for members in ordered:
            if rank < len(members) and len(chosen) < count:
                chosen.add(members[rank])
    return cohort.rows(np.array([i for i, p in enumerate(cohort.patients) if p in chosen]))


def facts(cohort: Cohort, *, grouped: bool) -> tuple[str, ...]:
    """Return what there is to know about a cohort before training on it, a line each.

    Args:
        cohort: The cohort.
        grouped: Whether patients are known.
    """
    task = cohort.task
    found = [
        f"target {task.name} ({task.kind}): {_shares(cohort)} "
        f"{cohort.unit if cohort.whole_series else 'images'} of "
        f"{len(set(cohort.patients))} patients"
    ]
    if task.positive is not None:
        found.append(f"positive class: {task.positive}")
    if task.kind == "multi_class" and label_values.are_numbers(task.classes):
        found.append("the classes are numbers: --task ordinal keeps their order")
    if cohort.merged:
        ids, patients = (cohort.merged[name] for name in ("ids", "patients"))
        found.append(
            f"{ids} patients merged into {patients} (probable aliases)"
            if ids
            else "no patients merged: of no probable alias are both in the cohort"
        )
    if cohort.too_short:
        found.append(f"{counted(cohort.too_short, 'series')} left out: one image is no volume")
    if not grouped:
        unit = cohort.unit if len(set(cohort.patients)) == len(cohort) else "series"
        found.append(f"patients unknown: every {unit} was treated as a patient of its own")
    mixed = patients_with_several_classes(cohort)
    if mixed:
        found.append(f"{mixed} patients have {cohort.unit}s of several classes")
    return tuple(found)


def _shares(cohort: Cohort) -> str:
    if cohort.task.kind == "regression":
        known = cohort.label[np.isfinite(cohort.label[:, 0]), 0]
        return f"{known.min():.4g} to {known.max():.4g}, mean {known.mean():.4g}, in {len(cohort)}"
    counts = counts_of_classes(cohort)
    return listed([f"{name} {n}" for name, n in counts.items()], _SHOWN)


def counts_of_classes(cohort: Cohort) -> dict[str, int]:
    """Return how many rows each class has; of amounts, how many each part of their range."""
    counts = Counter(name for names in cohort.strata for name in names)
    order = cohort.task.classes or sorted(counts)
    return {name: counts[name] for name in order}


def patients_with_several_classes(cohort: Cohort) -> int:
    """Return how many patients have rows of more than one class; 0 for amounts."""
    if cohort.task.kind == "regression":
        return 0
    pairs = set(zip(cohort.patients, cohort.strata, strict=True))
    return sum(n > 1 for n in Counter(patient for patient, _ in pairs).values())
