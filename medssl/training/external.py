"""The external test: the models of a run judge labelled patients that none of them learned from.

Classes, their order and the positive one are those of the run, whatever the archive looks like.
Patients whom a model learned from are left out and counted; where keys cannot be compared, nobody
knows whether there are any. Patients whom the run held out of all models are judged as well: of its
own archive that is no external test, and it is not called one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medssl.artifacts import archive as archives
from medssl.artifacts import fold_models, origin, predictions, weights
from medssl.artifacts.archive import NO_PATIENT
from medssl.artifacts.origin import External, Origin
from medssl.artifacts.site_models import FinetuneInfo
from medssl.config.evaluate import EvaluateSettings
from medssl.config.task import Task
from medssl.data import cohort as cohorts
from medssl.data import labels as label_values
from medssl.data.cohort import Cohort
from medssl.foundation import seeding
from medssl.foundation.errors import ArtifactError, DataError
from medssl.foundation.reporting import Reporter
from medssl.foundation.wording import counted, listed
from medssl.training import ensemble, labelled, predict, scoring
from medssl.training.ensemble import Ensemble, Known, Said
from medssl.training.runtime import Runtime
from medssl.training.site_run import PHANTOM

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What is judged by whom; nothing has been scored yet."""

    models: Ensemble
    known: Known
    cohort: Cohort  # without the patients whom a model learned from
    source: Origin  # of the scores to come

    @property
    def external(self) -> External:
        """What became of the archive, as far as it is known before anything is scored."""
        assert self.source.external is not None  # it is made so
        return self.source.external

    @property
    def inputs(self) -> dict[str, str]:
        """Digest of everything that is read."""
        models = scoring.weights_sha256(self.models)
        return {"archive": self.external.archive_hash, "models": models}

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of the test before it begins, a line each."""
        external, unit = self.external, self.external.what
        name = "test of held-out patients, no external test" if external.own else "external test"
        found = [
            f"{name}: {counted(len(self.cohort), unit)} of "
            f"{len(set(self.cohort.patients))} patients, by {counted(external.n_models, 'model')}",
            *scoring.trial(self.models.run),
            *scoring.limits(self.known, external.unusual),
        ]
        for n, why in (
            (external.n_unlabelled, "without a label"),
            (external.n_too_short, "with too few images to be judged"),
        ):
            if n:
                found.append(f"left out: {counted(n, unit)} {why}")
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the models said of an archive."""

    table: pa.Table  # as in `predictions.parquet`: the mean of all models, of no fold
    each: pa.Table  # likewise, with a repeat for every model
    scores: pa.Table  # as in `scores.parquet`
    source: Origin  # with what was found on the way; its digest is that of nothing yet


def get_ready(settings: EvaluateSettings) -> Ready:
    """Check everything, and say who is judged.

    Raises:
        ArtifactError: Run or archive are missing, or do not fit each other.
        DataError: The labels are not those of the run, or all patients are known to a model.
    """
    assert settings.run is not None  # the settings have seen to both
    assert settings.archive is not None
    internal = origin.of_run(settings.run)
    models = ensemble.open_run(settings.run)
    info = archives.read_info(settings.archive)
    scoring.require_channels(models, info, settings.archive)
    every = _grouped(_labelled(settings, models, internal))
    known = models.known()
    learned = scoring.learned_from(models, known, info)
    grouped = NO_PATIENT not in _flags(every)
    if info.hash == models.info.archive_hash and (learned is None or not grouped):
        _refuse_own(settings.archive)
    cohort = _unknown_to(models, every, learned or frozenset())
    if settings.smoke:
        cohort = cohorts.some_patients(cohort, labelled.SMOKE_PATIENTS)
    source = replace(
        internal,
        predictions_sha256="",
        archive=settings.archive,
        no_archive="",
        external=_external(settings, models, internal, (every, cohort), learned),
    )
    return Ready(models=models, known=known, cohort=cohort, source=source)


def _external(
    settings: EvaluateSettings,
    models: Ensemble,
    internal: Origin,
    asked: tuple[Cohort, Cohort],
    learned: frozenset[str] | None,
) -> External:
    """Return what became of an archive: of all that is labelled, and of those who are judged."""
    assert settings.run is not None  # the settings have seen to both
    assert settings.archive is not None
    every, cohort = asked
    info = archives.read_info(settings.archive)
    grouped = NO_PATIENT not in _flags(every)
    comparable = learned is not None and grouped
    seen = set(every.patients) & (learned or frozenset())
    shared = _shared(settings.run, cohort) if comparable else None
    return External(
        archive_hash=info.hash,
        what=scoring.what(models),
        n_rows=len(every),
        n_unlabelled=_n_rows(settings.archive, models) - len(every) - every.too_short,
        n_too_short=every.too_short,
        known_patients=len(seen) if comparable else None,
        known_rows=sum(key in seen for key in every.patients),
        grouped=grouped,
        shared_patients=shared,
        own=info.hash == models.info.archive_hash or shared == len(set(cohort.patients)),
        pretrained=_pretrained(internal, info.key_id, cohort) if grouped else None,
        synthetic=set(cohort.table["manufacturer"].to_pylist()) == {PHANTOM},
        trial=settings.smoke,
        n_judged=len(cohort),
        labels=tuple(_called(settings, models.info.task).values()),
        lacking=tuple(sorted(set(models.info.task.targets) - set(cohort.task.targets))),
        n_models=len(models.folds),
        calibrated=_calibrated(models),
        unusual=settings.unusual,
    )


