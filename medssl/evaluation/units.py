"""The unit of analysis: what counts as one observation, and whose it is.

The unit is the patient where all images of every patient agree on the label, otherwise the image.
Repeats of a cross-validation are averaged before anything is inferred: they make a score steadier
and never add observations.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.config.task import Kind, Task
from medssl.evaluation.metrics import Bools, Floats
from medssl.foundation.errors import DataError

Ints = NDArray[np.int64]
NO_FOLD = -1


@dataclass(frozen=True, kw_only=True)
class Units:
    """Labels and scores of U units in K columns, over R repeats, from P patients.

    A binary target has one column, and so has each of several targets and each amount. Several
    classes have one each, against the rest. Ordered classes have one for each cut between them:
    the classes from the cut on against those below it.
    """

    target: str
    task: Kind
    columns: tuple[str, ...]  # (K,) the target itself, or targets, classes or cuts
    kind: Literal["patient", "image"]
    reason: str  # why that unit
    truth: Floats  # (U, K) 1 = positive, or an amount; not-a-number where there is no label
    score: Floats  # (U, K) averaged over repeats; not-a-number likewise
    by_repeat: Floats  # (U, R, K) not-a-number where a repeat lacks the unit
    fold: Ints  # (U, R) fold the unit was tested in, NO_FOLD where unknown
    patient: Ints  # (U,) row of the patient, from 0 in sorted order of keys
    stratum: Ints  # (P,) patients of one class, or of mixed ones, are drawn among themselves;
    # of amounts and of several targets all patients are one stratum
    n_images: int
    grouped: bool  # whether patients are known
    sites: tuple[str, ...]

    @property
    def n_patients(self) -> int:
        """How many patients there are."""
        return len(np.unique(self.patient))

    @property
    def n_repeats(self) -> int:
        """How many predictions of one unit were averaged."""
        return int(self.by_repeat.shape[1])

    def known(self, column: int) -> Bools:
        """Return which units have a label in a column, shape (U,)."""
        return np.asarray(np.isfinite(self.truth[:, column]))

    def only(self, column: int) -> "Units":
        """Return one column with the units that have a label in it; patients keep their rows."""
        known = self.known(column)
        return replace(
            self,
            columns=(self.columns[column],),
            truth=self.truth[known][:, [column]],
            score=self.score[known][:, [column]],
            by_repeat=self.by_repeat[known][:, :, [column]],
            fold=self.fold[known],
            patient=self.patient[known],
        )

    def patients_with(self, column: int) -> int:
        """Return how many patients have a positive unit in a column."""
        return len(np.unique(self.patient[self.truth[:, column] == 1]))

    def patients_without(self, column: int) -> int:
        """Return how many patients have a negative unit in a column."""
        return len(np.unique(self.patient[self.truth[:, column] == 0]))


@dataclass(frozen=True, kw_only=True)
class _Images:
    """The table as arrays over I images."""

    truth: Floats  # (I, K)
    scores: Floats  # (I, R, K)
    fold: Ints  # (I, R)
    patient: Ints  # (I,)


def build(
    table: pa.Table,
    *,
    target: str,
    aggregate: Literal["mean", "max"],
    where: str,
    grouped: bool = True,
    task: Task | None = None,
) -> Units:
    """Return the units of the test rows of a table of predictions.

    Args:
        table: Columns as in `predictions.parquet`, rows in any order.
        target: What was predicted; the table names it, or each of its classes as ``target=class``.
        aggregate: How the image scores of a patient become one, within each repeat.
        where: What the table is called in messages.
        grouped: False where patients are unknown and every image counts as one.
        task: What the run asked for; None: one target with its classes, not ordered.

    Raises:
        DataError: There are no test rows, they are of another target, they contradict each other,
            a patient is tested in two folds of one repeat, or all labels are the same.
    """
    rows = table.filter(pc.equal(table["part"], "test"))
    if not rows.num_rows:
        raise DataError("holds no test predictions", where=where, fix="give a finished run")
    asked = _asked(task, tuple(sorted(rows["target"].unique().to_pylist())), target, where)
    images = _images(rows, asked, where)
    _require_variety(images, asked, where)
    differs = _patients_that_differ(images)
    n_mixed = int(differs.sum())
    kind: Literal["patient", "image"] = "image" if n_mixed or not grouped else "patient"
    fold = _fold_by_patient(images, where)
    chosen = _by_patient(images, fold, aggregate) if kind == "patient" else images
    return Units(
        target=target,
        task=asked.kind,
        columns=asked.shown,
        kind=kind,
        reason=_reason(n_mixed, len(differs), len(images.patient))
        if grouped
        else "patients are unknown, every image counts as one of its own",
        truth=chosen.truth,
        score=over_repeats(chosen.scores),
        by_repeat=chosen.scores,
        fold=chosen.fold,
        patient=chosen.patient,
        stratum=_strata(images, differs, asked.kind),
        n_images=len(images.patient),
        grouped=grouped,
        sites=tuple(sorted(site for site in rows["site"].unique().to_pylist() if site)),
    )


_MIXED = -1  # stratum of patients whose images disagree


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the columns of a table are."""

    kind: Kind
    names: tuple[str, ...]  # in the table
    shown: tuple[str, ...]  # in the report; of ordered classes one for each cut

    @property
    def one_of(self) -> bool:
        """Whether an image has exactly one of the columns."""
        return self.kind in ("multi_class", "ordinal") and len(self.names) > 1


