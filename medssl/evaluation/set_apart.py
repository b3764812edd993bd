"""Which of its training patients a model does not learn from: to choose on them, or to have fewer.

Both are drawn by patient and stratified by class, and of each class somebody stays.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from medssl.evaluation.protocols import Groups, People, Plan
from medssl.foundation import seeding


def inner(plan: Plan, among: People, *, share: float, seed: int) -> Groups:
    """Return for every model the patients set apart to choose on.

    Of each class at least one patient stays to learn from, and one is set apart where there are
    two.

    Args:
        plan: Who is tested where.
        among: The patients.
        share: Of the training patients, 0 to 1.
        seed: Of the draw; each fold has a stream of its own.
    """

    def chosen(repeat: int, fold: int) -> tuple[str, ...]:
        own = seeding.derive(seed, "inner", repeat, fold)
        return _drawn(plan.training(among, repeat, fold), among, share, own, least=1)

    return _each(plan, chosen)


def unused(plan: Plan, among: People, apart: Groups, *, fraction: float, seed: int) -> Groups:
    """Return for every model the patients left out where it learns from a fraction only.

    They are nested: who is used at a fraction is used at every larger one. Who is set apart is
    left out in the same proportion.

    Args:
        plan: Who is tested where; that stays.
        among: The patients.
        apart: From `inner`; empty: nobody is set apart.
        fraction: Of the training patients to learn from, 0 to 1.
        seed: Of the draw; each fold has a stream of its own.
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


def _each(plan: Plan, of: Callable[[int, int], tuple[str, ...]]) -> Groups:
    return tuple(
        tuple(of(repeat, fold) for fold in range(plan.n_folds))
        for repeat in range(len(plan.test_fold))
    )


def _drawn(
    keys: Sequence[str], among: People, share: float, seed: int, *, least: int = 0
) -> tuple[str, ...]:
    """Return a share of some patients, of each class as many as fit, sorted.

    The order in which patients are drawn does not depend on the share, so that a smaller share is
    part of a larger one.

    Args:
        keys: Patients to draw from, sorted.
        among: Their classes.
        share: Of them, 0 to 1.
        seed: Of the order.
        least: To draw of each stratum, as long as somebody of each class stays.
    """
    rng = np.random.default_rng(seed)
    orders = [[members[k] for k in rng.permutation(len(members))]
              for members in _strata(keys, among)]  # fmt: skip
    staying = _staying(orders, among)
    chosen: list[str] = []
    for order in orders:
        count = max(least, round(share * len(order))) if share else 0
        chosen += [key for key in order[:count] if key not in staying]
    return tuple(sorted(chosen))


def _strata(keys: Sequence[str], among: People) -> list[list[str]]:
    """Return the patients by the rarest class that each of them has, sorted by class."""
    holders = _holders(keys, among)
    strata: dict[str, list[str]] = {}
    for key in keys:
        rarest = min(among.classes[key], key=lambda name: (len(holders[name]), name))
        strata.setdefault(rarest, []).append(key)
    return [strata[name] for name in sorted(strata)]


def _staying(orders: Sequence[Sequence[str]], among: People) -> set[str]:
    """Return patients who are never drawn, so that every class is left; the last of each order."""
    late = {key: place / len(order) for order in orders for place, key in enumerate(order)}
    holders = _holders([key for order in orders for key in order], among)
    found: set[str] = set()
    for name in sorted(holders, key=lambda name: (len(holders[name]), name)):
        if not found & set(holders[name]):
            found.add(max(holders[name], key=lambda key: (late[key], key)))
    return found


def _holders(keys: Sequence[str], among: People) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key in keys:
        for name in among.classes[key]:
            found.setdefault(name, []).append(key)
    return found
