"""The controls of an evaluation: what would make its numbers too good, looked for and counted.

The rules are in `evaluation/controls/`; here is what they need of run and archive. What cannot be
read makes a control *not assessed*; it never fails the evaluation, and never passes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.artifacts import archive as archives
from medssl.artifacts.origin import Origin
from medssl.config.controls import NAMES
from medssl.evaluation import intervals, sizes, units
from medssl.evaluation.controls import (
    duplicates,
    facts,
    label_shuffle,
    metadata,
    outside,
    pretraining,
    sides,
    site,
    strata,
)
from medssl.evaluation.controls.sides import Sides
from medssl.evaluation.controls.verdicts import Verdict, not_assessed
from medssl.evaluation.judged import Judged
from medssl.evaluation.metrics import Floats
from medssl.evaluation.units import Ints, Units
from medssl.foundation import seeding
from medssl.foundation.errors import ArtifactError, DataError, UsageError
from medssl.foundation.reporting import Reporter, Silent

if TYPE_CHECKING:  # torch, which an evaluation loads only where a control needs a model or images
    from medssl.data.cohort import Cohort

_CLASSES = ("binary", "multi_class", "ordinal")


class _CannotTell(Exception):
    """A control cannot run; the text says why."""


def run(
    names: Sequence[str], judged: Judged, reporter: Reporter | None = None, *, device: str = "auto"
) -> tuple[Verdict, ...]:
    """Return a verdict of every control there is, in the order of the report.

    Args:
        names: Those to run; the others are not assessed.
        judged: Predictions and where they come from.
        reporter: Shown the progress.
        device: Of the models, where one is needed.
    """
    if not names:
        return ()
    work = _Work(judged, reporter or Silent(), device)
    return tuple(_verdict(name, work, asked=name in names) for name in NAMES)


def _verdict(name: str, work: "_Work", *, asked: bool) -> Verdict:
    if not asked and (name == "site" or work.judged.source.run is not None):
        return not_assessed(name, f"not asked for: --controls all, or --controls {name}")
    try:
        return (_CONTROLS if work.judged.source.external is None else _OUTSIDE)[name](work)
    except _CannotTell as reason:
        return not_assessed(name, str(reason))
    except (ArtifactError, DataError, UsageError) as error:
        return not_assessed(name, error.problem)


class _Work:
    """Run, archive and cohort, each read when the first control asks for it."""

    def __init__(self, judged: Judged, reporter: Reporter, device: str) -> None:
        self.judged, self.reporter, self.device = judged, reporter, device

    @cached_property
    def run(self) -> Path:
        """The finetune run."""
        source = self.judged.source
        if source.run is None or source.splits is None:
            raise _CannotTell("a table of another tool: images and training are not known")
        return source.run

    @cached_property
    def archive(self) -> Path:
        """The archive of the run, if it is there and has not changed."""
        _ = self.run
        source = self.judged.source
        if source.archive is None:
            raise _CannotTell(source.no_archive)
        return source.archive

    @cached_property
    def cohort(self) -> "Cohort":
        """What the run was made of, or what an external test judges."""
        from medssl.training import external, labelled  # noqa: PLC0415 - torch

        self._require_classes()
        _ = self.archive
        if self.judged.source.external is not None:
            return external.get_ready(self.judged.settings).cohort
        return labelled.of_run(self.run)

    @cached_property
    def sides(self) -> Sides:
        """Of the rows of the cohort; of an external test in folds drawn anew."""
        if self.judged.source.external is not None:
            return self._drawn_sides()
        return self.sides_of(self.cohort.patients)

    def sides_of(self, owners: Sequence[str]) -> Sides:
        """Return the sides of rows by the keys of the split."""
        _ = self.run
        assert self.judged.source.splits is not None  # or there is no run
        return sides.of_splits(self.judged.source.splits, owners)

    def _drawn_sides(self) -> Sides:
        """Return sides in which something else than the models can be learned and tested."""
        seed = seeding.derive(self.judged.settings.seed, "evaluate", "sides")
        keys = self.cohort.patients
        plans = site.plans(keys, [held for (held,) in self.cohort.strata], seed)
        if not plans:
            raise _CannotTell("too few patients of a class to learn anything by")
        tested = np.array([[plans[0][key] for key in keys]], dtype=np.int64)
        n_folds = int(tested.max()) + 1
        return Sides(tested=tested, left_out=np.zeros((1, n_folds, len(keys)), dtype=bool))

    @cached_property
    def label(self) -> Ints:
        """Labels of the cohort, (N, K) 0 or 1: of several classes one column each."""
        numbers, task = self.cohort.label[:, 0].astype(np.int64), self.cohort.task
        if task.kind == "binary":
            return numbers[:, None]
        return np.asarray(numbers[:, None] == np.arange(len(task.classes)), dtype=np.int64)

    @cached_property
    def counts(self) -> Ints:
        """How often each patient is drawn in each resample."""
        settings = self.judged.settings
        rng = seeding.rng(settings.seed, "evaluate", "controls")
        return intervals.draw(self.judged.units.stratum, settings.draws, rng)

    def build(self, table: pa.Table, kind: Literal["patient", "image"]) -> Units:
        """Return units of a table of predictions of the same cohort."""
        found, plan = self.judged.units, self.judged.source.splits
        return units.build(
            table,
            target=found.target,
            aggregate=self.judged.settings.aggregate,
            where="predictions",
            grouped=kind == "patient",
            task=plan.task if plan else None,
        )

    @cached_property
    def images(self) -> Units:
        """The predictions, one unit per image, in sorted order of ids."""
        return self.judged.of_images()

    def require_patients(self) -> None:
        """Refuse what says nothing of a handful of patients."""
        self._require_classes()
        found = self.judged.units
        if not all(sizes.suffice(found, k) for k in range(len(found.columns))):
            raise _CannotTell(f"fewer than {sizes.FEWEST_PATIENTS} patients of a class")

    def _require_classes(self) -> None:
        if self.judged.units.task not in _CLASSES:
            raise _CannotTell("only of the classes of one target")


def _split(work: _Work) -> Verdict:
    folder, plan, table = work.archive, work.judged.source.splits, work.judged.table
    assert plan is not None  # there is an archive
    owner_of = dict(zip(table["image_id"].to_pylist(), table["patient_key"].to_pylist(),
                        strict=True))  # fmt: skip
    rows = _learned_or_tested(folder, plan.task.targets, owner_of, work.judged.source)
    images = rows["image_id"].to_pylist()
    others = images if plan.group == "none" else rows["patient_key"].to_pylist()
    owners = [owner_of.get(*pair) for pair in zip(images, others, strict=True)]
    patient, unknown = sides.true_patients(rows)
    return sides.judge(work.sides_of(owners), patient, unknown=unknown)


def _learned_or_tested(
    folder: Path, targets: Sequence[str], predicted: Collection[str], source: Origin
) -> pa.Table:
    """Return the images with a label; of a run on series, those that stand for a series."""
    models = source.models
    wanted = pa.array(sorted(predicted))
    if models is None or not models.judges_series:
        known = archives.read_labels(folder)
        known = known.filter(pc.is_in(known["target"], pa.array(targets))).drop_null()
        wanted = pc.unique(known["image_id"])
    every = archives.read_images(folder)
    return every.filter(pc.is_in(every["image_id"], value_set=wanted))


def _pretraining(work: _Work) -> Verdict:
    models, external = work.judged.source.models, work.judged.source.external
    if models is None:
        raise _CannotTell("a table of another tool says nothing of pretraining")
    if external is not None:
        init = {**models.init, "overlap_patients": external.pretrained} if models.init else {}
        return pretraining.judge(init, work.judged.units.n_patients)
    return pretraining.judge(models.init, models.n_patients)


def _duplicates(work: _Work) -> Verdict:
    from medssl.thinning import twins  # noqa: PLC0415 - torch

    cohort = work.cohort
    rows, owners = twins.images_of(work.archive, cohort.table, whole_series=cohort.whole_series)
    found = twins.find(work.archive, rows, owners, work.reporter)
    people = sorted(set(owners))
    place = {key: number for number, key in enumerate(people)}
    return duplicates.judge(found, work.sides_of(people), place)


def _label_shuffle(work: _Work) -> Verdict:
    from medssl.training import fold_features, labelled  # noqa: PLC0415 - torch

    cohort, settings = work.cohort, work.judged.settings
    patient, _ = sides.true_patients(labelled.as_archived(cohort))
    true, values = label_shuffle.aurocs(
        fold_features.of_first_repeat(work.run, cohort, work.reporter, device=work.device),
        work.label,
        patient,
        work.sides,
        seeding.rng(settings.seed, "evaluate", "shuffles"),
    )
    return label_shuffle.judge(true, values, settings.level)


def _metadata(work: _Work) -> Verdict:
    work.require_patients()
    cohort, settings = work.cohort, work.judged.settings
    every = archives.read_images(work.archive)["series_key"].to_pylist()
    known = facts.read(cohort.table, every)
    if not known:
        raise _CannotTell("all images have the same metadata")
    said = metadata.scores(known, work.label, work.sides)
    scored = _with_scores(work, said)
    found = metadata.compare(
        work.judged.units,
        work.build(scored, "patient" if work.judged.units.grouped else "image"),
        work.counts,
        settings.level,
        metadata.by_fact(known, work.label, work.sides),
    )
    most = next(fact for fact in known if fact.name == next(iter(found.facts)))
    shared = _within(work, dict(zip(cohort.table["image_id"].to_pylist(), most.values.astype(str),
                                    strict=True)))  # fmt: skip
    return metadata.judge(metadata.beside(found, shared))


def _with_scores(work: _Work, said: Floats) -> pa.Table:
    """Return the test predictions with other scores, (R, N, K), in place of the model's."""
    table = work.judged.table.filter(pc.equal(work.judged.table["part"], "test"))
    place = {name: n for n, name in enumerate(work.cohort.table["image_id"].to_pylist())}
    column = {name: k for k, name in enumerate(work.cohort.task.columns)}
    parts = (table[name].to_pylist() for name in ("repeat", "image_id", "target"))
    at = [(repeat, place.get(image, -1), column.get(target, -1))
          for repeat, image, target in zip(*parts, strict=True)]  # fmt: skip
    scores = np.array([said[where] if min(where) >= 0 else np.nan for where in at])
    if not np.isfinite(scores).all():
        raise _CannotTell("the predictions are of other images or folds than the run plans")
    return table.set_column(table.schema.get_field_index("score"), "score", pa.array(scores))