def _asked(task: Task | None, names: tuple[str, ...], target: str, where: str) -> _Asked:
    """Return what the report calls the columns: the target, or its classes whatever their name."""
    prefix = f"{target}="
    if task is not None and task.kind in ("ordinal", "multi_label", "regression"):
        wanted = tuple(name for name in task.columns if name in names)
        shown = wanted
        if task.kind == "ordinal":
            shown = tuple(f"\N{GREATER-THAN OR EQUAL TO} {name}" for name in task.classes[1:])
        complete = task.kind != "ordinal" or wanted == task.columns
        if complete and set(wanted) == set(names):
            return _Asked(kind=task.kind, names=wanted, shown=shown)
    elif len(names) > 1 and all(name.startswith(prefix) for name in names):
        shown = tuple(name.removeprefix(prefix) for name in names)
        return _Asked(kind="multi_class", names=names, shown=shown)
    elif list(names) == [target]:
        return _Asked(kind="binary", names=names, shown=names)
    raise DataError(
        f"holds the targets {', '.join(names)} where {target!r} was to be found",
        where=where,
        fix="evaluate one target at a time, as `medssl finetune` predicted it",
    )


def _images(rows: pa.Table, asked: _Asked, where: str) -> _Images:
    names = asked.names
    image, n_images = _codes(rows["image_id"])
    patient, _ = _codes(rows["patient_key"])
    repeat, n_repeats = _codes(rows["repeat"])
    place = {name: k for k, name in enumerate(names)}
    column = np.array([place[name] for name in rows["target"].to_pylist()])
    label = rows["label"].to_numpy()
    fold = pc.fill_null(rows["fold"], NO_FOLD).to_numpy().astype(np.int64)

    scores = np.full((n_images, n_repeats, len(names)), np.nan)
    scores[image, repeat, column] = rows["score"].to_numpy()
    truth = np.full((n_images, len(names)), np.nan)
    truth[image, column] = label
    found = _Images(
        truth=truth,
        scores=scores,
        fold=_filled((n_images, n_repeats), (image, repeat), fold),
        patient=_filled((n_images,), (image,), patient),
    )
    partial = np.isfinite(scores).any(axis=2) & np.isnan(scores).any(axis=2)
    amounts = asked.kind == "regression"
    for wrong, problem in (
        (not amounts and not np.isin(label, (0, 1)).all(), "a label is neither 0 nor 1"),
        (not np.isfinite(label).all(), "a label is not a number"),
        (not np.isfinite(rows["score"].to_numpy()).all(), "a score is not a number"),
        (int(np.isfinite(scores).sum()) != rows.num_rows, "an image has two rows in one repeat"),
        ((truth[image, column] != label).any(), "an image has two labels"),
        ((found.patient[image] != patient).any(), "an image belongs to two patients"),
        ((found.fold[image, repeat] != fold).any(), "an image is in two folds of one repeat"),
        (asked.one_of and partial.any(), "an image lacks the score of a class"),
        (asked.one_of and (truth.sum(axis=1) != 1).any(), "an image has not exactly one class"),
    ):
        if wrong:
            raise DataError(problem, where=where, fix="write one row per image, class and repeat")
    return _cut(found) if asked.kind == "ordinal" else found


def _cut(images: _Images) -> _Images:
    """Return ordered classes as cuts: of each class but the lowest, that one or a higher."""
    truth, scores = (
        np.flip(np.cumsum(np.flip(values, -1), axis=-1), -1)[..., 1:]
        for values in (images.truth, images.scores)
    )
    return replace(images, truth=truth, scores=np.clip(scores, 0, 1))  # sums reach 1 + 1e-16


