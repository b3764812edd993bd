"""Which patients are tested by which model.

Every protocol gives the same thing: per repeat, the fold in which each patient is tested. Who is
tested nowhere is trained on everywhere. No patient is on two sides, whatever the protocol.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medssl.evaluation import folds
from medssl.foundation import plugins, seeding
from medssl.foundation.errors import DataError
from medssl.foundation.wording import counted

Classes = Mapping[str, frozenset[str]]  # patient key -> classes of its rows, sorted by key
Groups = tuple[tuple[tuple[str, ...], ...], ...]  # per repeat and fold: patient keys, sorted
_SHOWN = 5  # names of sites in a message
_LEAST = 2  # patients, below which amounts have no correlation


@dataclass(frozen=True, kw_only=True)
class People:
    """Patients of a cohort, as far as splitting them is concerned; all sorted by key."""

    classes: Classes
    sites: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of each patient, the one
    # with most rows first; "" is a site nobody named
    amounts: bool = False  # classes are parts of a range, and a test needs not all of them

    @property
    def names(self) -> frozenset[str]:
        """All classes."""
        return frozenset().union(*self.classes.values())

    def of_class(self, name: str) -> list[str]:
        """Return the patients who have a row of a class, sorted."""
        return [key for key, held in self.classes.items() if name in held]


def people(
    patients: Sequence[str],
    classes: Sequence[Sequence[str]],
    sites: Sequence[str | None] | None = None,
    *,
    amounts: bool = False,
) -> People:
    """Return the patients of a cohort.

    Args:
        patients: Patient key of each row.
        classes: Names of the classes of each row.
        sites: Site of each row, None where there is none; None: no protocol asks for them.
        amounts: Whether the classes are parts of a range.
    """
    found: dict[str, set[str]] = {key: set() for key in sorted(set(patients))}
    for patient, names in zip(patients, classes, strict=True):
        found[patient].update(names)
    rows: dict[str, Counter[str]] = {key: Counter() for key in found}
    for patient, site in zip(patients, sites or (), strict=sites is not None):
        rows[patient][site or ""] += 1
    return People(
        classes={key: frozenset(held) for key, held in found.items()},
        sites={key: _most_first(count) for key, count in rows.items()} if sites is not None else {},
        amounts=amounts,
    )


def _most_first(count: Counter[str]) -> tuple[str, ...]:
    return tuple(sorted(count, key=lambda name: (-count[name], name)))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who is tested where."""

    n_folds: int
    test_fold: tuple[Mapping[str, int], ...]  # per repeat: patient key -> fold it is tested in
    names: tuple[str, ...] = ()  # of the folds, where they have one: a site
    barred: Groups = ()  # neither tested nor learned from, for they were seen at the tested site
    notes: tuple[str, ...] = ()  # what a reader of the result must know

    def training(self, among: People, repeat: int, fold: int) -> list[str]:
        """Return the patients a model may learn from, sorted."""
        tested = self.test_fold[repeat]
        out = set(self.barred[repeat][fold]) if self.barred else set()
        return [key for key in among.classes if tested.get(key) != fold and key not in out]


def k_fold(among: People, *, n_folds: int, repeats: int, seed: int, by_site: bool = False) -> Plan:
    """Return repeated cross-validation, stratified by class, or class and site.

    A patient of several sites counts as one of that with most of its rows; see `folds.assign`,
    and of amounts `folds.deal`.

    Raises:
        DataError: There is one class only, or a class cannot reach every fold; or a fold would
            test fewer than two patients.
    """
    site = {key: sites[0] for key, sites in among.sites.items()} if by_site else {}
    if among.amounts:
        part = {key: "".join(sorted(held)) for key, held in among.classes.items()}
        dealt = folds.deal(part, n_folds=n_folds, repeats=repeats, seed=seed, site=site)
        return Plan(n_folds=n_folds, test_fold=dealt)
    rows = [(key, name) for key, held in among.classes.items() for name in sorted(held)]
    test_fold = folds.assign(
        [key for key, _ in rows],
        [name for _, name in rows],
        n_folds=n_folds,
        repeats=repeats,
        seed=seed,
        site=site,
    )
    return Plan(n_folds=n_folds, test_fold=test_fold)


