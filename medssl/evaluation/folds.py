"""Cross-validation folds: whole patients, every class in every fold, in whatever order given."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from sklearn.model_selection import StratifiedKFold

from medssl.foundation import seeding
from medssl.foundation.errors import DataError
from medssl.foundation.wording import counted

_ATTEMPTS = 30  # to spread patients of several classes, where the first split misses one
_NOWHERE: Mapping[str, str] = MappingProxyType({})


def assign(
    patients: Sequence[str],
    labels: Sequence[str],
    *,
    n_folds: int,
    repeats: int,
    seed: int,
    site: Mapping[str, str] = _NOWHERE,
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
        site: Of each patient, to stratify by class and site; empty: by class alone.

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
    plans = _plans(classes, site, n_folds=n_folds, repeats=repeats, seed=seed)
    if plans is None:
        raise _too_many_folds(classes, site, n_folds=n_folds, repeats=repeats, seed=seed)
    return plans


def deal(
    strata: Mapping[str, str],
    *,
    n_folds: int,
    repeats: int,
    seed: int,
    site: Mapping[str, str] = _NOWHERE,
) -> tuple[dict[str, int], ...]:
    """Say for every repeat in which fold each patient is tested, where no stratum must be in each.

    So it is with amounts: patients are dealt in turn, in order of stratum and site, so that folds
    differ by one patient at most in every stratum, however small it is.

    Args:
        strata: Of each patient, the part of the range that its amount lies in.
        n_folds: Folds per repeat, at least 2.
        repeats: How often to split anew, at least 1.
        seed: Of the whole plan; repeats draw from streams of their own.
        site: Of each patient; empty: all are of one.

    Returns:
        Per repeat: patient key -> fold from 0, in sorted order of keys.

    Raises:
        DataError: A fold would test fewer than two patients, of whom nothing can be said.
    """
    if n_folds < 2 or repeats < 1:
        raise ValueError(f"needs n_folds >= 2 and repeats >= 1, got {n_folds} and {repeats}")
    most = len(strata) // 2
    if n_folds > most:
        raise DataError(
            f"{n_folds} folds of {counted(len(strata), 'patient')} test fewer than two each",
            where="folds",
            fix=f"use at most {most} folds"
            if most > 1
            else "no number of folds works: add labelled patients",
        )
    of_both = {key: (strata[key], site.get(key, "")) for key in sorted(strata)}
    return tuple(_dealt(of_both, n_folds, next(_seeds(seed, repeat))) for repeat in range(repeats))


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
    classes: Mapping[str, frozenset[str]],
    site: Mapping[str, str],
    *,
    n_folds: int,
    repeats: int,
    seed: int,
) -> tuple[dict[str, int], ...] | None:
    """Return a plan per repeat, or None where a class misses a test fold."""
    holders = _holders(classes)
    rarest = {key: min(held, key=lambda c: (holders[c], c)) for key, held in classes.items()}
    most = max(Counter(rarest.values()).values())
    if n_folds > min(holders.values()) or n_folds > most:
        return None
    strata = {key: (name, site.get(key, "")) for key, name in rarest.items()}
    plans = []
    for repeat in range(repeats):
        tries = (
            _dealt(strata, n_folds, own) if site else _split(rarest, n_folds, own)
            for own in _seeds(seed, repeat)
        )
        full = (plan for plan in tries if _every_class_everywhere(plan, classes, n_folds))
        if (plan := next(full, None)) is None:
            return None
        plans.append(plan)
    return tuple(plans)


def _seeds(seed: int, repeat: int) -> Iterator[int]:
    yield seeding.derive(seed, "folds", repeat)
    for attempt in range(1, _ATTEMPTS):
        yield seeding.derive(seed, "folds", repeat, attempt)


def _split(strata: Mapping[str, str], n_folds: int, seed: int) -> dict[str, int]:
    keys = list(strata)
    splitter = StratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    plan: dict[str, int] = {}
    with warnings.catch_warnings():  # small strata are judged by the result, not by their size
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for fold, (_, test) in enumerate(splitter.split(keys, list(strata.values()))):
            plan |= {keys[row]: fold for row in test}
    return {key: plan[key] for key in keys}


def _dealt(strata: Mapping[str, tuple[str, str]], n_folds: int, seed: int) -> dict[str, int]:
    """Return folds of patients dealt in turn, in order of class and site, each in random order.

    So the folds differ by one patient at most in every class, and in every site of a class, however
    small it is.
    """
    rng = np.random.default_rng(seed)
    shuffled = [list(strata)[k] for k in rng.permutation(len(strata))]
    fold = rng.permutation(n_folds)
    order = sorted(shuffled, key=lambda key: strata[key])
    plan = {key: int(fold[place % n_folds]) for place, key in enumerate(order)}
    return {key: plan[key] for key in strata}


def _every_class_everywhere(
    plan: Mapping[str, int], classes: Mapping[str, frozenset[str]], n_folds: int
) -> bool:
    tested: list[set[str]] = [set() for _ in range(n_folds)]
    for patient, fold in plan.items():
        tested[fold] |= classes[patient]
    return all(held == set(_holders(classes)) for held in tested)


def _too_many_folds(
    classes: Mapping[str, frozenset[str]],
    site: Mapping[str, str],
    *,
    n_folds: int,
    repeats: int,
    seed: int,
) -> DataError:
    holders = _holders(classes)
    rarest = min(holders, key=lambda c: (holders[c], c))
    feasible = (
        k
        for k in range(min(n_folds - 1, holders[rarest]), 1, -1)
        if _plans(classes, site, n_folds=k, repeats=repeats, seed=seed) is not None
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