def unscored(ready: Ready, seed: int) -> pa.Table:
    """Return the predictions to come with drawn scores in their place, which mean nothing.

    Labels, patients and units are those of the test; so much can be said before it.
    """
    drawn = seeding.rng(seed, "evaluate", "unscored").random(
        (len(ready.cohort), len(ready.cohort.task.columns))
    )
    return _rows(ready.cohort, drawn, 0)


def judge(ready: Ready, runtime: Runtime, reporter: Reporter) -> Scored:
    """Return what the models say, one model at a time.

    Raises:
        ArtifactError: The weights of a model are missing or do not fit.
    """
    models, cohort = ready.models, ready.cohort
    tracked = reporter.track(models.folds, task="models", unit="models")
    said = models.say(runtime, cohort.archive, cohort.table, tracked)
    unusual = scoring.marked(said, ready.known, ready.external.unusual)
    columns = _columns(models.info.task, cohort.task)
    return Scored(
        table=_rows(cohort, said.score[:, columns], 0),
        each=pa.concat_tables(
            _rows(cohort, score[:, columns], number) for number, score in enumerate(said.each)
        ),
        scores=scoring.table(cohort.table, said, models.info.task, unusual),
        source=replace(
            ready.source,
            external=replace(
                ready.external,
                n_unusual=None if unusual is None else int(unusual.sum()),
                spread=float(said.spread[:, columns].mean()),
            ),
        ),
    )


def sample(ready: Ready, runtime: Runtime, n: int) -> Said:
    """Return what the first model says of the first ``n`` rows; to know how long it takes."""
    few = ready.cohort.table.slice(0, n)
    return ready.models.say(runtime, ready.cohort.archive, few, ready.models.folds[:1])


def _labelled(settings: EvaluateSettings, models: Ensemble, internal: Origin) -> Cohort:
    """Return what the archive has labels of, in the words of the run."""
    assert settings.archive is not None
    task = models.info.task
    found = cohorts.read_as(
        settings.archive,
        task,
        _classes(models.info, internal),
        called=_called(settings, task),
        words=settings.words(),
        least_slices=scoring.least_slices(models),
    )
    if not len(found):
        raise DataError(
            f"no {scoring.what(models)} has a label that counts",
            where=str(settings.archive),
            fix="ingest it with --labels FILE --label COLUMN, or leave fewer out by --classes",
        )
    return found


def _called(settings: EvaluateSettings, task: Task) -> Mapping[str, str]:
    """Return the label column of each target; of several targets those that there are."""
    assert settings.archive is not None
    have = set(pc.unique(archives.read_labels(settings.archive)["target"]).to_pylist())
    given = settings.target or task.targets
    if len(given) != len(task.targets):
        raise DataError(
            f"{counted(len(given), 'label column')} given, and the run has "
            f"{counted(len(task.targets), 'target')}: {listed(task.targets)}",
            where="target",
            fix="name one for each target, in this order",
        )
    found = {ours: name for ours, name in zip(task.targets, given, strict=True) if name in have}
    if not found or (settings.target and len(found) < len(given)):
        lacking = [name for name in given if name not in have]
        raise DataError(
            f"the archive has no labels called {listed(lacking)}: "
            f"{'it has ' + listed(sorted(have)) if have else 'it has none at all'}",
            where=str(settings.archive),
            fix=_other_names(sorted(have), len(given)),
        )
    return found


def _other_names(have: list[str], n_targets: int) -> str:
    if not have:
        return "ingest it with --labels FILE --label COLUMN"
    if n_targets == 1:
        return f"--target {have[0]}, if it means the same"
    return f"name the {n_targets} columns that mean the same, in this order, after --target"


def _classes(info: FinetuneInfo, internal: Origin) -> Mapping[str, Sequence[str]]:
    """Return the class names that the models know of each target, of two the positive one last.

    Older runs did not record those of several targets: they are read where their archive still is.
    """
    task = info.task
    if task.kind != "multi_label":
        return dict.fromkeys(task.targets, task.classes)
    held, positives = dict(info.classes), dict(info.positives)
    if not held:
        held = _archived(task, internal)
        positives = {name: label_values.positive_of(names) for name, names in held.items()}
    return {
        name: (*(one for one in names if one != positives[name]), positives[name])
        for name, names in held.items()
    }


