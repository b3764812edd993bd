"""A fine-tuning run as data: which layer groups train in which epoch, how fast, and on what."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import AdamW

from medssl.config.finetune import FinetuneOptim, FinetuneSettings
from medssl.config.training import CutMix, MixUp
from medssl.foundation.errors import UsageError
from medssl.models.site_model import HEAD, NORMS
from medssl.training import optim

Factors = Callable[[Mapping[str, float]], Mapping[str, float]]
PROBE_LR = 1e-3  # of arXiv:2507.12269


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs under one optimiser: the linear probe, or the freezing schedule."""

    name: str
    released: tuple[tuple[str, ...], ...]  # per epoch: the layer groups that train
    max_lr: Mapping[str, float]  # of every layer group; 0 for one that never trains
    weight_decay: Mapping[str, float]
    lr_schedule: str
    warmup: float = 0.0
    decay_all: bool = False
    cycle: str = "run"
    cutmix: CutMix = field(default_factory=CutMix)
    mixup: MixUp = field(default_factory=MixUp)
    factors: Factors | None = None  # what measured gradients make of the rates, every epoch

    @property
    def epochs(self) -> int:
        """How long it lasts."""
        return len(self.released)


def plan(
    settings: FinetuneSettings,
    schedule: ModuleType,
    config: object,
    groups: Sequence[str],
    normed: Collection[str] | None = None,
) -> tuple[Phase, ...]:
    """Return the phases of a run: the linear probe, if there is one, and the schedule.

    Args:
        settings: Resolved settings.
        schedule: A file of `freezing/`.
        config: Its options.
        groups: Names of all layer groups, the head first, the stem last.
        normed: Those with norms; None: any may have some.

    Raises:
        UsageError: The schedule or a rate does not fit the encoder.
    """
    rates, epochs = settings.optim, int(settings.epochs)
    released = tuple(
        tuple(
            name
            for name in schedule.trainable_groups(epoch, epochs, groups, config)
            if normed is None or not name.endswith(NORMS) or name.removesuffix(NORMS) in normed
        )
        for epoch in range(epochs)
    )
    trained = [group for group in groups if any(_trains(group, names) for names in released)]
    _check(rates.group_lr, groups, trained, "group_lr")
    _check(rates.group_weight_decay, groups, trained, "group_weight_decay")
    peaks = {group: schedule.max_lr(group, groups, config) for group in groups}
    measured = getattr(schedule, "factors", None)
    scheduled = Phase(
        name=settings.schedule,
        released=released,
        max_lr=peaks | dict.fromkeys(set(groups) - set(trained), 0.0) | rates.group_lr,
        weight_decay=_decays(rates, groups),
        lr_schedule=rates.lr_schedule,
        warmup=rates.warmup,
        decay_all=rates.decay_all,
        cycle=rates.cycle,
        cutmix=settings.cutmix,
        mixup=settings.mixup,
        factors=None if measured is None else partial(measured, config=config),
    )
    probed = probe(settings, schedule)[0]
    n_probe = int(probed.probe_epochs)
    if not n_probe:
        return (scheduled,)
    first = Phase(
        name="probe",
        released=((HEAD,),) * n_probe,
        max_lr=dict.fromkeys(groups, 0.0) | {HEAD: float(probed.probe.lr)},
        weight_decay=dict.fromkeys(groups, settings.probe.weight_decay),
        lr_schedule="constant",
        decay_all=rates.decay_all,
    )
    return first, scheduled


def probe(
    settings: FinetuneSettings, schedule: ModuleType
) -> tuple[FinetuneSettings, tuple[str, ...]]:
    """Return the settings with length and rate of the linear probe, and reasons for them."""
    reasons = []
    share = getattr(schedule, "PROBE_SHARE", 0.0)
    if settings.probe_epochs == "auto":
        n = math.ceil(share * int(settings.epochs))  # a smoke run probes too
        settings = settings.model_copy(update={"probe_epochs": n})
        if n:
            reasons.append(f"probe_epochs {n} (auto: {settings.schedule} begins with a probe)")
    if settings.probe.lr == "auto":
        rate = getattr(schedule, "PROBE_LR", PROBE_LR)
        probed = settings.probe.model_copy(update={"lr": rate})
        settings = settings.model_copy(update={"probe": probed})
        if settings.probe_epochs:
            reasons.append(f"probe.lr {rate:g} (auto: {settings.schedule})")
    return settings, tuple(reasons)


def _trains(group: str, released: Collection[str]) -> bool:
    """Return whether a layer group trains, or its norms do."""
    return group in released or f"{group}{NORMS}" in released


def _check(given: Collection[str], groups: Sequence[str], trained: Sequence[str], key: str) -> None:
    """Refuse a value for a layer group that does not exist or never trains."""
    for group in given:
        if group not in trained:
            unknown = "no layer group called" if group not in groups else "nothing ever trains in"
            raise UsageError(
                f"{unknown} {group!r}",
                where=f"optim.{key}",
                fix=f"choose from {', '.join(trained)}",
            )


