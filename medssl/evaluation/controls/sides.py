"""Which rows each model of a cross-validation tests, and which it learns from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medssl.artifacts.archive import NO_PATIENT
from medssl.artifacts.splits import Splits
from medssl.evaluation.controls.verdicts import Verdict
from medssl.foundation.wording import counted

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
NOWHERE = -1


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The sides of N rows, or of N patients, over R repeats of F folds."""

    tested: Ints  # (R, N) fold that tests them, or NOWHERE: learned from in all folds
    left_out: Bools  # (R, F, N) on neither side

    @property
    def n_folds(self) -> int:
        """Folds of each repeat."""
        return int(self.left_out.shape[1])

    def test(self, repeat: int, fold: int) -> Bools:
        """Return who is tested, shape (N,)."""
        return np.asarray(self.tested[repeat] == fold)

    def train(self, repeat: int, fold: int) -> Bools:
        """Return whom the model learns from or chooses on, shape (N,)."""
        return np.asarray((self.tested[repeat] != fold) & ~self.left_out[repeat, fold])

    def parts(self) -> list[tuple[int, int]]:
        """Return repeat and fold of every model that tests somebody."""
        return [
            (repeat, fold)
            for repeat in range(len(self.tested))
            for fold in range(self.n_folds)
            if self.test(repeat, fold).any()
        ]


def of_splits(plan: Splits, owners: Sequence[str]) -> Sides:
    """Return the sides of rows.

    Args:
        plan: Who is tested where.
        owners: Who each row belongs to, by the keys of the plan, shape (N,).
    """
    names = np.array(owners, dtype=str)
    shape = (len(plan.test_fold), plan.n_folds, len(names))
    left_out = np.zeros(shape, dtype=bool)
    for groups in (plan.unused, plan.barred):
        for repeat, folds in enumerate(groups):
            for fold, keys in enumerate(folds):
                left_out[repeat, fold] |= np.isin(names, list(keys))
    return Sides(tested=_tested(plan.test_fold, owners), left_out=left_out)


def _tested(plans: Sequence[Mapping[str, int]], owners: Sequence[str]) -> Ints:
    return np.array([[plan.get(key, NOWHERE) for key in owners] for plan in plans], dtype=np.int64)


def true_patients(rows: pa.Table) -> tuple[Ints, int]:
    """Return whose each image is as far as an archive knows, and how many are nobody's.

    Where no patient is known, the images of a series are one patient's.

    Args:
        rows: Of `images.parquet`, N of them.

    Returns:
        Numbers of patients from 0, shape (N,), and a count.
    """
    nobody = [NO_PATIENT in (flags or ()) for flags in rows["flags"].to_pylist()]
    keys = (rows[name].to_pylist() for name in ("patient_key", "series_key"))
    names = np.array(
        [f"s{series}" if lost else f"p{patient}"
         for patient, series, lost in zip(*keys, nobody, strict=True)]
    )  # fmt: skip
    return np.unique(names, return_inverse=True)[1].astype(np.int64), sum(nobody)


def torn(sides: Sides, patient: Ints) -> Ints:
    """Return the patients with a row that a model learned from and one that it tests.

    Args:
        sides: Of N rows.
        patient: Shape (N,); number of the patient of each row.
    """
    found = [
        np.intersect1d(patient[sides.test(*part)], patient[sides.train(*part)])
        for part in sides.parts()
    ]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def across(sides: Sides, left: Ints, right: Ints) -> Bools:
    """Say of pairs of rows whether a model learned from one and tests the other, shape (P,)."""
    found = np.zeros(len(left), dtype=bool)
    for part in sides.parts():
        test, train = sides.test(*part), sides.train(*part)
        found |= (test[left] & train[right]) | (test[right] & train[left])
    return found


def judge(sides: Sides, patient: Ints, *, unknown: int = 0) -> Verdict:
    """Return whether every patient is on one side.

    Args:
        sides: Of N rows.
        patient: Shape (N,); number of the patient of each row, as the archive knows them.
        unknown: Rows without a patient, each of which counts as one of its own.
    """
    n, patients = len(torn(sides, patient)), len(np.unique(patient))
    details = {"patients": patients, "on_both_sides": n, "images_without_patient": unknown}
    if n:
        return Verdict(
            name="split",
            light="fail",
            value=n,
            said=f"{n} of {counted(patients, 'patient')} were both tested and learned from by one "
            "model: the estimates are too high",
            details=details,
        )
    if unknown:
        return Verdict(
            name="split",
            light="warn",
            value=unknown,
            said=f"{counted(unknown, 'image')} of no known patient: nobody can say whether one "
            "is on both sides",
            details=details,
        )
    return Verdict(
        name="split",
        light="pass",
        value=0,
        said=f"none of {counted(patients, 'patient')} was both tested and learned from by one "
        "model",
        details=details,
    )
