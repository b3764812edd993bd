"""Settings of `medssl pretrain`."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from medssl.config.settings import Settings
from medssl.config.training import (
    AtLeast1,
    AtLeast2,
    Auto,
    Intensity,
    Optim,
    Precision,
    Rate,
    Side,
    Views,
)

_SMALL_ARCHIVE = 40  # patients: below, all of them are needed for training
_Share = Annotated[float, Field(ge=0, lt=0.5)]


class PretrainOptim(Optim):
    """One learning rate for all parameters."""

    lr: Rate | Auto = "auto"  # peak


class PretrainSettings(Settings):
    """Everything that decides the outcome of a pretraining run; nothing that does not."""

    archive: Path = Field(description="an archive written by `medssl ingest`")
    selection: Path | None = None  # a reduce run; None: all images
    init_from: Path | Literal["none"] = "none"  # a run or a weight file; none: random weights
    allow_partial: bool = False  # accept weights that do not fill the encoder
    method: str = "auto"
    method_options: dict[str, Any] = {}
    encoder: str = "auto"
    encoder_options: dict[str, Any] = {}
    epochs: AtLeast1 | Auto = "auto"  # passes over the images; but see budget_mode
    budget_mode: Literal["epochs", "updates"] = "epochs"  # updates: an epoch of a selection has as
    # many steps as one of all images, so that selections of any size are trained equally long
    batch_size: AtLeast2 | Auto = "auto"  # images per optimiser step
    image_size: Side | Auto = "auto"  # px, side of a view
    precision: Precision = "auto"
    seed: int = 0
    optim: PretrainOptim = PretrainOptim()
    intensity: Intensity = Intensity()
    views: Views = Views()
    validation: _Share | Auto = "auto"  # share of the patients to watch and never train on
    monitor_every: AtLeast1 | Auto = "auto"  # epochs; the features are measured, see metrics.jsonl
    checkpoint_every: int = Field(default=1, ge=1)  # epochs
    smoke: bool = False  # two steps, to try the whole path


def resolve_validation(
    settings: PretrainSettings, n_patients: int
) -> tuple[PretrainSettings, list[str]]:
    """Return the settings with the share of patients to hold out, and the reason if it was `auto`.

    It comes before `resolve`: how many images are trained on depends on it.

    Args:
        settings: As the user gave them.
        n_patients: Patients of the whole archive, whatever selection is trained on.
    """
    if settings.validation != "auto":
        return settings, []
    share = 0.1 if n_patients >= _SMALL_ARCHIVE else 0.0
    reason = f"validation {share:g} (auto: {n_patients} patients; none below {_SMALL_ARCHIVE})"
    return settings.model_copy(update={"validation": share}), [reason]


def steps_per_epoch(settings: PretrainSettings, *, n_images: int, n_whole: int) -> int:
    """Return how many optimiser steps count as an epoch.

    Args:
        settings: With the batch size resolved.
        n_images: Images to pretrain on.
        n_whole: The same without a selection.
    """
    n = n_whole if settings.budget_mode == "updates" else n_images
    return max(1, n // int(settings.batch_size))


def resolve(
    settings: PretrainSettings, *, n_images: int, n_whole: int, side: int, gpu: bool
) -> tuple[PretrainSettings, list[str]]:
    """Return the settings with every other `auto` replaced, and a reason for each.

    Args:
        settings: As the user gave them, but for `resolve_validation`.
        n_images: Images to pretrain on.
        n_whole: The same without a selection; they decide where the updates are to be as many.
        side: Longest side of the stored images, px.
        gpu: Whether a GPU will be used.
    """
    where = "on a GPU" if gpu else "on a CPU"
    n = n_whole if settings.budget_mode == "updates" else n_images
    batch = min(256 if gpu else 64, max(2, n // 4))
    if settings.batch_size != "auto":
        batch = min(settings.batch_size, n)
    steps = max(1, n // batch)  # per epoch
    budget = 20_000 if gpu else 1_000
    epochs = min(800, max(20, math.ceil(budget / steps)))
    every = math.ceil((epochs if settings.epochs == "auto" else settings.epochs) / 10)
    lr = float(f"{1e-3 * math.sqrt(min(batch, n_images) / 256):.2g}")
    found: dict[str, tuple[Any, str]] = {
        "method": ("vicreg", "works at small batches and needs no negatives"),
        "encoder": ("resnet18", "small enough for a small archive"),
        "batch_size": (batch, f"{where}, {n} images"),
        "epochs": (epochs, f"about {budget} steps {where}"),
        "image_size": (min(side, 224 if gpu else 64), f"{where}, images stored at {side} px"),
        "precision": ("bf16" if gpu else "32", where),
        "monitor_every": (every, "about ten times in the run"),
    }
    update = {k: v for k, (v, _) in found.items() if getattr(settings, k) == "auto"}
    reasons = [f"{k} {v} (auto: {found[k][1]})" for k, v in update.items()]
    if settings.optim.lr == "auto":
        update["optim"] = settings.optim.model_copy(update={"lr": lr})
        reasons.append(f"optim.lr {lr:g} (auto: 1e-3 at batch 256, square root of the batch size)")
    return settings.model_copy(update=update), reasons
