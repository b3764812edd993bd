"""Settings of `medssl finetune`."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from medssl.config.settings import Settings
from medssl.config.training import (
    AtLeast1,
    AtLeast2,
    Auto,
    CutMix,
    Intensity,
    Optim,
    Precision,
    Rate,
    Side,
    Views,
)
from medssl.foundation.errors import UsageError

FINETUNE_VIEWS = Views(
    scale=(0.8, 1.0),
    ratio=(0.9, 1.1),
    rotation_deg=5.0,
    contrast=0.1,
    gamma=0.1,
    noise=0.05,
    blur=0.1,
)


class FinetuneOptim(Optim):
    """AdamW; the freezing schedule says how fast each layer group learns."""

    lr_schedule: Literal["warmup_cosine", "one_cycle"] = "warmup_cosine"
    head_weight_decay: float | None = Field(default=None, ge=0)  # None: as everything else
    decay_all: bool = False  # biases and norm weights too


class Probe(Settings):
    """The linear-probe phase before the schedule: the head alone, at a constant rate."""

    lr: Rate = 1e-3
    weight_decay: float = Field(default=1e-4, ge=0)


class FinetuneSettings(Settings):
    """Everything that decides the models of a site and the predictions they are judged by."""

    archive: Path = Field(description="an archive written by `medssl ingest`")
    init_from: Path | Literal["none"] = Field(
        description="--init-from RUN, a weight file, or none for random weights"
    )
    allow_partial: bool = False  # accept weights that do not fill the encoder
    target: str = "auto"  # label column; auto: the only one there is
    positive: str | None = None  # None: 1 or true, else the last class in sort order
    group: Literal["patient", "none"] = "patient"  # none: every image is its own patient
    aliases: Path | None = None  # a reduce run or its probable_alias.csv, looked at by a person:
    # ids of one patient count as one
    schedule: str = "full"
    schedule_options: dict[str, Any] = {}
    encoder: str = "auto"
    encoder_options: dict[str, Any] = {}
    folds: int = Field(default=5, ge=2)
    repeats: int = Field(default=1, ge=1)
    epochs: AtLeast1 | Auto = "auto"  # of the schedule; probe_epochs come before them
    probe_epochs: int = Field(default=0, ge=0)
    probe: Probe = Probe()
    cutmix: CutMix = CutMix()  # off in the probe phase
    sampling: Literal["shuffle", "balanced"] = "shuffle"  # balanced: classes equally often
    batch_size: AtLeast2 | Auto = "auto"  # images per optimiser step
    image_size: Side | Auto = "auto"  # px, side of the square the encoder sees
    dropout: float = Field(default=0.1, ge=0, lt=1)  # before the linear head
    precision: Precision = "auto"
    seed: int = 0
    optim: FinetuneOptim = FinetuneOptim()
    intensity: Intensity | Auto = "auto"
    views: Views = FINETUNE_VIEWS
    smoke: bool = False  # two steps, two folds and 16 patients, to try the whole path

    @model_validator(mode="after")
    def _aliases_of_patients(self) -> Self:
        if self.aliases is not None and self.group == "none":
            raise UsageError(
                "no patients to merge where every image is its own patient",
                where="aliases",
                fix="leave out --aliases, or --group none",
            )
        return self


def resolve(
    settings: FinetuneSettings, *, n_train: int, side: int, gpu: bool, source: dict[str, Any]
) -> tuple[FinetuneSettings, list[str]]:
    """Return the settings with every `auto` but the target replaced, and a reason for each.

    Args:
        settings: As the user gave them.
        n_train: Images a fold trains on.
        side: Longest side of the stored images, px.
        gpu: Whether a GPU will be used.
        source: What the pretrained encoder was trained with (`encoder`, `encoder_options`,
            `image_size`, `intensity`); empty for random weights.
    """
    where = "on a GPU" if gpu else "on a CPU"
    batch = min(32, max(2, n_train // 4))
    like = "as pretrained"
    found: dict[str, tuple[Any, str]] = {
        "encoder": (source.get("encoder", "resnet18"), like if source else "small cohort"),
        "image_size": (
            source.get("image_size", min(side, 224 if gpu else 64)),
            like if source else f"{where}, images stored at {side} px",
        ),
        "intensity": (
            Intensity(**source.get("intensity", {})),
            like if source else "CT window, everything else standardised",
        ),
        "batch_size": (batch, f"{n_train} training images"),
        "epochs": (20, "the paper's length for a small cohort"),
        "precision": ("bf16" if gpu else "32", where),
    }
    update = {k: v for k, (v, _) in found.items() if getattr(settings, k) == "auto"}
    reasons = [f"{k} {v} (auto: {found[k][1]})" for k, v in update.items()]
    if source and settings.encoder == "auto":
        update["encoder_options"] = {**source["encoder_options"], **settings.encoder_options}
    return settings.model_copy(update=update), reasons