def _within(work: _Work, group_of: Mapping[str, str]) -> tuple[float, intervals.Interval] | None:
    """Return the AUROC of the model among images that share something; None: none do."""
    images = work.images
    group = np.array([group_of[name] for name in _image_ids(work)])

    def compute(weight: Floats) -> Floats:
        return np.asarray(np.mean(
            [strata.auroc(images.truth[:, k], images.score[:, k], group, weight)
             for k in range(len(images.columns))], axis=0,
        ))  # fmt: skip

    value = float(compute(np.ones((1, len(group))))[0])
    if not np.isfinite(value):
        return None
    drawn = intervals.resampled(compute, images.patient, work.counts)
    return value, intervals.percentile(drawn, work.judged.settings.level)


def _image_ids(work: _Work) -> NDArray[np.str_]:
    table = work.judged.table
    return np.unique(table.filter(pc.equal(table["part"], "test"))["image_id"].to_numpy())


def _site(work: _Work) -> Verdict:
    work.require_patients()
    table = work.judged.table
    pairs = zip(table["image_id"].to_pylist(), table["site"].to_pylist(), strict=True)
    site_of = {image: name or "" for image, name in pairs}
    names = np.array([site_of[image] for image in _image_ids(work)])
    settings = work.judged.settings
    seed = seeding.derive(settings.seed, "evaluate", "sites")
    return site.judge(work.images, names, work.counts, settings.level, seed)


