"""The unit of analysis: what counts as one observation, and whose it is.

The unit is the patient where all images of every patient agree on the label, otherwise the image.
Repeats of a cross-validation are averaged before anything is inferred: they make a score steadier
and never add observations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.config.task import Task
from medssl.evaluation.metrics import Floats
from medssl.foundation.errors import DataError

Ints = NDArray[np.int64]
NO_FOLD = -1


@dataclass(frozen=True, kw_only=True)
class Units:
    """Labels and scores of U units in K columns, over R repeats, from P patients.

    A binary target has one column; several classes have one each, against the rest.
    """

    target: str
    columns: tuple[str, ...]  # (K,) the target itself, or its classes
    kind: Literal["patient", "image"]
    reason: str  # why that unit
    truth: Ints  # (U, K) 1 = positive
    score: Floats  # (U, K) averaged over repeats
    by_repeat: Floats  # (U, R, K) not-a-number where a repeat lacks the unit
    fold: Ints  # (U, R) fold the unit was tested in, NO_FOLD where unknown
    patient: Ints  # (U,) row of the patient, from 0 in sorted order of keys
    stratum: Ints  # (P,) patients of one class, or of several, are drawn among themselves
    n_images: int
    grouped: bool  # whether patients are known
    sites: tuple[str, ...]

    @property
    def n_patients(self) -> int:
        """How many patients there are."""
        return len(self.stratum)

    @property
    def n_repeats(self) -> int:
        """How many predictions of one unit were averaged."""
        return int(self.by_repeat.shape[1])

    def patients_with(self, column: int) -> int:
        """Return how many patients have a positive unit in a column."""
        return len(np.unique(self.patient[self.truth[:, column] == 1]))

    def patients_without(self, column: int) -> int:
        """Return how many patients have a negative unit in a column."""
        return len(np.unique(self.patient[self.truth[:, column] == 0]))


@dataclass(frozen=True, kw_only=True)
class _Images:
    """The table as arrays over I images."""

    truth: Ints  # (I, K)
    scores: Floats  # (I, R, K)
    fold: Ints  # (I, R)
    patient: Ints  # (I,)


def require_judged(task: Task, where: str) -> None:
    """Refuse predictions of a kind that is not judged yet, rather than judge them as another.

    Raises:
        DataError: They are amounts, or of several targets.
    """
    if task.kind == "regression":
        raise DataError(
            f"{task.name} is an amount, and only classes are judged yet",
            where=where,
            fix="look at the correlations that `medssl finetune` printed, or read label and "
            "score from predictions.parquet",
        )
    if task.kind == "multi_label":
        raise DataError(
            f"predicts {len(task.targets)} targets at once ({task.name}), and only one at a time "
            "is judged yet",
            where=where,
            fix="give a table of the rows of one target with --predictions (columns patient_id, "
            "image_id, label, score, repeat, fold)",
        )


def build(
    table: pa.Table,
    *,
    target: str,
    aggregate: Literal["mean", "max"],
    where: str,
    grouped: bool = True,
) -> Units:
    """Return the units of the test rows of a table of predictions.

    Args:
        table: Columns as in `predictions.parquet`, rows in any order.
        target: What was predicted; the table names it, or each of its classes as ``target=class``.
        aggregate: How the image scores of a patient become one, within each repeat.
        where: What the table is called in messages.
        grouped: False where patients are unknown and every image counts as one.

    Raises:
        DataError: There are no test rows, they are of another target, they contradict each other,
            a patient is tested in two folds of one repeat, or there is one class only.
    """
    rows = table.filter(pc.equal(table["part"], "test"))
    if not rows.num_rows:
        raise DataError("holds no test predictions", where=where, fix="give a finished run")
    names = tuple(sorted(rows["target"].unique().to_pylist()))
    columns = _columns(names, target, where)
    images = _images(rows, names, where)
    if len(columns) == 1 and len(np.unique(images.truth)) < 2:
        raise DataError(
            f"there is one class only: every label is {images.truth[0, 0]}",
            where=where,
            fix="give predictions for patients of both classes",
        )
    held = np.unique(images.truth, axis=0, return_inverse=True)[1].ravel()  # (I,) class by number
    stratum = _strata(held, images.patient)
    n_mixed = int((stratum == _MIXED).sum())
    kind: Literal["patient", "image"] = "image" if n_mixed or not grouped else "patient"
    fold = _fold_by_patient(images, where)
    chosen = _by_patient(images, fold, aggregate) if kind == "patient" else images
    return Units(
        target=target,
        columns=columns,
        kind=kind,
        reason=_reason(n_mixed, len(stratum), len(images.patient))
        if grouped
        else "patients are unknown, every image counts as one of its own",
        truth=chosen.truth,
        score=_over_repeats(chosen.scores),
        by_repeat=chosen.scores,
        fold=chosen.fold,
        patient=chosen.patient,
        stratum=stratum,
        n_images=len(images.patient),
        grouped=grouped,
        sites=tuple(sorted(site for site in rows["site"].unique().to_pylist() if site)),
    )


_MIXED = -1  # stratum of patients whose images disagree


def _columns(names: Sequence[str], target: str, where: str) -> tuple[str, ...]:
    """Return what the report calls the columns: the target, or its classes whatever their name."""
    prefix = f"{target}="
    if len(names) > 1 and all(name.startswith(prefix) for name in names):
        return tuple(name.removeprefix(prefix) for name in names)
    if list(names) != [target]:
        raise DataError(
            f"holds the targets {', '.join(names)} where {target!r} was to be found",
            where=where,
            fix="evaluate one target at a time, as `medssl finetune` predicted it",
        )
    return (target,)


def _images(rows: pa.Table, names: tuple[str, ...], where: str) -> _Images:
    image, n_images = _codes(rows["image_id"])
    patient, _ = _codes(rows["patient_key"])
    repeat, n_repeats = _codes(rows["repeat"])
    column = np.searchsorted(np.array(names), rows["target"].to_numpy())
    written = rows["label"].to_numpy()
    label = written.astype(np.int64)
    fold = pc.fill_null(rows["fold"], NO_FOLD).to_numpy().astype(np.int64)

    scores = np.full((n_images, n_repeats, len(names)), np.nan)
    scores[image, repeat, column] = rows["score"].to_numpy()
    truth = _filled((n_images, len(names)), (image, column), label)
    found = _Images(
        truth=truth,
        scores=scores,
        fold=_filled((n_images, n_repeats), (image, repeat), fold),
        patient=_filled((n_images,), (image,), patient),
    )
    partial = np.isfinite(scores).any(axis=2) & np.isnan(scores).any(axis=2)
    for wrong, problem in (
        (not np.isin(written, (0, 1)).all(), "a label is neither 0 nor 1"),
        (not np.isfinite(rows["score"].to_numpy()).all(), "a score is not a number"),
        (int(np.isfinite(scores).sum()) != rows.num_rows, "an image has two rows in one repeat"),
        ((truth[image, column] != label).any(), "an image has two labels"),
        ((found.patient[image] != patient).any(), "an image belongs to two patients"),
        ((found.fold[image, repeat] != fold).any(), "an image is in two folds of one repeat"),
        (partial.any(), "an image lacks the score of a class"),
        (len(names) > 1 and (truth.sum(axis=1) != 1).any(), "an image has not exactly one class"),
    ):
        if wrong:
            raise DataError(problem, where=where, fix="write one row per image, class and repeat")
    return found


def _codes(values: pa.ChunkedArray) -> tuple[Ints, int]:
    """Return the rank of each value among the distinct ones, and how many these are."""
    distinct, codes = np.unique(values.to_numpy(), return_inverse=True)
    return codes.astype(np.int64), len(distinct)


def _filled(shape: tuple[int, ...], place: tuple[Ints, ...], values: Ints) -> Ints:
    empty = np.full(shape, NO_FOLD, dtype=np.int64)
    empty[place] = values
    return empty


def _strata(held: Ints, patient: Ints) -> Ints:
    """Return the class of each patient, or _MIXED, shape (P,)."""
    n_patients = int(patient.max()) + 1
    lowest, highest = np.full(n_patients, len(held)), np.full(n_patients, -1)
    np.minimum.at(lowest, patient, held)
    np.maximum.at(highest, patient, held)
    return np.where(lowest == highest, lowest, _MIXED)


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
    truth = np.zeros((n_patients, images.truth.shape[1]), dtype=np.int64)
    truth[images.patient] = images.truth
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


def _over_repeats(scores: Floats) -> Floats:
    """Average (U, R, K) over the repeats that have the unit, to (U, K)."""
    return np.asarray(np.nansum(scores, axis=1) / np.isfinite(scores).sum(axis=1))


def _reason(n_mixed: int, n_patients: int, n_images: int) -> str:
    if n_mixed:
        return f"in {n_mixed} of {n_patients} patients the images differ in label"
    if n_images == n_patients:
        return "every patient has one image"
    return "all images of every patient have the same label"