def balanced(among: People, positive: str, *, n_folds: int, repeats: int, seed: int) -> Plan:
    """Return the test folds of arXiv:2507.12269: as many negative patients as positive ones.

    Patients with a positive row are cut into folds, each of which takes as many others, drawn anew
    in every repeat. Those who are not drawn are trained on in all folds of that repeat.

    Raises:
        DataError: There are fewer positive patients than folds, or fewer others than positive ones.
    """
    positives = among.of_class(positive)
    others = [key for key in among.classes if key not in set(positives)]
    if len(positives) < n_folds:
        raise DataError(
            f"{n_folds} test folds of class {positive!r}, which has "
            f"{counted(len(positives), 'patient')}",
            where="split.balanced_test",
            fix=f"use at most {len(positives)} folds"
            if len(positives) > 1
            else "no number of folds works: add patients of that class",
        )
    if len(others) < len(positives):
        raise DataError(
            f"balanced test folds need another patient for each of {len(positives)} of class "
            f"{positive!r}, and there are {len(others)}",
            where="split.balanced_test",
            fix="name the rarer class with --positive, or leave out split.balanced_test",
        )
    plans = []
    for repeat in range(repeats):
        rng = seeding.rng(seed, "balanced", repeat)
        first, second = rng.permutation(positives), rng.permutation(others)
        chunks = np.array_split(np.arange(len(positives)), n_folds)
        found = {str(part[k]): fold for fold, chunk in enumerate(chunks)
                 for part in (first, second) for k in chunk}  # fmt: skip
        plans.append({key: found[key] for key in sorted(found)})
    share = len(positives) / len(among.classes)
    note = (
        f"test folds hold as many patients without {positive!r} as with it, the cohort {share:.0%} "
        "with: whatever depends on prevalence does not hold for the clinic"
    )
    return Plan(n_folds=n_folds, test_fold=tuple(plans), notes=(note,))


def leave_one_site_out(among: People) -> Plan:
    """Return a fold per site, in sorted order.

    A patient of several sites is tested with the one that has most of its rows, and no model that
    tests another of them learns from it: nothing of a tested site is trained on.

    Raises:
        DataError: A patient has no site, there is one site only, or one lacks a class.
    """
    _require_sites(among)
    names = tuple(sorted({sites[0] for sites in among.sites.values()}))
    if len(names) < 2:
        raise DataError(
            f"to leave one site out needs two, there is {names[0]!r}",
            where="split.by",
            fix="--split folds",
        )
    number = {name: fold for fold, name in enumerate(names)}
    test_fold = {key: number[sites[0]] for key, sites in among.sites.items()}
    barred = tuple(
        tuple(key for key, sites in among.sites.items() if name in sites[1:]) for name in names
    )
    several = sum(len(sites) > 1 for sites in among.sites.values())
    notes = [
        f"{counted(several, 'patient')} of several sites: tested with the one of most images, "
        "left out where another of them is tested"
    ] * bool(several)
    plan = Plan(
        n_folds=len(names),
        test_fold=(test_fold,),
        names=names,
        barred=(barred,) if several else (),
        notes=tuple(notes),
    )
    return _checked(
        plan,
        among,
        fix="--split hold_out --hold-out SITE for sites that have every class, or "
        "--split folds --set split.stratify=class_and_site",
    )


def hold_out(among: People, held: Sequence[str]) -> Plan:
    """Return one fold of some sites, tested by a model of all others.

    Whoever was seen at one of them is tested, with all rows.

    Raises:
        DataError: A patient has no site, there is no such site, none is left to train on, or a
            class is missing on one side.
    """
    _require_sites(among)
    known = sorted({site for sites in among.sites.values() for site in sites})
    for site in held:
        if site not in known:
            listed = ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
            raise DataError(
                f"no site called {site!r}: {listed}",
                where="split.hold_out",
                fix=plugins.suggest(site, known),
            )
    tested = {key: 0 for key, sites in among.sites.items() if set(sites) & set(held)}
    several = sum(bool(set(among.sites[key]) - set(held)) for key in tested)
    note = f"{counted(several, 'patient')} of a held-out site and others: tested, with all images"
    plan = Plan(
        n_folds=1,
        test_fold=(tested,),
        names=(", ".join(sorted(set(held))),),
        notes=(note,) * bool(several),
    )
    return _checked(plan, among, fix="hold out other sites")