def _require_variety(images: _Images, asked: _Asked, where: str) -> None:
    """Refuse labels of which no column has two."""
    if any(len(np.unique(column[np.isfinite(column)])) > 1 for column in images.truth.T):
        return
    amounts = asked.kind == "regression"
    one = "the same" if amounts else f"{np.nanmax(images.truth[:, 0]):g}"
    raise DataError(
        f"there is one {'amount' if amounts else 'class'} only: every label is {one}",
        where=where,
        fix=f"give predictions for patients of {'other amounts' if amounts else 'both classes'}",
    )


def _codes(values: pa.ChunkedArray) -> tuple[Ints, int]:
    """Return the rank of each value among the distinct ones, and how many these are."""
    distinct, codes = np.unique(values.to_numpy(), return_inverse=True)
    return codes.astype(np.int64), len(distinct)


def _filled(shape: tuple[int, ...], place: tuple[Ints, ...], values: Ints) -> Ints:
    empty = np.full(shape, NO_FOLD, dtype=np.int64)
    empty[place] = values
    return empty


def _ends(images: _Images) -> tuple[Floats, Floats]:
    """Return the lowest and the highest label of each patient, each (P, K)."""
    shape = (int(images.patient.max()) + 1, images.truth.shape[1])
    lowest, highest = np.full(shape, np.nan), np.full(shape, np.nan)
    np.fmin.at(lowest, images.patient, images.truth)
    np.fmax.at(highest, images.patient, images.truth)
    return lowest, highest


def _patients_that_differ(images: _Images) -> Bools:
    """Say of each patient whether images differ in a label, shape (P,)."""
    lowest, highest = _ends(images)
    return np.asarray((lowest < highest).any(axis=1))


def _strata(images: _Images, differs: Bools, kind: Kind) -> Ints:
    """Return the class of each patient, or _MIXED, shape (P,)."""
    if kind in ("regression", "multi_label"):
        return np.zeros(len(differs), dtype=np.int64)
    held = np.unique(_ends(images)[0], axis=0, return_inverse=True)[1].ravel()
    return np.where(differs, _MIXED, held).astype(np.int64)


def _fold_by_patient(images: _Images, where: str) -> Ints:
    """Return the fold each patient is tested in, shape (P, R); refuse a patient with two."""
    shape = (int(images.patient.max()) + 1, images.fold.shape[1])
    fold = np.full(shape, NO_FOLD, dtype=np.int64)
    np.maximum.at(fold, images.patient, images.fold)
    differs = (images.fold != NO_FOLD) & (images.fold != fold[images.patient])
    n_split = len(np.unique(images.patient[differs.any(axis=1)]))
    if n_split:
        raise DataError(
            f"leakage: {n_split} of {len(fold)} patients are tested in two folds of one repeat",
            where=where,
            fix="split by patient and predict again",
        )
    return fold


def _by_patient(images: _Images, fold: Ints, aggregate: Literal["mean", "max"]) -> _Images:
    n_patients = len(fold)
    truth = _ends(images)[1]
    return _Images(
        truth=truth,
        scores=_aggregated(images, n_patients, aggregate),
        fold=fold,
        patient=np.arange(n_patients),
    )


def _aggregated(images: _Images, n_patients: int, aggregate: Literal["mean", "max"]) -> Floats:
    shape = (n_patients, *images.scores.shape[1:])
    if aggregate == "max":
        highest = np.full(shape, np.nan)
        np.fmax.at(highest, images.patient, images.scores)
        return highest
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, images.patient, np.nan_to_num(images.scores))
    np.add.at(count, images.patient, np.isfinite(images.scores))
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)


def over_repeats(scores: Floats) -> Floats:
    """Average (U, R, K) over the repeats that have the unit, to (U, K)."""
    there = np.isfinite(scores).sum(axis=1)
    total = np.nansum(scores, axis=1)
    mean = np.divide(total, there, out=np.full(total.shape, np.nan), where=there > 0)
    return np.asarray(mean)


def _reason(n_mixed: int, n_patients: int, n_images: int) -> str:
    if n_mixed:
        return f"in {n_mixed} of {n_patients} patients the images differ in label"
    if n_images == n_patients:
        return "every patient has one image"
    return "all images of every patient have the same label"
