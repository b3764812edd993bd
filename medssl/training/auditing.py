"""What is wrong with a split: patients on both sides, the same image on both sides, lopsided folds.

It looks at the split of a run, at a `splits.json` or at a table of another tool, alone or together
with the archive whose images it splits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssl.artifacts import run_folder, split_tables, splits
from medssl.artifacts.splits import Splits
from medssl.config.splits import AuditSettings
from medssl.data import cohort as cohorts
from medssl.data import people as identities
from medssl.data.cohort import Cohort
from medssl.evaluation.controls import balance, duplicates, sides
from medssl.evaluation.controls.balance import FoldCounts
from medssl.evaluation.controls.duplicates import Twins
from medssl.evaluation.controls.sides import NOWHERE, Sides
from medssl.foundation.errors import UsageError
from medssl.foundation.reporting import Reporter
from medssl.foundation.wording import counted
from medssl.thinning import twins
from medssl.training import labelled, splitting

Row = tuple[str, int, int]  # patient, repeat, fold or NOWHERE


@dataclass(frozen=True, kw_only=True)
class Given:
    """A split as it was handed in."""

    what: str  # run, splits.json or table
    rows: tuple[Row, ...]
    n_folds: int
    n_repeats: int
    keyed: bool  # whether patients go by the keys of an archive
    plan: Splits | None = None
    archive: Path | None = None
    run: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found; None where it was not looked for, as there is no archive."""

    what: str
    digest: str  # of a table none
    n_folds: int
    n_repeats: int
    n_patients: int  # in the split
    on_both_sides: int  # patients who are tested and learned from by one model
    chosen_on_and_tested: int  # patients who are set apart to choose on in a fold that tests them
    aliases_on_both_sides: int | None  # ids of one patient, as a list of aliases says
    unlisted: int | None  # labelled patients who are not in the split
    strangers: int | None  # patients in the split of whom nothing is labelled
    pairs: tuple[Twins, ...] | None  # of patients who share an image
    pairs_on_both_sides: tuple[Twins, ...] | None
    folds: tuple[FoldCounts, ...]
    classes: Mapping[str, tuple[float, float]]  # smallest and largest share over folds
    sites: Mapping[str, tuple[float, float]]

    def leaks(self) -> tuple[str, ...]:
        """Return what must not be, with counts; nothing where all is well."""
        shared = self.pairs_on_both_sides or ()
        exact = sum(pair.metric == "exact" for pair in shared)
        counts = (
            (self.on_both_sides, "patient", "on both sides"),
            (self.chosen_on_and_tested, "patient", "chosen on and tested"),
            (self.aliases_on_both_sides or 0, "patient", "on both sides under several ids"),
            (exact, "pair", "of patients with the same pixels on both sides"),
            (len(shared) - exact, "pair", "of patients who look the same on both sides"),
        )
        return tuple(f"{counted(n, thing)} {what}" for n, thing, what in counts if n)


def read(settings: AuditSettings) -> Given:
    """Return the split that is to be looked at.

    Raises:
        ArtifactError: It is missing, unfinished or damaged.
        DataError: It is a table with wrong cells.
    """
    path = settings.split
    if path.is_dir():
        run_folder.require_finished(path, "finetune")
        return _of_plan("run", splits.read(path / "splits.json"), run=path)
    if path.suffix.lower() == ".json":
        return _of_plan("splits.json", splits.read(path))
    table = split_tables.read(path)
    numbers = sorted({row.fold for row in table.rows if row.fold is not None})
    repeats = sorted({row.repeat for row in table.rows})
    fold_of = {number: k for k, number in enumerate(numbers)} | {None: NOWHERE}
    repeat_of = {number: k for k, number in enumerate(repeats)}
    names = [row.patient for row in table.rows]
    if not table.keyed and settings.archive is not None:
        names = splitting.keyed(names, settings.archive, settings.key_file)
    rows = tuple(
        (name, repeat_of[row.repeat], fold_of[row.fold])
        for name, row in zip(names, table.rows, strict=True)
    )
    return Given(what="table", rows=rows, n_folds=len(numbers), n_repeats=len(repeats),
                 keyed=table.keyed or settings.archive is not None)  # fmt: skip


def _of_plan(what: str, plan: Splits, run: Path | None = None) -> Given:
    rows = tuple(
        (key, repeat, fold)
        for repeat, tested in enumerate(plan.test_fold)
        for key, fold in tested.items()
    )
    archive = None if run is None else labelled.settings_of(run).archive
    return Given(what=what, rows=rows, n_folds=plan.n_folds, n_repeats=len(plan.test_fold),
                 keyed=True, plan=plan, archive=archive, run=run)  # fmt: skip


def audit(settings: AuditSettings, reporter: Reporter) -> Audit:
    """Return what is wrong with a split.

    Raises:
        ArtifactError: Split or archive are missing, unfinished or damaged.
        DataError: A table has wrong cells, or the archive has no such labels.
        UsageError: The institution's key is not there.
    """
    given = read(settings)
    archive = settings.archive or given.archive
    if archive is None:
        if settings.aliases is not None:
            raise UsageError(
                "aliases are patients of an archive", where="aliases", fix="give --archive"
            )
        return _alone(given)
    return _beside(given, archive, settings, reporter)


