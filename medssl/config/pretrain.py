"""Settings of `medssl pretrain`."""

import math
from pathlib import Path
from typing import Any

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


class PretrainOptim(Optim):
    """One learning rate for all parameters."""

    lr: Rate | Auto = "auto"  # peak


class PretrainSettings(Settings):
    """Everything that decides the outcome of a pretraining run; nothing that does not."""

    archive: Path = Field(description="an archive written by `medssl ingest`")
    selection: Path | None = None  # a reduce run; None: all images
    init_from: Path | None = None  # a run or a weight file to start from
    allow_partial: bool = False  # accept weights that do not fill the encoder
    method: str = "auto"
    method_options: dict[str, Any] = {}
    encoder: str = "auto"
    encoder_options: dict[str, Any] = {}
    epochs: AtLeast1 | Auto = "auto"
    batch_size: AtLeast2 | Auto = "auto"  # images per optimiser step
    image_size: Side | Auto = "auto"  # px, side of a view
    precision: Precision = "auto"
    seed: int = 0
    optim: PretrainOptim = PretrainOptim()
    intensity: Intensity = Intensity()
    views: Views = Views()
    checkpoint_every: int = Field(default=1, ge=1)  # epochs
    smoke: bool = False  # two steps, to try the whole path


def resolve(
    settings: PretrainSettings, *, n_images: int, side: int, gpu: bool
) -> tuple[PretrainSettings, list[str]]:
    """Return the settings with every `auto` replaced, and a reason for each.

    Args:
        settings: As the user gave them.
        n_images: Images to pretrain on.
        side: Longest side of the stored images, px.
        gpu: Whether a GPU will be used.
    """
    where = "on a GPU" if gpu else "on a CPU"
    batch = min(256 if gpu else 64, max(2, n_images // 4))
    if settings.batch_size != "auto":
        batch = settings.batch_size
    steps = max(1, n_images // batch)  # per epoch
    budget = 20_000 if gpu else 1_000
    lr = float(f"{1e-3 * math.sqrt(batch / 256):.2g}")
    found: dict[str, tuple[Any, str]] = {
        "method": ("vicreg", "works at small batches and needs no negatives"),
        "encoder": ("resnet18", "small enough for a small archive"),
        "batch_size": (batch, f"{where}, {n_images} images"),
        "epochs": (min(800, max(20, math.ceil(budget / steps))), f"about {budget} steps {where}"),
        "image_size": (min(side, 224 if gpu else 64), f"{where}, images stored at {side} px"),
        "precision": ("bf16" if gpu else "32", where),
    }
    update = {k: v for k, (v, _) in found.items() if getattr(settings, k) == "auto"}
    reasons = [f"{k} {v} (auto: {found[k][1]})" for k, v in update.items()]
    if settings.optim.lr == "auto":
        update["optim"] = settings.optim.model_copy(update={"lr": lr})
        reasons.append(f"optim.lr {lr:g} (auto: 1e-3 at batch 256, square root of the batch size)")
    return settings.model_copy(update=update), reasons