def _decays(rates: FinetuneOptim, groups: Sequence[str]) -> dict[str, float]:
    decay = dict.fromkeys(groups, rates.weight_decay)
    if rates.head_weight_decay is not None:
        decay[HEAD] = rates.head_weight_decay
    return decay | rates.group_weight_decay


def optimizer(
    phase: Phase, groups: Mapping[str, Sequence[nn.Module]], *, fused: bool = False
) -> AdamW:
    """Return the optimiser of a phase over the modules of every layer group."""
    return optim.adamw(
        {
            name: optim.LayerGroup(
                modules=modules, lr=phase.max_lr[name], weight_decay=phase.weight_decay[name]
            )
            for name, modules in groups.items()
        },
        decay_all=phase.decay_all,
        fused=fused,
    )


def scheduler(phase: Phase, stepped: torch.optim.Optimizer, steps_per_epoch: int) -> optim.Cycles:
    """Return what moves the learning rates of ``stepped`` over a phase."""
    steps = phase.epochs * steps_per_epoch
    begins = _releases(phase, steps_per_epoch) if phase.cycle == "release" else None
    if phase.lr_schedule == "constant":
        return optim.constant(stepped)
    if phase.lr_schedule == "one_cycle":
        return optim.one_cycle(stepped, steps, begins=begins)
    return optim.warmup_cosine(stepped, steps, phase.warmup, begins=begins)


def _releases(phase: Phase, steps_per_epoch: int) -> dict[str, int]:
    """Return the step at which each layer group is first released; one after the end if never."""
    found = {}
    for group in phase.max_lr:
        epochs = (k for k, released in enumerate(phase.released) if _trains(group, released))
        found[group] = next(epochs, phase.epochs + 1) * steps_per_epoch
    return found


def learning_rates(
    planned: Sequence[Phase], steps_per_epoch: int
) -> dict[str, NDArray[np.float64]]:
    """Return the rate of every layer group at every step, not-a-number while it is frozen.

    They come from the schedulers that train, run on parameters of no use. Where gradients are
    measured, they are the highest possible.

    Returns:
        Layer group -> shape (steps of all phases,).
    """
    names = list(planned[0].max_lr)
    rows = [row for phase in planned for row in _rows(phase, names, steps_per_epoch)]
    table = np.array(rows, dtype=np.float64)
    return {name: table[:, k] for k, name in enumerate(names)}


def spans(planned: Sequence[Phase], steps_per_epoch: int) -> list[dict[str, Any]]:
    """Return stretches of epochs in which the same layer groups train.

    Returns:
        Rows with ``phase``, ``first`` and ``last`` epoch (from 1), ``max_lr`` (group -> peak of its
        whole cycle, 0 while frozen), ``norms`` (groups of which the norms alone train),
        ``measured`` (whether gradients scale the rates, which are the highest possible then) and
        ``lr`` (group -> rate at the first step of the stretch, highest in it, and at its last step;
        zeros while frozen).
    """
    rates = learning_rates(planned, steps_per_epoch)
    found: list[dict[str, Any]] = []
    for epoch, row in enumerate(_of_epochs(planned), start=1):
        if not found or any(found[-1][key] != value for key, value in row.items()):
            found.append({"first": epoch, **row})
        found[-1]["last"] = epoch
    for row in found:
        stretch = slice((row["first"] - 1) * steps_per_epoch, row["last"] * steps_per_epoch)
        row["lr"] = {
            name: np.nan_to_num([part[0], part.max(), part[-1]]).tolist()
            for name, part in ((name, values[stretch]) for name, values in rates.items())
        }
    return found


def _of_epochs(planned: Sequence[Phase]) -> Iterator[dict[str, Any]]:
    for phase in planned:
        for released in phase.released:
            yield {
                "phase": phase.name,
                "max_lr": {
                    name: peak if _trains(name, released) else 0.0
                    for name, peak in phase.max_lr.items()
                },
                "norms": _norms_alone(phase.max_lr, released),
                "measured": phase.factors is not None,
            }


def never_trained(planned: Sequence[Phase]) -> list[str]:
    """Return the layer groups that stay frozen from the first epoch to the last."""
    return [name for name in planned[0].max_lr if not _trains(name, _ever(planned))]


def norms_trained(planned: Sequence[Phase]) -> list[str]:
    """Return the layer groups of which the norms train and nothing else ever does."""
    return _norms_alone(planned[0].max_lr, _ever(planned))


def _ever(planned: Sequence[Phase]) -> set[str]:
    return {name for phase in planned for released in phase.released for name in released}


def _norms_alone(groups: Iterable[str], released: Collection[str]) -> list[str]:
    return [name for name in groups if name not in released and f"{name}{NORMS}" in released]


def _rows(phase: Phase, names: Sequence[str], steps_per_epoch: int) -> Iterator[list[float]]:
    stand_ins = {name: [nn.Linear(1, 1, bias=False)] for name in names}
    stepped = optimizer(phase, stand_ins)
    moved = scheduler(phase, stepped, steps_per_epoch)
    for released in phase.released:
        for _ in range(steps_per_epoch):
            rates = dict(zip(names, map(float, moved.get_last_lr()), strict=True))
            yield [rates[name] if _trains(name, released) else np.nan for name in names]
            stepped.step()
            moved.step()
