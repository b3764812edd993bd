"""How the models of a site are made: cohort, encoder, loss and phases, checked beforehand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor

from medssl import freezing, losses
from medssl.artifacts import archive
from medssl.config.finetune import Facts, FinetuneSettings, resolve, resolve_dims
from medssl.config.loading import decode
from medssl.config.task import Task
from medssl.config.training import Intensity
from medssl.data import cohort as cohorts
from medssl.data import people as identities
from medssl.data.cohort import Cohort
from medssl.data.inputs import Input
from medssl.data.opening import open_store
from medssl.data.people import People
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError
from medssl.models import pooling
from medssl.models.site_model import HEAD, SiteModel
from medssl.training import encoders, imbalance, labelled, phases, runtime, splitting
from medssl.training.phases import Phase

_CALIBRATED = ("binary", "multi_class", "ordinal")  # tasks with one class per row
_SMOKE_STEPS = 2
_LIKELIHOOD = {
    "binary": "cross_entropy",
    "multi_class": "cross_entropy",
    "multi_label": "cross_entropy",
    "ordinal": "cumulative",
    "regression": "squared",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the model of a fold is made, and of what."""

    settings: FinetuneSettings  # every auto replaced
    cohort: Cohort
    build_encoder: Callable[[], Any]  # a new encoder: pretrained, or random from torch's seed
    groups: tuple[str, ...]  # layer groups, the head first, the stem last
    loss: Callable[..., Tensor]  # of `losses/`, with task and options bound; see `LossModule`
    phases: tuple[Phase, ...]
    init: dict[str, Any] = field(default_factory=dict)  # where the weights came from; empty: random
    compares: bool = False  # whether the loss compares images with each other
    notes: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)  # digest of what is read besides the
    # archive

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.cohort.task

    @property
    def input(self) -> Input:
        """What the model is fed with."""
        settings = self.settings
        assert isinstance(settings.intensity, Intensity)
        return Input(
            spatial_dims=int(settings.spatial_dims),
            shape=settings.shape,
            intensity=settings.intensity,
            pooling=settings.pooling,
            slices=settings.slices,
        )

    def model(self, weight: Tensor | None = None) -> SiteModel:
        """Return a new model.

        Args:
            weight: Of the classes in the loss; None: all count the same.
        """
        settings, encoder = self.settings, self.build_encoder()
        return SiteModel(
            encoder,
            self.task,
            settings.dropout,
            loss=partial(self.loss, weight=weight),
            pooling=pooling.build(settings.pooling, encoder.dim),
            norms_follow=settings.norms == "follow",
        )


def prepare(settings: FinetuneSettings, *, device: str = "auto") -> Recipe:
    """Check names, options, labels, patients and weights; resolve every `auto`.

    Raises:
        UsageError: A plugin or an option does not exist, or two settings contradict each other.
        DataError: Labels or patients are not as the settings need them.
        ArtifactError: Archive or weights are missing or do not fit.
    """
    schedule = plugins.load(freezing, settings.schedule)
    config = decode(schedule.Config, settings.schedule_options, where="schedule_options")
    source = None if settings.init_from == "none" else encoders.open_source(settings.init_from)
    known = _as_pretrained(source)
    dims, _ = resolve_dims(settings, known)
    people = identities.read(settings.archive, settings.aliases)
    cohort = labelled.read(settings, people, dims)
    if settings.smoke:
        settings = _shortened(settings, len(cohort))
    settings, reasons = resolve(settings, _facts(settings, cohort, dims, known, device))
    task = cohort.task
    settings = settings.model_copy(
        update={"target": task.targets, "task": task.kind, "positive": task.positive}
    )
    settings, judge = _loss(settings, task)
    _refuse_order(settings, task)
    settings, uncalibrated = _calibration(settings, task)
    imbalance.refuse(settings, task, judge)
    make = encoders.factory(
        settings.encoder,
        settings.encoder_options,
        in_channels=archive.read_info(settings.archive).channels,
        spatial_dims=dims,
        source=source,
        allow_partial=settings.allow_partial,
    )
    groups = (HEAD, *reversed(make.groups))
    settings, of_probe = phases.probe(settings, schedule)
    planned = phases.plan(settings, schedule, config, groups, (HEAD, *make.normed))
    grouped = settings.group == "patient"
    init = _origin(source, cohort, people, grouped=grouped)
    return Recipe(
        settings=settings,
        cohort=cohort,
        build_encoder=make,
        groups=groups,
        loss=_bound(judge, settings, task),
        compares=not judge.MIXES,
        phases=planned,
        init=init,
        notes=(
            *cohorts.facts(cohort, grouped=grouped),
            *people.notes,
            *make.notes,
            *_trial(source, settings),
            *_overlap(init, cohort),
            *reasons,
            *of_probe,
            *_training_notes(settings, planned),
            *uncalibrated,
            *imbalance.notes(settings, judge),
        ),
        inputs={**people.inputs, **({"init_from": init["weights_sha256"]} if init else {})},
    )