def _alone(given: Given) -> Audit:
    owners = sorted({owner for owner, _, _ in given.rows})
    return Audit(
        what=given.what,
        digest=given.plan.digest if given.plan else "",
        n_folds=given.n_folds,
        n_repeats=given.n_repeats,
        n_patients=len(owners),
        on_both_sides=len(_torn(given.rows)),
        chosen_on_and_tested=_chosen_on_and_tested(given.plan),
        aliases_on_both_sides=None,
        unlisted=None,
        strangers=None,
        pairs=None,
        pairs_on_both_sides=None,
        folds=balance.count(
            _sides(given, owners), owners, [()] * len(owners), [None] * len(owners), _names(given)
        ),
        classes={},
        sites={},
    )


def _beside(given: Given, archive: Path, settings: AuditSettings, reporter: Reporter) -> Audit:
    people = identities.read(archive, settings.aliases)
    cohort = _cohort(given, archive, settings)
    listed = {owner for owner, _, _ in given.rows}
    owners = cohort.patients
    known = sorted(listed | set(owners))
    of_people = _sides(given, known)
    place = {key: number for number, key in enumerate(known)}
    whole = cohort.whole_series
    images, whose = twins.images_of(archive, cohort.table, whole_series=whole)
    found = twins.find(archive, images, whose, reporter, near=settings.near)
    across, _ = duplicates.on_both_sides(found, of_people, place)
    group = np.array([people.group_of.get(key, key) for key in known])
    of_rows = _sides(given, owners)
    counts = balance.count(
        of_rows, owners, cohort.strata, cohort.table["site"].to_pylist(), _names(given)
    )
    first = [row for row in counts if row.repeat == 0]
    alone = _alone(given)
    return Audit(
        what=given.what,
        digest=alone.digest,
        n_folds=given.n_folds,
        n_repeats=given.n_repeats,
        n_patients=len(listed),
        on_both_sides=max(alone.on_both_sides, _same_patient(given, cohort, of_rows)),
        chosen_on_and_tested=alone.chosen_on_and_tested,
        aliases_on_both_sides=len(
            sides.torn(of_people, np.unique(group, return_inverse=True)[1].astype(np.int64))
        )
        if settings.aliases
        else None,
        unlisted=len(set(owners) - listed),
        strangers=len(listed - set(owners)),
        pairs=found,
        pairs_on_both_sides=tuple(across),
        folds=counts,
        classes=balance.shares(first, of="classes"),
        sites=balance.shares(first, of="sites"),
    )


def _cohort(given: Given, archive: Path, settings: AuditSettings) -> Cohort:
    """Return what is labelled, its patients called as the split calls them."""
    if given.run is not None and settings.archive is None:
        return labelled.of_run(given.run)
    task = given.plan.task if given.plan else None
    cohort = cohorts.read(
        archive,
        settings.target or (task.targets if task else None) or None,
        kind=task.kind if task and not settings.target else None,
        order=task.classes if task and task.kind == "ordinal" else (),
        positive=task.positive if task and not settings.target else None,
    )
    if given.plan is not None and given.plan.group == "none":
        cohort = cohorts.ungrouped(cohort)
    return cohort


def _same_patient(given: Given, cohort: Cohort, of_rows: Sides) -> int:
    """Return how many patients of the archive are on both sides of a split by image."""
    if given.plan is None or given.plan.group != "none":
        return 0
    patient, _ = sides.true_patients(labelled.as_archived(cohort))
    return len(sides.torn(of_rows, patient))


def _sides(given: Given, owners: Sequence[str]) -> Sides:
    """Return the sides of rows; a patient of several folds counts as one of the first of them."""
    if given.plan is not None:
        return sides.of_splits(given.plan, owners)
    plans: list[dict[str, int]] = [{} for _ in range(given.n_repeats)]
    for owner, repeat, fold in given.rows:
        plans[repeat].setdefault(owner, fold)
    tested = [[plan.get(owner, NOWHERE) for owner in owners] for plan in plans]
    return Sides(
        tested=np.array(tested, dtype=np.int64).reshape(given.n_repeats, len(owners)),
        left_out=np.zeros((given.n_repeats, given.n_folds, len(owners)), dtype=bool),
    )


def _names(given: Given) -> tuple[str, ...]:
    return given.plan.names if given.plan else ()


def _torn(rows: Sequence[Row]) -> set[str]:
    """Return the patients who have more than one fold in a repeat."""
    held: dict[tuple[str, int], set[int]] = {}
    for owner, repeat, fold in rows:
        held.setdefault((owner, repeat), set()).add(fold)
    return {owner for (owner, _), folds in held.items() if len(folds) > 1}


def _chosen_on_and_tested(plan: Splits | None) -> int:
    if plan is None:
        return 0
    wrong = {
        key
        for repeat, parts in enumerate(plan.inner)
        for fold, keys in enumerate(parts)
        for key in keys
        if plan.test_fold[repeat].get(key) == fold
    }
    return len(wrong)
