"""Who is tested, chosen on and learned from in each fold of a cohort, before anything is trained.

The rules are in `evaluation/protocols.py` and `evaluation/set_apart.py`; here is what they need:
sites and times from the archive, and imported folds with the names that patients have in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.compute as pc

from medssl.artifacts import archive as archives
from medssl.artifacts import split_tables, splits
from medssl.artifacts.split_tables import SplitTable
from medssl.config.finetune import FinetuneSettings
from medssl.data import people as identities
from medssl.data.cohort import Cohort
from medssl.evaluation import calibrators, protocols, set_apart, sizes
from medssl.evaluation.protocols import Groups, People, Plan
from medssl.foundation import files, plugins, seeding
from medssl.foundation.errors import DataError, UsageError
from medssl.foundation.wording import counted
from medssl.ingestion import identity

_T = TypeVar("_T")
_MOST_CLASSES = 4  # told one by one


@dataclass(frozen=True, kw_only=True)
class Split:
    """Who does what in each fold."""

    people: People
    plan: Plan
    inner: Groups  # set apart to choose
    unused: Groups  # left out: a fraction of the cohort
    notes: tuple[str, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)  # digest of the imported file

    def training(self, repeat: int, fold: int) -> tuple[set[str], set[str]]:
        """Return whom the model of a fold learns from, and who is set apart for it to choose on."""
        known = set(self.plan.training(self.people, repeat, fold))
        known -= set(self.unused[repeat][fold] if self.unused else ())
        apart = known & set(self.inner[repeat][fold] if self.inner else ())
        return known - apart, apart

    @property
    def everywhere(self) -> Iterator[tuple[int, int]]:
        """Repeat and fold of every model."""
        for repeat in range(len(self.plan.test_fold)):
            for fold in range(self.plan.n_folds):
                yield repeat, fold


def prepare(settings: FinetuneSettings, cohort: Cohort) -> Split:
    """Return the split that the settings ask for.

    Args:
        settings: With every `auto` replaced.
        cohort: Of the whole run; aliases are merged already.

    Raises:
        UsageError: The protocol does not suit the task or the grouping, or the institution's key is
            not there.
        DataError: Labels, sites, times or imported folds do not allow it.
        ArtifactError: The imported `splits.json` is none.
    """
    people = _people(cohort)
    seed = seeding.derive(settings.seed, "folds")
    plan, inputs = _plan(settings, cohort, people, seed)
    share = float(settings.inner.share)
    apart = set_apart.inner(plan, people, share=share, seed=seed) if share else ()
    fraction = max(settings.fractions)
    unused = set_apart.unused(plan, people, apart, fraction=fraction, seed=seed)
    n = settings.seeds
    split = Split(
        people=people,
        plan=replace(plan, test_fold=_each(plan.test_fold, n), barred=_each(plan.barred, n)),
        inner=_each(apart, n),
        unused=_each(unused, n),
        notes=(*plan.notes, *_sizes(people, plan), *_choosing(settings, people, apart)),
        inputs=inputs,
    )
    refuse_unlearnable(split, cohort)
    return replace(split, notes=(*split.notes, *_calibrating(settings, split)))


def refuse_unlearnable(split: Split, cohort: Cohort) -> None:
    """Stop where a model would have nothing to learn a target from.

    Raises:
        DataError: An amount has fewer than two values among those a model learns from, or another
            target no label.
    """
    patients, task = np.array(cohort.patients), cohort.task
    least = 2 if task.kind == "regression" else 1
    for repeat, fold in split.everywhere:
        learned, _ = split.training(repeat, fold)
        label = cohort.label[np.isin(patients, sorted(learned))]
        for target, column in zip(task.targets, label.T, strict=True):
            n_values = len(np.unique(column[np.isfinite(column)]))
            if n_values < least:
                found = "one value only" if n_values else "no label"
                raise DataError(
                    f"target {target!r} has {found} among the patients that repeat {repeat + 1}, "
                    f"fold {fold + 1} learns from",
                    where="target",
                    fix="leave out the target, or give it more labelled patients; where many are "
                    "set apart or left out, a smaller --inner or larger --fractions",
                )


def training_share(settings: FinetuneSettings, cohort: Cohort) -> float:
    """Return the share of the rows that a model learns or chooses from, the mean over folds."""
    people = _people(cohort)
    plan, _ = _plan(settings, cohort, people, seeding.derive(settings.seed, "folds"))
    patients = np.array(cohort.patients)
    shares = [
        np.isin(patients, plan.training(people, repeat, fold)).mean()
        for repeat in range(len(plan.test_fold))
        for fold in range(plan.n_folds)
    ]
    return float(np.mean(shares))


def _people(cohort: Cohort) -> People:
    return protocols.people(
        cohort.patients,
        cohort.strata,
        cohort.table["site"].to_pylist(),
        amounts=cohort.task.kind == "regression",
    )


def _each(repeats: tuple[_T, ...], n: int) -> tuple[_T, ...]:
    """Return what holds for each repeat, once for each of ``n`` trainings of it."""
    return tuple(one for one in repeats for _ in range(n))


def _plan(
    settings: FinetuneSettings, cohort: Cohort, people: People, seed: int
) -> tuple[Plan, dict[str, str]]:
    chosen = settings.split
    if chosen.by == "folds" or settings.smoke:
        return _drawn(settings, cohort, people, seed), {}
    if chosen.by == "site":
        return protocols.leave_one_site_out(people), {}
    if chosen.by == "hold_out":
        return protocols.hold_out(people, chosen.hold_out), {}
    if chosen.by == "time":
        assert chosen.time_target is not None  # the settings saw to it
        seen = _seen(cohort, chosen.time_target)
        return protocols.by_time(people, seen, share=chosen.test_share), {}
    assert chosen.file is not None  # the settings saw to it
    path = chosen.file / "splits.json" if chosen.file.is_dir() else chosen.file
    plan = _imported(settings, cohort, people, path)
    return plan, {"split": files.sha256(path)}


def _drawn(settings: FinetuneSettings, cohort: Cohort, people: People, seed: int) -> Plan:
    folds, repeats = settings.folds, settings.repeats
    if not settings.split.balanced_test or settings.smoke:
        by_site = settings.split.stratify == "class_and_site"
        plan = protocols.k_fold(people, n_folds=folds, repeats=repeats, seed=seed, by_site=by_site)
        if settings.split.by == "folds":
            return plan
        note = f"a smoke run draws its folds: split by {settings.split.by} was not tried"
        return Plan(n_folds=plan.n_folds, test_fold=plan.test_fold, notes=(note,))
    positive = cohort.task.positive
    if positive is None:
        raise UsageError(
            f"balanced test folds need a positive class, and the task is {cohort.task.kind}",
            where="split.balanced_test",
            fix="leave it out, or give a target of two classes",
        )
    return protocols.balanced(people, positive, n_folds=folds, repeats=repeats, seed=seed)


def _seen(cohort: Cohort, target: str) -> dict[str, tuple[float, float]]:
    """Return when each patient was seen first and last, over the rows of the cohort."""
    labels = archives.read_labels(cohort.archive)
    known = sorted(pc.unique(labels["target"]).to_pylist())
    if target not in known:
        raise DataError(
            f"no label column called {target!r}: {', '.join(known)}",
            where="split.time_target",
            fix=plugins.suggest(target, known),
        )
    rows = labels.filter(pc.equal(labels["target"], target))
    text = dict(zip(rows["image_id"].to_pylist(), rows["value"].to_pylist(), strict=True))
    times = [_time(text.get(name)) for name in cohort.table["image_id"].to_pylist()]
    unknown = {key for key, time in zip(cohort.patients, times, strict=True) if time is None}
    if unknown:
        raise DataError(
            f"{counted(len(unknown), 'patient')} of {len(set(cohort.patients))} have an image "
            f"without a number or a day in {target!r}",
            where="split.time_target",
            fix="fill the column in for every labelled image, as 2024 or 2024-03-31",
        )
    found: dict[str, list[float]] = {}
    for key, time in zip(cohort.patients, times, strict=True):
        assert time is not None  # refused above
        found.setdefault(key, []).append(time)
    return {key: (min(given), max(given)) for key, given in found.items()}


def _time(text: str | None) -> float | None:
    """Return a number, or the number of a day; None if it is neither.

    >>> _time("2024"), _time("1970-01-02"), _time("spring"), _time("nan")
    (2024.0, 719164.0, None, None)
    """
    try:
        value = float(text or "")
    except ValueError:
        try:
            return float(date.fromisoformat(str(text)).toordinal())
        except ValueError:
            return None
    return value if np.isfinite(value) else None


def _imported(settings: FinetuneSettings, cohort: Cohort, people: People, path: Path) -> Plan:
    """Return the folds of a `splits.json` or a table, in terms of the cohort."""
    who = _Names(settings, cohort)
    if path.suffix.lower() == ".json":
        return _of_record(splits.read(path), settings, people, who, path)
    if settings.group == "none":
        raise UsageError(
            "a table of patients, where every series is its own patient",
            where="split.file",
            fix="leave out --group none, or give the splits.json of such a run",
        )
    table = split_tables.read(path)
    names = [row.patient for row in table.rows]
    if not table.keyed:
        names = keyed(names, settings.archive, settings.split.key_file)
    return _of_table(table, [who.of(name) for name in names], people, path)


def _of_record(
    found: splits.Splits, settings: FinetuneSettings, people: People, who: "_Names", path: Path
) -> Plan:
    if found.group != settings.group:
        raise DataError(
            f"splits of --group {found.group}, and the run is one of --group {settings.group}",
            where=str(path),
            fix=f"--group {found.group}",
        )
    rows = [
        (who.of(key), repeat, fold)
        for repeat, plan in enumerate(found.test_fold)
        for key, fold in plan.items()
    ]
    plans = _by_repeat(rows, len(found.test_fold), str(path))
    barred = tuple(tuple(tuple(sorted({who.of(key) for key in keys})) for keys in repeat)
                   for repeat in found.barred)  # fmt: skip
    return protocols.imported(
        people, plans, n_folds=found.n_folds, names=found.names, barred=barred, where=str(path)
    )


def _of_table(table: SplitTable, patients: Sequence[str], people: People, path: Path) -> Plan:
    """Number the folds and repeats of a table from 0, in the order of its numbers."""
    numbers = sorted({row.fold for row in table.rows if row.fold is not None})
    repeats = sorted({row.repeat for row in table.rows})
    fold_of = {number: k for k, number in enumerate(numbers)}
    repeat_of = {number: k for k, number in enumerate(repeats)}
    rows = [(patient, repeat_of[row.repeat], -1 if row.fold is None else fold_of[row.fold])
            for patient, row in zip(patients, table.rows, strict=True)]  # fmt: skip
    plans = _by_repeat(rows, len(repeats), str(path))
    tested = [{key: fold for key, fold in plan.items() if fold >= 0} for plan in plans]
    listed = {patient for patient, _, _ in rows}
    return protocols.imported(people, tested, n_folds=len(numbers), where=str(path), listed=listed)


def _by_repeat(
    rows: Sequence[tuple[str, int, int]], n_repeats: int, where: str
) -> list[dict[str, int]]:
    """Return per repeat the fold of each patient; refuse a patient who is in two."""
    folds: list[dict[str, set[int]]] = [{} for _ in range(n_repeats)]
    for patient, repeat, fold in rows:
        folds[repeat].setdefault(patient, set()).add(fold)
    torn = {key for plan in folds for key, held in plan.items() if len(held) > 1}
    if torn:
        raise DataError(
            f"leakage: {counted(len(torn), 'patient')} in two folds of one repeat",
            where=where,
            fix="give every patient one fold per repeat, all images of a patient the same; "
            "aliases count as one patient",
        )
    return [{key: next(iter(held)) for key, held in plan.items()} for plan in folds]


class _Names:
    """What a cohort calls the patients of an archive, after aliases were merged."""

    def __init__(self, settings: FinetuneSettings, cohort: Cohort) -> None:
        self._people = identities.read(settings.archive, settings.aliases)
        groups = self._people.group_of
        self._key_of = {groups.get(key, key): key for key in sorted(set(cohort.patients))}

    def of(self, key: str) -> str:
        """Return the key that a patient has in the cohort; its own if it is not in there."""
        group = self._people.group_of.get(key, key)
        return self._key_of.get(group, group)


def keyed(ids: Sequence[str], archive: Path, key_file: Path | None) -> list[str]:
    """Return the archive's keys of patient ids.

    Args:
        ids: As a hospital calls its patients.
        archive: Archive folder.
        key_file: Institution's key; None: the default one.

    Raises:
        UsageError: The institution's key is not there, or another one than the archive's.
    """
    path = identity.key_path(key_file)
    key, wanted = identity.load(path), archives.read_info(archive).key_id
    if key is None or key.key_id != wanted:
        raise UsageError(
            "patient ids can only be compared with the key that the archive was ingested with, "
            + ("and there is none" if key is None else "and this is another one"),
            where=str(path),
            fix="name it with --set split.key_file=FILE, or give a table with the archive's "
            "patient_key",
        )
    known = {text: key.patient(text) for text in set(ids)}
    return [known[text] for text in ids]


def _sizes(people: People, plan: Plan) -> list[str]:
    """Say who is tested where folds are no random draw, and which of them are small."""
    if not plan.names:
        return []
    notes = []
    for fold, name in enumerate(plan.names):
        tested = [key for key, number in plan.test_fold[0].items() if number == fold]
        counts = {one: sum(one in people.classes[key] for key in tested)
                  for one in sorted(people.names)}  # fmt: skip
        rarest = len(tested) if people.amounts else min(counts.values())
        few = f": too few to judge {name} alone" if rarest < sizes.FEWEST_PATIENTS else ""
        shown = ", ".join(f"{one} {n}" for one, n in counts.items())
        if len(counts) > _MOST_CLASSES:
            shown = f"{rarest} of the rarest of {len(counts)} classes"
        notes.append(f"tested at {name}: {counted(len(tested), 'patient')} ({shown}){few}")
    return notes


def _choosing(settings: FinetuneSettings, people: People, apart: Groups) -> list[str]:
    """Say what cannot be chosen, as nobody is set apart to choose on."""
    if not apart:
        unstopped = settings.inner.patience is not None
        return ["nobody is set apart to see when to stop: all epochs run"] * unstopped
    parts = [part for repeat in apart for part in repeat]
    if people.amounts:
        return []
    return [
        f"nobody of class {name!r} could be set apart in {counted(lacking, 'fold')} of {len(parts)}"
        for name in sorted(people.names)
        if (lacking := sum(all(name not in people.classes[k] for k in part) for part in parts))
    ]


def _calibrating(settings: FinetuneSettings, split: Split) -> list[str]:
    """Say how many models stay uncalibrated, as few patients are set apart for them."""
    kind, people = settings.calibration, split.people
    if kind == "none" or people.amounts or not split.inner:
        return []
    fewest = [
        min(sum(name in people.classes[key] for key in split.training(*place)[1])
            for name in people.names)
        for place in split.everywhere
    ]  # fmt: skip
    needed = calibrators.FEWEST[kind]
    short = [n for n in fewest if n < needed]
    if not short:
        return []
    return [
        f"calibration {kind} left out in {counted(len(short), 'model')} of {len(fewest)}: "
        f"{min(short)} patients of the rarest class set apart, {needed} needed"
    ]
