"""Thresholds for a declared sensitivity or specificity, chosen where nobody is tested.

Each model has its own: chosen on the inner part of its fold, applied to the test part. Of n inner
positives ceil(s (n + 1)) must reach the threshold, not ceil(s n): then a new positive does with a
probability of at least s (conformal risk control, Angelopoulos et al., arXiv:2208.02814), where
the plain share falls short of its target by about 1 / (n + 1).
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medssl.evaluation import sizes, units
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Units
from medssl.foundation.errors import DataError, UsageError

Goal = Literal["sensitivity", "specificity"]
_ROUNDING = 1e-9  # 0.9 * 30 is not to become 28


@dataclass(frozen=True, kw_only=True)
class Target:
    """What was declared before anything was judged."""

    metric: Goal
    at_least: float  # 0 to 1


@dataclass(frozen=True, kw_only=True)
class FoldThreshold:
    """The threshold of one model, and what its inner part made of it."""

    repeat: int
    fold: int
    threshold: float  # a score this high or higher is called positive
    inner_sensitivity: float
    inner_specificity: float
    inner_positives: int  # patients with a positive unit
    inner_negatives: int
    inner_mixed: int = 0  # patients left out: their images differ in label, and patients are judged


def choose(
    table: pa.Table,
    judged: Units,
    target: Target,
    *,
    aggregate: Literal["mean", "max"],
    where: str,
    distinct: bool = False,
) -> tuple[FoldThreshold, ...]:
    """Return the threshold of every model that was tested, by repeat and fold.

    Args:
        table: Columns as in `predictions.parquet`; the labels of its test rows are not read.
        judged: What the thresholds are for; inner rows become units of the same kind.
        target: What is to be reached.
        aggregate: As for the units.
        where: What the table is called in messages.
        distinct: As for `reaching`.

    Raises:
        DataError: A model has no inner rows, too few patients of a class in them, a patient of its
            own test part, or inner rows that make no units of that kind.
        UsageError: The task has no two classes.
    """
    if judged.task != "binary":
        raise UsageError(
            f"a threshold is chosen for two classes, and this task is {judged.task}",
            where=f"target_{target.metric}",
            fix="leave it out, and give --threshold",
        )
    inner = table.filter(pc.equal(table["part"], "inner"))
    test = table.filter(pc.equal(table["part"], "test"))
    pairs = test.select(["repeat", "fold"]).group_by(["repeat", "fold"]).aggregate([])
    tested = sorted((row["repeat"], -1 if row["fold"] is None else row["fold"])
                    for row in pairs.to_pylist())  # fmt: skip
    found = []
    for repeat, fold in tested:
        name = f"{where}, repeat {repeat}, fold {fold}"
        every = _of(inner, repeat, fold)
        _require_apart(every, _of(test, repeat, fold), name)
        rows, n_mixed = _of_one_label(every, judged)
        holders, part, threshold = _holders(rows), None, None
        if min(holders) >= sizes.FEWEST_PATIENTS:
            part = _alike(rows, judged, aggregate, name)
            truth = part.truth[:, 0] == 1
            threshold = reaching(part.score[:, 0], truth, target, distinct=distinct)
        if part is None or threshold is None:
            _refuse_few(holders, target, name)
        told = _told(part, threshold, holders, (repeat, fold))
        found.append(replace(told, inner_mixed=n_mixed))
    return tuple(found)


def reaching(
    score: Floats, positive: np.ndarray, target: Target, *, distinct: bool = False
) -> float | None:
    """Return the threshold that reaches a target for a new unit, or None where none does.

    The highest that reaches a sensitivity, or the lowest that reaches a specificity.

    Args:
        score: Shape (N,).
        positive: Shape (N,), True for the positive class.
        target: What is to be reached.
        distinct: Keep clear of equal scores, which a calibrator makes many of, and whose means
            differ in their last digits: a little below, or at the next score that there is.
    """
    own = np.sort(score[positive if target.metric == "sensitivity" else ~positive])
    k = math.ceil(target.at_least * (len(own) + 1) - _ROUNDING)
    if k > len(own):
        return None
    if target.metric == "sensitivity":
        return float(own[len(own) - k] - (_ROUNDING if distinct else 0))
    if not distinct:
        return float(np.nextafter(own[k - 1], np.inf))
    above = own[k - 1] + _ROUNDING
    higher = score[score > above]
    return float(higher.min() if len(higher) else above)


def needed(share: float) -> int:
    """Return of how many units a share can be reached for a new one.

    >>> needed(0.9), needed(0.95), needed(0.5)
    (9, 19, 1)
    """
    return math.ceil(round(share / (1 - share), 6))


def _of(rows: pa.Table, repeat: int, fold: int) -> pa.Table:
    same = pc.and_(pc.equal(rows["repeat"], repeat), pc.equal(pc.fill_null(rows["fold"], -1), fold))
    return rows.filter(same)


def _require_apart(inner: pa.Table, test: pa.Table, where: str) -> None:
    """Refuse an inner part that is absent, or that shares patients with the test part."""
    if not inner.num_rows:
        raise DataError(
            "there are no inner predictions to choose a threshold on",
            where=where,
            fix="fine-tune with --inner 0.2, or give a --threshold fixed beforehand",
        )
    both = set(inner["patient_key"].to_pylist()) & set(test["patient_key"].to_pylist())
    if both:
        raise DataError(
            f"leakage: {len(both)} patients of the inner part are in the test part as well",
            where=where,
            fix="choose the threshold on patients who are not tested",
        )


def _holders(rows: pa.Table) -> tuple[int, int]:
    """Return how many patients have a positive row, and how many a negative one."""
    label = rows["label"].to_numpy()
    keys = np.asarray(rows["patient_key"].to_pylist())
    return len(np.unique(keys[label == 1])), len(np.unique(keys[label == 0]))


def _of_one_label(rows: pa.Table, judged: Units) -> tuple[pa.Table, int]:
    """Return the rows of inner patients who are units where patients of several images are judged.

    Who has images of both labels is left out there, and counted.
    """
    if judged.kind != "patient" or judged.n_images == len(judged.truth):
        return rows, 0
    held: dict[str, set[float]] = {}
    keys = rows["patient_key"].to_pylist()
    for key, label in zip(keys, rows["label"].to_pylist(), strict=True):
        held.setdefault(key, set()).add(label)
    mixed = {key for key, labels in held.items() if len(labels) > 1}
    return rows.filter(pa.array([key not in mixed for key in keys])), len(mixed)


def _alike(rows: pa.Table, judged: Units, aggregate: Literal["mean", "max"], where: str) -> Units:
    """Return inner rows as units of the kind that is judged."""
    return units.build(
        rows.set_column(rows.schema.get_field_index("part"), "part", [["test"] * len(rows)]),
        target=judged.target,
        aggregate=aggregate,
        where=where,
        grouped=judged.kind == "patient",
    )


def _refuse_few(holders: tuple[int, int], target: Target, where: str) -> NoReturn:
    own = holders[0 if target.metric == "sensitivity" else 1]
    raise DataError(
        f"too few inner patients to choose a threshold on: {holders[0]} positive and "
        f"{holders[1]} negative, where each class needs {sizes.FEWEST_PATIENTS} and a "
        f"{target.metric} of {target.at_least:g} needs {needed(target.at_least)} (of {own})",
        where=where,
        fix="fine-tune with a larger --inner, or declare a lower target",
    )


def _told(
    part: Units, threshold: float, holders: tuple[int, int], model: tuple[int, int]
) -> FoldThreshold:
    """Return the threshold of a model, by repeat and fold, with what its inner part makes of it."""
    score, positive = part.score[:, 0], part.truth[:, 0] == 1
    return FoldThreshold(
        repeat=model[0],
        fold=model[1],
        threshold=threshold,
        inner_sensitivity=float((score[positive] >= threshold).mean()),
        inner_specificity=float((score[~positive] < threshold).mean()),
        inner_positives=holders[0],
        inner_negatives=holders[1],
    )
