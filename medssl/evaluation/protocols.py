"""Which patients are tested by which model, and which are set apart to choose on.

Every protocol gives the same thing: per repeat, the fold in which each patient is tested. Who is
tested nowhere is trained on everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medssl.evaluation import folds
from medssl.foundation import seeding

Classes = Mapping[str, frozenset[str]]  # patient key -> classes of its rows, sorted by key
Groups = tuple[tuple[tuple[str, ...], ...], ...]  # per repeat and fold: patient keys, sorted


@dataclass(frozen=True, kw_only=True)
class People:
    """Patients of a cohort, as far as splitting them is concerned; all sorted by key."""

    classes: Classes
    site: Mapping[str, str] = field(default_factory=dict)  # of each patient; empty: not known
    day: Mapping[str, float] = field(default_factory=dict)  # when each was first seen


def people(
    patients: Sequence[str],
    classes: Sequence[Sequence[str]],
) -> People:
    """Return the patients of a cohort.

    Args:
        patients: Patient key of each row.
        classes: Names of the classes of each row.
    """
    found: dict[str, set[str]] = {}
    for patient, names in zip(patients, classes, strict=True):
        found.setdefault(patient, set()).update(names)
    return People(classes={key: frozenset(found[key]) for key in sorted(found)})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who is tested where."""

    n_folds: int
    test_fold: tuple[Mapping[str, int], ...]  # per repeat: patient key -> fold it is tested in

    def training(self, among: People, repeat: int, fold: int) -> list[str]:
        """Return the patients a model does not test, sorted."""
        tested = self.test_fold[repeat]
        return [key for key in among.classes if tested.get(key) != fold]


def k_fold(among: People, *, n_folds: int, repeats: int, seed: int) -> Plan:
    """Return repeated cross-validation, stratified by class; see `folds.assign`."""
    rows = [(key, name) for key, held in among.classes.items() for name in sorted(held)]
    test_fold = folds.assign(
        [key for key, _ in rows],
        [name for _, name in rows],
        n_folds=n_folds,
        repeats=repeats,
        seed=seed,
    )
    return Plan(n_folds=n_folds, test_fold=test_fold)


def inner(plan: Plan, among: People, *, share: float, seed: int) -> Groups:
    """Return for every model the patients set apart to choose on, stratified by class.

    Of each class at least one patient stays to learn from, and one is set apart where there are
    two.
    """
    return _each(plan, lambda r, f: _drawn(plan.training(among, r, f), among, share,
                                           seeding.derive(seed, "inner", r, f)))  # fmt: skip


def unused(plan: Plan, among: People, apart: Groups, *, fraction: float, seed: int) -> Groups:
    """Return for every model the patients left out where it learns from a fraction only.

    They are nested: who is used at a fraction is used at every larger one. Who is set apart is
    left out in the same proportion.
    """

    def left_out(repeat: int, fold: int) -> tuple[str, ...]:
        own = set(apart[repeat][fold]) if apart else set()
        learned = plan.training(among, repeat, fold)
        order = seeding.derive(seed, "fraction", repeat, fold)
        parts = [
            [key for key in learned if (key in own) is set_apart] for set_apart in (False, True)
        ]
        return tuple(sorted(key for part in parts
                            for key in _drawn(part, among, 1 - fraction, order)))  # fmt: skip

    return _each(plan, left_out) if fraction < 1 else ()


def _each(plan: Plan, of) -> Groups:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return tuple(
        tuple(of(repeat, fold) for fold in range(plan.n_folds))
        for repeat in range(len(plan.test_fold))
    )


def _drawn(keys: Sequence[str], among: People, share: float, seed: int) -> tuple[str, ...]:
    """Return a share of some patients, of each class as many as fit, sorted.

    The order in which patients are drawn does not depend on the share, so that a smaller share is
    part of a larger one.
    """
    holders: dict[str, int] = {}
    for key in keys:
        for name in among.classes[key]:
            holders[name] = holders.get(name, 0) + 1
    strata: dict[str, list[str]] = {}
    for key in keys:
        rarest = min(among.classes[key], key=lambda name: (holders[name], name))
        strata.setdefault(rarest, []).append(key)
    rng = np.random.default_rng(seed)
    chosen: list[str] = []
    for name in sorted(strata):
        members = strata[name]
        order = rng.permutation(len(members))
        count = min(len(members) - 1, max(1, round(share * len(members)))) if share else 0
        chosen += [members[k] for k in order[:count]]
    return tuple(sorted(chosen))