def refitted(settings: FinetuneSettings) -> FinetuneSettings:
    """Return the settings of a run with the encoder that its weights were trained with.

    Weights that say nothing of themselves go into the encoder there is.
    """
    if settings.init_from == "none":
        return settings
    info = encoders.open_source(settings.init_from).info
    if info is None or info.encoder == settings.encoder:
        return settings
    return settings.model_copy(update={"encoder": info.encoder, "encoder_options": info.options})


def _shortened(settings: FinetuneSettings, n: int) -> FinetuneSettings:
    """Return the settings of a run of two steps."""
    probe = settings.probe_epochs
    small = {
        "folds": 2,
        "repeats": 1,
        "seeds": 1,
        "epochs": 1,
        "probe_epochs": probe if probe == "auto" else min(1, probe),
        "batch_size": max(2, n // 2 // _SMOKE_STEPS),
    }
    return settings.model_copy(update=small)


def _facts(
    settings: FinetuneSettings, cohort: Cohort, dims: int, known: dict[str, Any], device: str
) -> Facts:
    holders: dict[str, set[str]] = {}
    for patient, names in zip(cohort.patients, cohort.strata, strict=True):
        for name in names:
            holders.setdefault(name, set()).add(patient)
    amounts = cohort.task.kind == "regression"
    store = open_store(cohort.archive, cohort.table, dims)
    return Facts(
        n_train=max(1, round(len(cohort) * splitting.training_share(settings, cohort))),
        fewest=len(set(cohort.patients)) // 2 if amounts else min(map(len, holders.values())),
        side=store.side,
        depth_share=getattr(store, "depth_share", 1.0),
        gpu=runtime.gpu_wanted(device),
        source=known,
    )


def _refuse_order(settings: FinetuneSettings, task: Task) -> None:
    if settings.order and task.kind != "ordinal":
        raise UsageError(
            f"an order of classes is for ordinal tasks, this one is {task.kind}",
            where="order",
            fix="--task ordinal, or --set order=[]",
        )


def _calibration(
    settings: FinetuneSettings, task: Task
) -> tuple[FinetuneSettings, tuple[str, ...]]:
    """Return the settings without a calibration that the task has no use for, and say so.

    Raises:
        UsageError: Isotonic regression of anything but two classes.
    """
    kind = settings.calibration
    if kind == "isotonic" and task.kind != "binary":
        other = "temperature" if task.kind in _CALIBRATED else "none"
        raise UsageError(
            f"isotonic calibration is for two classes, this task is {task.kind}",
            where="calibration",
            fix=f"--set calibration={other}",
        )
    if kind == "none" or task.kind in _CALIBRATED:
        return settings, ()
    why = "several targets are not calibrated" if task.has_probabilities else "amounts have none"
    return settings.model_copy(update={"calibration": "none"}), (f"calibration none: {why}",)


def _loss(settings: FinetuneSettings, task: Task) -> tuple[FinetuneSettings, ModuleType]:
    """Return the settings with the loss by name, and its file.

    Raises:
        UsageError: There is no such loss or option, or it cannot judge the task or mixed images.
    """
    name = _LIKELIHOOD[task.kind] if settings.loss == "auto" else settings.loss
    plugin = plugins.load(losses, name)
    if task.kind not in plugin.TASKS:
        raise UsageError(
            f"the loss {name} judges {' and '.join(plugin.TASKS)} tasks, this one is {task.kind}",
            where="loss",
            fix=f"--loss {_LIKELIHOOD[task.kind]}",
        )
    mixed = [what for what in ("mixup", "cutmix") if getattr(settings, what).probability > 0]
    if mixed and not plugin.MIXES:
        raise UsageError(
            f"the loss {name} compares images with each other and has no value for mixed ones",
            where=mixed[0],
            fix=f"--set {mixed[0]}.probability=0",
        )
    return settings.model_copy(update={"loss": name}), plugin


def _bound(plugin: ModuleType, settings: FinetuneSettings, task: Task) -> Callable[..., Tensor]:
    """Return the loss with task and options bound."""
    config = decode(plugin.Config, settings.loss_options, where="loss_options")
    return partial(plugin.loss, task=task, config=config)


def _as_pretrained(source: encoders.Source | None) -> dict[str, Any]:
    """Return what a pretrained encoder wants its input to look like."""
    if source is None:
        return {}
    if source.info is None:
        return {}
    info = source.info
    return {
        "encoder": info.encoder,
        "encoder_options": dict(info.options),
        "image_size": info.image_size,
        "depth": info.depth,
        "spatial_dims": info.spatial_dims,
        "intensity": {"window_hu": info.intensity["window_hu"]},
    }


def _trial(source: encoders.Source | None, settings: FinetuneSettings) -> tuple[str, ...]:
    if settings.smoke or source is None or source.info is None or not source.info.smoke:
        return ()
    return ("the encoder comes from a smoke run: it was trained for two steps",)


def _origin(
    source: encoders.Source | None, cohort: Cohort, people: People, *, grouped: bool
) -> dict[str, Any]:
    """Return where the encoder came from, and how many of the cohort it was pretrained on.

    Without patients, or with pseudonyms of another key, the overlap is unknown (None), never 0.
    """
    if source is None:
        return {}
    seen = source.patients_under(archive.read_info(cohort.archive).key_id)
    known = grouped and seen is not None
    overlap = len(people.among(cohort.patients) & people.among(seen or ())) if known else None
    return {**source.facts(), "overlap_patients": overlap}


def _overlap(init: dict[str, Any], cohort: Cohort) -> tuple[str, ...]:
    if not init:
        return ()
    if init["overlap_patients"] is None:
        return ("overlap with the pretraining patients: unknown",)
    n_patients = len(set(cohort.patients))
    return (f"overlap: {init['overlap_patients']} of {n_patients} patients were in pretraining",)


def _training_notes(settings: FinetuneSettings, planned: tuple[Phase, ...]) -> tuple[str, ...]:
    """Return what a reader of the result must know about how it was trained."""
    notes = []
    usual = FinetuneSettings.model_fields["slices"].default
    if settings.pooling == "none" and settings.slices != usual:
        notes.append(f"slices {settings.slices} without effect: no slices are pooled")
    never = phases.never_trained(planned)
    if never and settings.init_from == "none":
        notes.append(f"{', '.join(never)} stay random: {settings.schedule} never trains them")
    norms = phases.norms_trained(planned)
    if norms and settings.init_from == "none":
        notes.append(f"{', '.join(norms)} stay random but for their norms")
    if settings.norms == "frozen" and settings.init_from == "none":
        notes.append("norms frozen on random weights: no statistics of any image are in them")
    if planned[-1].factors is not None:
        notes.append(f"{settings.schedule} scales the rates by gradients, measured every epoch")
    return tuple(notes)
