"""Cross-validation folds: whole patients, every class in every fold, in whatever order given."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.model_selection import StratifiedKFold

from medssl.foundation import seeding
from medssl.foundation.errors import DataError


def assign(
    patients: Sequence[str], labels: Sequence[str], *, n_folds: int, repeats: int, seed: int
) -> tuple[dict[str, int], ...]:
    """Say for every repeat in which fold each patient is tested.

    Patients are stratified by class. A patient whose images carry several classes counts as the
    one that fewest patients have, so that what is rare is spread most evenly. As every class
    reaches every test fold, it is in every training part too.

    Args:
        patients: Patient key per image, shape (N,).
        labels: Class per image, shape (N,); unlabelled images are left out beforehand.
        n_folds: Folds per repeat, at least 2.
        repeats: How often to split anew, at least 1.
        seed: Of the whole plan; repeats draw from streams of their own.

    Returns:
        Per repeat: patient key -> fold from 0, in sorted order of keys.

    Raises:
        DataError: There is one class only, or a class cannot reach every fold; the message names
            the largest number of folds that works.
    """
    if n_folds < 2 or repeats < 1:
        raise ValueError(f"needs n_folds >= 2 and repeats >= 1, got {n_folds} and {repeats}")
    classes = _classes_by_patient(patients, labels)
    holders = _holders(classes)
    if len(holders) < 2:
        held = ", ".join(repr(name) for name in holders) or "none"
        raise DataError(
            f"there is one class only ({held})",
            where="labels",
            fix="give a target of which some patients have each class",
        )
    plans = _plans(classes, n_folds=n_folds, repeats=repeats, seed=seed)
    if plans is None:
        raise _too_many_folds(classes, n_folds=n_folds, repeats=repeats, seed=seed)
    return plans


def _classes_by_patient(
    patients: Sequence[str], labels: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Return the classes of each patient, one entry per patient, sorted by key."""
    found: dict[str, set[str]] = {}
    for patient, label in zip(patients, labels, strict=True):
        found.setdefault(patient, set()).add(label)
    return {patient: frozenset(found[patient]) for patient in sorted(found)}


def _holders(classes: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """Return how many patients have each class, sorted by class."""
    names = sorted(frozenset().union(*classes.values()))
    return {name: sum(name in held for held in classes.values()) for name in names}


def _plans(
    classes: Mapping[str, frozenset[str]], *, n_folds: int, repeats: int, seed: int
) -> tuple[dict[str, int], ...] | None:
    """Return a plan per repeat, or None where a class misses a test fold."""
    holders = _holders(classes)
    strata = np.array([min(held, key=lambda c: (holders[c], c)) for held in classes.values()])
    if n_folds > min(holders.values()) or n_folds > max(np.unique(strata, return_counts=True)[1]):
        return None
    plans = []
    for repeat in range(repeats):
        plan = _split(list(classes), strata, n_folds, seeding.derive(seed, "folds", repeat))
        if not _every_class_everywhere(plan, classes, n_folds, set(holders)):
            return None
        plans.append(plan)
    return tuple(plans)


def _split(keys: list[str], strata: np.ndarray, n_folds: int, seed: int) -> dict[str, int]:
    assert len(set(keys)) == len(keys) == len(strata)  # one row per patient
    splitter = StratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    plan: dict[str, int] = {}
    with warnings.catch_warnings():  # small strata are judged by the result, not by their size
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for fold, (_, test) in enumerate(splitter.split(keys, strata)):
            plan |= {keys[row]: fold for row in test}
    return {key: plan[key] for key in keys}


def _every_class_everywhere(
    plan: Mapping[str, int], classes: Mapping[str, frozenset[str]], n_folds: int, names: set[str]
) -> bool:
    tested: list[set[str]] = [set() for _ in range(n_folds)]
    for patient, fold in plan.items():
        tested[fold] |= classes[patient]
    return all(held == names for held in tested)


def _too_many_folds(
    classes: Mapping[str, frozenset[str]], *, n_folds: int, repeats: int, seed: int
) -> DataError:
    holders = _holders(classes)
    rarest = min(holders, key=lambda c: (holders[c], c))
    feasible = (
        k
        for k in range(min(n_folds - 1, holders[rarest]), 1, -1)
        if _plans(classes, n_folds=k, repeats=repeats, seed=seed) is not None
    )
    largest = next(feasible, None)
    plural = "patient" if holders[rarest] == 1 else "patients"
    return DataError(
        f"{n_folds} folds need every class in every fold, but class {rarest!r} has "
        f"{holders[rarest]} {plural}",
        where="folds",
        fix=f"use at most {largest} folds"
        if largest
        else "no number of folds works: add patients of that class",
    )