def by_time(among: People, seen: Mapping[str, tuple[float, float]], *, share: float) -> Plan:
    """Return one fold of the patients who were first seen last.

    Who was first seen at the same time is on the same side, so the share is met as nearly as ties
    allow.

    Args:
        among: The patients.
        seen: When each of them was seen first and last, in any unit.
        share: Of the patients to be tested.

    Raises:
        DataError: All were first seen at the same time, or a class is missing on one side.
    """
    first = np.array([seen[key][0] for key in among.classes])
    starts = np.unique(first)[1:]
    if not len(starts):
        raise DataError(
            "all patients were first seen at the same time",
            where="split.time_target",
            fix="give a target that tells earlier patients from later ones",
        )
    shares = np.array([(first >= start).mean() for start in starts])
    start = starts[np.argmin(np.abs(shares - share))]  # of two as near, the larger test
    tested = {key: 0 for key in among.classes if seen[key][0] >= start}
    again = sum(seen[key][1] >= start for key in among.classes if key not in tested)
    notes = [f"{len(tested)} of {len(among.classes)} patients, those first seen last, are tested"]
    if again:
        notes.append(
            f"{counted(again, 'patient')} trained on with all images, though some of these are "
            "from the time of the test"
        )
    plan = Plan(n_folds=1, test_fold=(tested,), notes=tuple(notes))
    return _checked(plan, among, fix="choose another split.test_share, or --split folds")


def imported(  # noqa: PLR0913 - one value per thing a plan holds
    among: People,
    plans: Sequence[Mapping[str, int]],
    *,
    n_folds: int,
    where: str,
    listed: Collection[str] = (),
    names: tuple[str, ...] = (),
    barred: Groups = (),
) -> Plan:
    """Return folds that were made elsewhere, as far as they are about patients of the cohort.

    Args:
        among: The patients.
        plans: Per repeat: patient key -> fold it is tested in.
        n_folds: Folds of each repeat, numbered from 0.
        where: What they come from, for messages.
        listed: Patients who are in no fold on purpose.
        names: Of the folds, if they have any.
        barred: Who is left out where a site is tested; see `Plan`.

    Raises:
        DataError: They name nobody of the cohort, or a class is missing on one side of a fold.
    """
    test_fold = tuple({key: plan[key] for key in among.classes if key in plan} for plan in plans)
    named = set(listed).union(*plans)
    tested = set().union(*test_fold)
    if not tested:
        raise DataError(
            f"none of the {counted(len(named), 'patient')} in it is tested in the cohort",
            where=where,
            fix="give splits of this archive; pseudonyms made with another key never match",
        )
    strange, never = len(named - set(among.classes)), len(among.classes) - len(tested)
    forgotten = len(set(among.classes) - named)
    notes = [
        f"imported splits: {len(tested)} of {counted(len(among.classes), 'patient')} are tested",
        *[f"{strange} of {len(named)} patients listed are not in the cohort"] * bool(strange),
        *[f"{never} never tested and always trained on, {forgotten} of them not listed"]
        * bool(never),
    ]
    plan = Plan(
        n_folds=n_folds,
        test_fold=test_fold,
        names=names,
        barred=tuple(tuple(tuple(key for key in keys if key in among.classes) for keys in repeat)
                     for repeat in barred),
        notes=tuple(notes),
    )  # fmt: skip
    return _checked(plan, among, fix="give folds with every class on both sides", where=where)


def _require_sites(among: People) -> None:
    nowhere = sum("" in sites for sites in among.sites.values())
    if nowhere:
        raise DataError(
            f"{nowhere} of {counted(len(among.sites), 'patient')} have images of no known site",
            where="split.by",
            fix="ingest with --site col:NAME (or tag, parent), or use --split folds",
        )


def _checked(plan: Plan, among: People, *, fix: str, where: str = "split.by") -> Plan:
    """Return the plan if every model has every class to learn from, and to be tested on."""
    everywhere = [(r, f) for r in range(len(plan.test_fold)) for f in range(plan.n_folds)]
    tested = {(r, f): [key for key, number in plan.test_fold[r].items() if number == f]
              for r, f in everywhere}  # fmt: skip
    learned = {(r, f): plan.training(among, r, f) for r, f in everywhere}
    for side, keys_of in (("to test", tested), ("to train on", learned)):
        for (repeat, fold), keys in keys_of.items():
            problem = _lack(among, keys)
            if problem:
                called = f"repeat {repeat + 1}, fold {fold + 1}"
                if plan.names:
                    called = f"site {plan.names[fold]}"
                raise DataError(f"{called}: {problem} {side}", where=where, fix=fix)
    return plan


def _lack(among: People, keys: Sequence[str]) -> str:
    """Return what some patients lack to learn from or to be tested on; empty: nothing."""
    if among.amounts:
        return f"fewer than {_LEAST} patients" if len(keys) < _LEAST else ""
    held = frozenset().union(*(among.classes[key] for key in keys))
    missing = sorted(among.names - held)
    return f"no patient of class {missing[0]!r}" if missing else ""
