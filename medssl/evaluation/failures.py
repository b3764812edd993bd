"""Who was called wrongly with the most confidence: by a fixed rule, never picked by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

from medssl.evaluation import confident
from medssl.evaluation.units import NO_FOLD, Units

TASKS = ("binary", "multi_class")
WRONG = ("false positive", "false negative")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One unit that was called wrongly, by its pseudonyms."""

    column: str
    kind: str  # false positive or false negative
    patient_key: str
    image_id: str | None  # None where the unit is the patient
    score: float
    folds: tuple[int | None, ...]  # of each repeat; None where the unit was not tested in it


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Those shown, and how many there are."""

    reason: str  # why there is no list; empty where there is one
    most: int  # shown of each kind and column
    rows: tuple[Failure, ...] = ()
    counts: tuple[tuple[str, int, int], ...] = ()  # column, false positives, false negatives


def find(
    units: Units,
    names: Sequence[tuple[str, str | None]],
    threshold: float | None,
    most: int,
) -> Failures:
    """Return the false positives of the highest and the false negatives of the lowest score.

    Of equal scores the first in sorted order of pseudonyms comes first.

    Args:
        units: What was observed.
        names: Patient key and image id of each unit, as `attributes.names_of` gives them; empty
            where there are no pseudonyms.
        threshold: From which score on a unit is called positive; None: nothing is.
        most: Of each kind and column.
    """
    reason = _why_not(units, threshold)
    if reason or threshold is None or not most:
        return Failures(reason=reason if most else "not asked for", most=most)
    rows: list[Failure] = []
    counts: list[tuple[str, int, int]] = []
    for k, column in enumerate(units.columns):
        called = confident.by_call(units, k, threshold)
        wrong = {kind: called[kind] for kind in WRONG}
        for kind, found in wrong.items():
            rows += [_failure(units, k, int(n), kind, names) for n in found[:most]]
        high, low = (len(found) for found in wrong.values())
        counts.append((column, high, low))
    return Failures(reason="", most=most, rows=tuple(rows), counts=tuple(counts))


def _why_not(units: Units, threshold: float | None) -> str:
    if units.task not in TASKS:
        return "only of the classes of one target"
    return "without a threshold no call is made" if threshold is None else ""


def _failure(
    units: Units, k: int, row: int, kind: str, names: Sequence[tuple[str, str | None]]
) -> Failure:
    key, image = names[row]
    return Failure(
        column=units.columns[k],
        kind=kind,
        patient_key=key,
        image_id=image,
        score=float(units.score[row, k]),
        folds=tuple(None if fold == NO_FOLD else int(fold) for fold in units.fold[row]),
    )