def _archived(task: Task, internal: Origin) -> dict[str, Sequence[str]]:
    """Return the class names of several targets as the run's own archive has them."""
    if internal.archive is None:
        raise ArtifactError(
            "the run does not record what the classes of its targets are called, and which is "
            f"positive; {internal.no_archive}",
            where=str(internal.run),
            fix="put the archive back where it was, or run `medssl finetune` again",
        )
    table = archives.read_labels(internal.archive).drop_null()
    values = {name: table.filter(pc.equal(table["target"], name))["value"] for name in task.targets}
    return {name: sorted(pc.unique(held).to_pylist()) for name, held in values.items()}


def _grouped(cohort: Cohort) -> Cohort:
    """Return the cohort with the series of unknown patients as patients of their own."""
    keys = (cohort.table[name].to_pylist() for name in ("patient_key", "series_key", "flags"))
    owners = [series if NO_PATIENT in (flags or ()) else patient
              for patient, series, flags in zip(*keys, strict=True)]  # fmt: skip
    return cohorts.owned_by(cohort, owners)


def _flags(cohort: Cohort) -> set[str]:
    return {flag for flags in cohort.table["flags"].to_pylist() for flag in flags or ()}


def _unknown_to(models: Ensemble, cohort: Cohort, learned: frozenset[str]) -> Cohort:
    """Return the rows of patients whom no model learned from."""
    kept = np.flatnonzero([key not in learned for key in cohort.patients])
    if not len(kept):
        n = len(set(cohort.patients))
        raise DataError(
            f"a model learned from every one of the {n} labelled patients: nobody is left to test",
            where=str(cohort.archive),
            fix="give an archive of other patients; the run itself is judged by "
            f"`medssl evaluate {models.run}`",
        )
    found = cohort.rows(kept)
    first = found.label[:, 0]
    if found.task.kind in ("binary", "multi_class", "ordinal") and len(np.unique(first)) == 1:
        _refuse_one_class(found)
    return found


def _shared(run: Path, cohort: Cohort) -> int:
    """Return how many of the patients the run has tested as well, by their keys or images."""
    table = predictions.read(run / origin.PREDICTIONS)
    rows = table.filter(pc.equal(table["part"], "test"))
    patients, images = (
        set(rows[name].to_pylist()) & set(cohort.table[name].to_pylist())
        for name in ("patient_key", "image_id")
    )
    pairs = zip(cohort.patients, cohort.table["image_id"].to_pylist(), strict=True)
    return len({key for key, image in pairs if key in patients or image in images})


def _refuse_one_class(cohort: Cohort) -> NoReturn:
    held = [name for name, n in cohorts.counts_of_classes(cohort).items() if n]
    raise DataError(
        f"all {counted(len(cohort), cohort.unit)} to be judged are of one class, "
        f"{held[0]!r}: there is no AUROC, no calibration, and nothing to set a share against",
        where=str(cohort.archive),
        fix="add patients of another class, or score them only: `medssl predict RUN ARCHIVE`",
    )


def _refuse_own(archive: Path) -> NoReturn:
    raise DataError(
        "it is the archive that the models learned from, and of whom is not known",
        where=str(archive),
        fix="give another archive; the run itself is judged by `medssl evaluate RUN`",
    )


def _n_rows(archive: Path, models: Ensemble) -> int:
    """Return how many images or series an archive has, labelled or not."""
    images = archives.read_images(archive)
    return len(pc.unique(images["series_key"])) if scoring.least_slices(models) else len(images)


def _pretrained(internal: Origin, key_id: str, cohort: Cohort) -> int | None:
    """Return how many of the patients the encoder has seen; None where that is not known."""
    assert internal.models is not None  # of a run that has models
    assert internal.run is not None
    if not internal.models.init:
        return 0
    began = internal.run / str(internal.settings.get("init_from", ""))
    for folder in (began / "export", began, began.parent):
        if (folder / "encoder.json").is_file():
            break
    else:
        return None
    try:
        info = weights.read_info(folder)
    except ArtifactError:
        return None
    same = info.weights_sha256 == internal.models.init.get("weights_sha256")
    if not same or info.key_id != key_id or not info.patients_complete:
        return None
    return len(set(info.patient_digests) & set(cohort.patients))


def _calibrated(models: Ensemble) -> bool:
    """Say whether the scores of any model are calibrated."""
    found = (fold_models.read(folder).calibrator for folder in models.folds)
    return any(one is not None and one["kind"] != "none" for one in found)


def _columns(full: Task, asked: Task) -> list[int]:
    """Return where the columns of a task stand among those of the models."""
    return [full.columns.index(name) for name in asked.columns]


def _rows(cohort: Cohort, score: Floats, number: int) -> pa.Table:
    """Return predictions of all models together, or of one by its number."""
    return predict.rows(cohort, score, repeat=number, fold=None, seed=None, name="test")