def _outside(work: _Work) -> Verdict:
    external = work.judged.source.external
    assert external is not None  # or it were no external test
    return outside.sides(external, work.judged.units.n_patients)


def _copies(work: _Work) -> Verdict:
    """Return how many patients of an external test share an image with those learned from."""
    from medssl.thinning import twins  # noqa: PLC0415 - torch
    from medssl.training import ensemble, labelled  # noqa: PLC0415 - torch

    own = work.judged.internal
    if own is None or own.source.archive is None:
        raise _CannotTell(own.source.no_archive if own else "there is no run")
    cohort, trained = work.cohort, labelled.of_run(work.run)
    learned = ensemble.open_run(work.run).known().learned
    if learned is not None:
        kept = np.flatnonzero([key in learned for key in trained.patients])
        trained = trained.rows(kept)
    here, owners = twins.images_of(work.archive, cohort.table, whole_series=cohort.whole_series)
    there, _ = twins.images_of(own.source.archive, trained.table, whole_series=trained.whole_series)
    same, alike = twins.elsewhere((work.archive, here), (own.source.archive, there), work.reporter)
    names = np.array(owners)
    exact = set(names[same])
    return outside.copies(len(set(owners)), len(exact), len(set(names[alike]) - exact))


def _no_shuffle(_: _Work) -> Verdict:
    raise _CannotTell("it looks at the training: ask for it with the run alone, without --on")


_CONTROLS: Mapping[str, Callable[[_Work], Verdict]] = {
    "split": _split,
    "duplicates": _duplicates,
    "pretraining": _pretraining,
    "label_shuffle": _label_shuffle,
    "metadata": _metadata,
    "site": _site,
}
_OUTSIDE: Mapping[str, Callable[[_Work], Verdict]] = {  # of an external test
    **_CONTROLS,
    "split": _outside,
    "duplicates": _copies,
    "label_shuffle": _no_shuffle,
}
