"""A fine-tuning run as data: which layer groups train in which epoch, how fast, and on what."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler

from medssl.config.finetune import FinetuneSettings
from medssl.config.training import CutMix, MixUp
from medssl.models.site_model import HEAD
from medssl.training import optim


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

    @property
    def epochs(self) -> int:
        """How long it lasts."""
        return len(self.released)


def plan(
    settings: FinetuneSettings, schedule: ModuleType, config: object, groups: Sequence[str]
) -> tuple[Phase, ...]:
    """Return the phases of a run: the linear probe, if there is one, and the schedule.

    Args:
        settings: Resolved settings.
        schedule: A file of `freezing/`.
        config: Its options.
        groups: Names of all layer groups, the head first, the stem last.

    Raises:
        UsageError: The schedule does not fit the encoder.
    """
    probe, rates, epochs = settings.probe, settings.optim, int(settings.epochs)
    decay = dict.fromkeys(groups, rates.weight_decay)
    if rates.head_weight_decay is not None:
        decay[HEAD] = rates.head_weight_decay
    scheduled = Phase(
        name=settings.schedule,
        released=tuple(
            tuple(schedule.trainable_groups(epoch, epochs, groups, config))
            for epoch in range(epochs)
        ),
        max_lr={group: schedule.max_lr(group, groups, config) for group in groups},
        weight_decay=decay,
        lr_schedule=rates.lr_schedule,
        warmup=rates.warmup,
        decay_all=rates.decay_all,
        cycle=rates.cycle,
        cutmix=settings.cutmix,
        mixup=settings.mixup,
    )
    n_probe = probe_epochs(settings, schedule)
    if not n_probe:
        return (scheduled,)
    first = Phase(
        name="probe",
        released=((HEAD,),) * n_probe,
        max_lr=dict.fromkeys(groups, 0.0) | {HEAD: probe.lr},
        weight_decay=dict.fromkeys(groups, probe.weight_decay),
        lr_schedule="constant",
        decay_all=rates.decay_all,
    )
    return first, scheduled


def probe_epochs(settings: FinetuneSettings, schedule: ModuleType) -> int:
    """Return how long the head trains alone before the schedule begins."""
    if settings.probe_epochs != "auto":
        return settings.probe_epochs
    return round(getattr(schedule, "PROBE_SHARE", 0.0) * int(settings.epochs))


def optimizer(phase: Phase, groups: Mapping[str, Sequence[nn.Module]]) -> AdamW:
    """Return the optimiser of a phase over the modules of every layer group."""
    return optim.adamw(
        {
            name: optim.LayerGroup(
                modules=modules, lr=phase.max_lr[name], weight_decay=phase.weight_decay[name]
            )
            for name, modules in groups.items()
        },
        decay_all=phase.decay_all,
    )


def scheduler(phase: Phase, stepped: torch.optim.Optimizer, steps_per_epoch: int) -> LRScheduler:
    """Return what moves the learning rates of ``stepped`` over a phase."""
    steps = phase.epochs * steps_per_epoch
    if phase.lr_schedule == "constant":
        return optim.constant(stepped)
    if phase.lr_schedule == "one_cycle":
        return optim.one_cycle(stepped, steps)
    return optim.warmup_cosine(stepped, steps, phase.warmup)


def learning_rates(
    planned: Sequence[Phase], steps_per_epoch: int
) -> dict[str, NDArray[np.float64]]:
    """Return the rate of every layer group at every step, not-a-number while it is frozen.

    They come from the schedulers that train, run on parameters of no use.

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
        whole cycle, 0 while frozen) and ``lr`` (group -> rate at the first step of the stretch,
        highest in it, and at its last step; zeros while frozen).
    """
    rates = learning_rates(planned, steps_per_epoch)
    found: list[dict[str, Any]] = []
    epoch = 0
    for phase in planned:
        for released in phase.released:
            epoch += 1
            peaks = {n: phase.max_lr[n] if n in released else 0.0 for n in phase.max_lr}
            same = found and (found[-1]["phase"], found[-1]["max_lr"]) == (phase.name, peaks)
            if not same:
                found.append({"phase": phase.name, "first": epoch, "max_lr": peaks})
            found[-1]["last"] = epoch
    for row in found:
        stretch = slice((row["first"] - 1) * steps_per_epoch, row["last"] * steps_per_epoch)
        row["lr"] = {
            name: np.nan_to_num([part[0], part.max(), part[-1]]).tolist()
            for name, part in ((name, values[stretch]) for name, values in rates.items())
        }
    return found


def never_trained(planned: Sequence[Phase]) -> list[str]:
    """Return the layer groups that stay frozen from the first epoch to the last."""
    trained = {name for phase in planned for released in phase.released for name in released}
    return [name for name in planned[0].max_lr if name not in trained]


def _rows(phase: Phase, names: Sequence[str], steps_per_epoch: int) -> Iterator[list[float]]:
    stand_ins = {name: [nn.Linear(1, 1, bias=False)] for name in names}
    stepped = optimizer(phase, stand_ins)
    moved = scheduler(phase, stepped, steps_per_epoch)
    for released in phase.released:
        for _ in range(steps_per_epoch):
            rates = dict(zip(names, map(float, moved.get_last_lr()), strict=True))
            yield [rates[name] if name in released else np.nan for name in names]
            stepped.step()
            moved.step()
